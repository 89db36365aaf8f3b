"""The numerical core of Sparse ELSA: it imports torch and nothing of RecBole, and can be read and tested alone."""

from recbole_sparse_elsa.core.held_out_interactions import hidden_ndcg, hold_out
from recbole_sparse_elsa.core.item_regression import ItemRegression, embeddings_of_regression, regress_items
from recbole_sparse_elsa.core.item_size import bytes_per_item, embedding_size_report
from recbole_sparse_elsa.core.nonzero_allocation import MIN_NONZEROS, allocate_nonzeros, popularity_shares
from recbole_sparse_elsa.core.popularity_scales import popularity_scales
from recbole_sparse_elsa.core.pruning_schedule import SCHEDULES, SCHEDULES_FROM_START_K, PruningSchedule
from recbole_sparse_elsa.core.sparse_autoencoder import SparseAutoencoder
from recbole_sparse_elsa.core.sparse_rows import SparseRows
from recbole_sparse_elsa.core.sparse_start import cooccurrence_start
from recbole_sparse_elsa.core.topk_embedding import TopKEmbedding, csr_of_state, is_unpruned_state
from recbole_sparse_elsa.core.user_histories import UserBatch, UserHistories

__all__ = [
    "MIN_NONZEROS",
    "SCHEDULES",
    "SCHEDULES_FROM_START_K",
    "ItemRegression",
    "PruningSchedule",
    "SparseAutoencoder",
    "SparseRows",
    "TopKEmbedding",
    "UserBatch",
    "UserHistories",
    "allocate_nonzeros",
    "bytes_per_item",
    "cooccurrence_start",
    "csr_of_state",
    "embedding_size_report",
    "embeddings_of_regression",
    "hidden_ndcg",
    "hold_out",
    "is_unpruned_state",
    "popularity_scales",
    "popularity_shares",
    "regress_items",
]
