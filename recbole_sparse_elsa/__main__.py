"""The console command ``sparse-elsa``, also run as ``python -m recbole_sparse_elsa``."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence

import recbole_sparse_elsa
from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import said_in_one_line
from recbole_sparse_elsa.options import Parser

#: The commands with what they are for. Each is a module of `recbole_sparse_elsa.commands` with a function
#: ``add_subcommand(subparsers)``, which sets the function that runs it as the default of ``run``. A module is imported
#: only when its command is called.
COMMANDS = {
    "convert": "raw files, of publishers and of one's own, made into a RecBole data set.",
    "train": "one training and evaluation of a model, as by ``run_recbole.py``.",
    "search": "the best options of a model of a leaderboard, by its validation data.",
    "leaderboard": "models, data sets, seeds and sizes under one protocol, trained in parallel.",
    "tables": "tables, plots and significance tests, made again from a leaderboard's results.csv.",
    "index": "a retrieval index of a trained model",
    "recommend": "the best items for a history, from an index",
    "export": "the item embeddings of an index for a vector database",
    "segments": "the catalogue in named segments, from the item embeddings of a model.",
    "homepage": "a user's best segments, each with its best items, as a table and a web page.",
    "explore": "a web page on a checkpoint and its data set, served here or written as a file.",
    "benchmark": "what training and retrieval on the non-zeros cost beside dense embeddings.",
    "configs": "the files of options that the package ships, listed or copied.",
    "repairs": "all that is changed in RecBole, why, since when, until when, and whether it is needed.",
}

# Those whose modules import torch and RecBole, which takes seconds.
_SLOW_TO_LOAD = ("search", "leaderboard", "tables", "explore", "benchmark")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments (by default those of the command line) name; without any, print the help, too.

    What a user can put right is printed as one line to stderr, and ends the process with status 1.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    with said_in_one_line():
        parser = _parser(arguments[0] if arguments else None)
        if not arguments:
            parser.print_help()
        options, others = parser.parse_known_args(arguments)
        if getattr(options, "takes_other_options", False):
            options.others = others
        elif others:
            parser.error(f"unrecognized arguments: {' '.join(others)}")
        options.run(options)


def _parser(called: str | None) -> Parser:
    """The parser of the command line, which knows the options of the called command only."""
    parser = Parser(prog="sparse-elsa", description="Sparse ELSA for RecBole", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=recbole_sparse_elsa.__version__)
    subparsers = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for command, meaning in COMMANDS.items():
        if command == called:
            with output.loading() if command in _SLOW_TO_LOAD else contextlib.nullcontext():
                module = importlib.import_module(f"recbole_sparse_elsa.commands.{command}")
            module.add_subcommand(subparsers)
        else:
            subparsers.add_parser(command, help=meaning)
    return parser


if __name__ == "__main__":
    main()
