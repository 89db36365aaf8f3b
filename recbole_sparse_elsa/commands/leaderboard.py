"""``sparse-elsa leaderboard``: models, data sets, seeds and sizes under one protocol, trained in parallel."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_sparse_elsa.errors import same_command_goes_on


def add_subcommand(subparsers: Any) -> None:
    """Add ``leaderboard``."""
    parser = subparsers.add_parser(
        "leaderboard", help=str(__doc__).split("``: ")[1], description=__doc__, allow_abbrev=False
    )
    parser.add_argument("file", metavar="FILE.yaml", help="what to train; see configs/leaderboard/")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for results.csv and the cells")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells trained at a time (default: 1)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each cell (default: the CPUs shared out)")
    parser.add_argument("--backend", default="loky", help="loky (default), dask, ray or another back end of joblib")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train and report by `run_leaderboard`.

    Raises
    ------
    UserError
        See `run_leaderboard`.
    """
    from recbole_sparse_elsa.leaderboard import run_leaderboard  # RecBole, which --help does without

    with same_command_goes_on():
        run_leaderboard(options.file, options.output, options.jobs, options.threads, options.backend)
