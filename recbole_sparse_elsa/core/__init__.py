"""The numerical core of Sparse ELSA: it imports torch and nothing of RecBole, and can be read and tested alone."""

from recbole_sparse_elsa.core.embedding_size import VALUE_DTYPES, bytes_per_item, embedding_size_report
from recbole_sparse_elsa.core.nonzero_allocation import allocate_nonzeros
from recbole_sparse_elsa.core.popularity_scales import popularity_scales
from recbole_sparse_elsa.core.pruning_schedule import SCHEDULES, PruningSchedule
from recbole_sparse_elsa.core.sparse_autoencoder import SparseAutoencoder
from recbole_sparse_elsa.core.sparse_start import neighbour_start, regression_start
from recbole_sparse_elsa.core.spectral_start import spectral_start
from recbole_sparse_elsa.core.topk_embedding import TopKEmbedding
from recbole_sparse_elsa.core.user_histories import UserBatch, UserHistories

__all__ = [
    "SCHEDULES",
    "VALUE_DTYPES",
    "PruningSchedule",
    "SparseAutoencoder",
    "TopKEmbedding",
    "UserBatch",
    "UserHistories",
    "allocate_nonzeros",
    "bytes_per_item",
    "embedding_size_report",
    "neighbour_start",
    "popularity_scales",
    "regression_start",
    "spectral_start",
]
