"""The best options of a model of a leaderboard, searched with Optuna and judged on validation data."""

from recbole_sparse_elsa.search.best_options import search
from recbole_sparse_elsa.search.search_space import Choice, Range, SearchSpace, read_search_space, require_searchable

__all__ = ["Choice", "Range", "SearchSpace", "read_search_space", "require_searchable", "search"]
