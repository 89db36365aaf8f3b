"""The numerical core of Sparse ELSA: it imports torch and nothing of RecBole, and can be read and tested alone."""

from recbole_sparse_elsa.core.item_size import bytes_per_item, embedding_size_report
from recbole_sparse_elsa.core.nonzero_allocation import allocate_nonzeros
from recbole_sparse_elsa.core.popularity_scales import popularity_scales
from recbole_sparse_elsa.core.pruning_schedule import SCHEDULES, SCHEDULES_FROM_START_K, PruningSchedule
from recbole_sparse_elsa.core.sparse_autoencoder import SparseAutoencoder
from recbole_sparse_elsa.core.sparse_rows import SparseRows
from recbole_sparse_elsa.core.starts import STARTS, Start, neighbour_start, regression_start, spectral_start
from recbole_sparse_elsa.core.topk_embedding import TopKEmbedding, csr_of_state, is_unpruned_state
from recbole_sparse_elsa.core.user_histories import UserBatch, UserHistories

__all__ = [
    "SCHEDULES",
    "SCHEDULES_FROM_START_K",
    "STARTS",
    "PruningSchedule",
    "SparseAutoencoder",
    "SparseRows",
    "Start",
    "TopKEmbedding",
    "UserBatch",
    "UserHistories",
    "allocate_nonzeros",
    "bytes_per_item",
    "csr_of_state",
    "embedding_size_report",
    "is_unpruned_state",
    "neighbour_start",
    "popularity_scales",
    "regression_start",
    "spectral_start",
]
