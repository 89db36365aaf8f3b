"""One training, put together in one place, and what it leaves behind."""

from recbole_sparse_elsa.runs.run_model import run
from recbole_sparse_elsa.runs.saved_run import SavedRun, load

__all__ = ["SavedRun", "load", "run"]
