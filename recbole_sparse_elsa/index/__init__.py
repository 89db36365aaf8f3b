"""A retrieval index over sparse item embeddings (method page, section 6); importing it needs numpy and SciPy only."""

from recbole_sparse_elsa.index.sparse_index import Explanation, Recommendations, SparseIndex

__all__ = ["Explanation", "Recommendations", "SparseIndex"]
