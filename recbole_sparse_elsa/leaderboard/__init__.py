"""Models, data sets, seeds and sizes under one protocol, trained in parallel, and what is compared of them."""

from recbole_sparse_elsa.leaderboard.read_results import mean_over_seeds, read_results
from recbole_sparse_elsa.leaderboard.run import run_leaderboard
from recbole_sparse_elsa.leaderboard.significance import holm
from recbole_sparse_elsa.leaderboard.specification import Cell, Specification, read_specification
from recbole_sparse_elsa.leaderboard.write_report import write_report

__all__ = [
    "Cell",
    "Specification",
    "holm",
    "mean_over_seeds",
    "read_results",
    "read_specification",
    "run_leaderboard",
    "write_report",
]
