"""The numerical core of Sparse ELSA: it imports torch and nothing of RecBole, and can be read and tested alone."""

from recbole_sparse_elsa.core.nmse_loss import nmse_loss
from recbole_sparse_elsa.core.pruning_schedule import SCHEDULES, PruningSchedule
from recbole_sparse_elsa.core.topk_embedding import TopKEmbedding
from recbole_sparse_elsa.core.user_histories import UserHistories

__all__ = ["SCHEDULES", "PruningSchedule", "TopKEmbedding", "UserHistories", "nmse_loss"]
