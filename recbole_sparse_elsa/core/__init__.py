"""The numerical core of Sparse ELSA: it imports torch and nothing of RecBole, and can be read and tested alone."""

from recbole_sparse_elsa.core.pruning_schedule import SCHEDULES, PruningSchedule
from recbole_sparse_elsa.core.sparse_start import neighbour_start
from recbole_sparse_elsa.core.topk_embedding import TopKEmbedding
from recbole_sparse_elsa.core.user_histories import UserBatch, UserHistories

__all__ = ["SCHEDULES", "PruningSchedule", "TopKEmbedding", "UserBatch", "UserHistories", "neighbour_start"]
