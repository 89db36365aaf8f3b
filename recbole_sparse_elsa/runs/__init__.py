"""One training, put together in one place, and what it leaves behind."""

from recbole_sparse_elsa.runs.run_model import find_own_model, run
from recbole_sparse_elsa.runs.saved_run import SavedRun, load

__all__ = ["SavedRun", "find_own_model", "load", "run"]
