"""``sparse-elsa tables``: tables, plots and significance tests, made again from a leaderboard's results.csv."""

from __future__ import annotations

import argparse
from typing import Any


def add_subcommand(subparsers: Any) -> None:
    """Add ``tables``."""
    parser = subparsers.add_parser(
        "tables", help=str(__doc__).split("``: ")[1], description=__doc__, allow_abbrev=False
    )
    parser.add_argument("results", metavar="RESULTS.csv", help="a leaderboard's results.csv")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the tables and plots")
    parser.add_argument("--baseline", metavar="LABEL", help="label that the significance tests compare the others with")
    parser.add_argument(
        "--metric",
        nargs="+",
        help="metrics of size tables, tests, intervals and plots (default: the valid_metric of the leaderboard's file)",
    )
    parser.add_argument(
        "--published",
        nargs="+",
        default=[],
        metavar="NAME",
        help="published figures to rank the measured ones with, by the name of their data set, such as gowalla-ngcf; "
        "DATASET=gowalla-ngcf where yours is called otherwise",
    )
    parser.add_argument(
        "--published-file",
        metavar="FILE.csv",
        help="published figures of your own, beside those of the package; the README has the columns",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write what the options of ``sparse-elsa tables`` ask for; see `write_report`."""
    from recbole_sparse_elsa.leaderboard.write_report import write_report  # RecBole, which --help does without

    write_report(
        options.results,
        options.output,
        options.baseline,
        options.metric,
        options.published,
        options.published_file,
    )
