"""``sparse-elsa search``: the best options of a model of a leaderboard, by its validation data."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_sparse_elsa.errors import same_command_goes_on


def add_subcommand(subparsers: Any) -> None:
    """Add ``search``."""
    parser = subparsers.add_parser(
        "search", help=str(__doc__).split("``: ")[1], description=__doc__, allow_abbrev=False
    )
    parser.add_argument("file", metavar="FILE.yaml", help="a leaderboard file")
    parser.add_argument("--model", required=True, metavar="LABEL", help="label of one of the file's models")
    parser.add_argument("--dataset", metavar="NAME", help="one of the file's data sets; needed if it has several")
    parser.add_argument("--size", metavar="OPTION=VALUE", help="one of the model's sizes; needed if it has several")
    parser.add_argument(
        "--space", required=True, metavar="FILE.yaml", help="the options to search, such as configs/search/EASE.yaml"
    )
    parser.add_argument("--trials", required=True, type=int, metavar="N", help="trials in all, with those already done")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for trials.csv, best.yaml and study.db")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="default: the file's seeds")
    parser.add_argument(
        "--storage", metavar="URL", help="an Optuna storage for several machines (default: DIR/study.db)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trials at the same time (default: 1)")
    parser.add_argument(
        "--median-stopping",
        type=int,
        metavar="EPOCH",
        help="after this epoch, stop a trial whose best metric so far is worse than the median of the complete trials' "
        "in the same epoch",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Search by `search`, and print the best trials.

    Raises
    ------
    UserError
        See `search`.
    """
    from recbole_sparse_elsa.search import search  # RecBole, which --help does without

    with same_command_goes_on():
        results = search(
            options.file,
            options.model,
            options.space,
            options.trials,
            options.output,
            dataset=options.dataset,
            size=options.size,
            seeds=options.seeds,
            storage=options.storage,
            jobs=options.jobs,
            median_stopping=options.median_stopping,
        )
    results.print_best()
