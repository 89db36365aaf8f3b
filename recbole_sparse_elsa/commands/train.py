"""``sparse-elsa train``: one training and evaluation of a model, as by ``run_recbole.py``.

Every option of RecBole is given as ``--option=value``; see the README for those of ELSA and SparseELSA.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Sequence
from typing import Any

import recbole_sparse_elsa
from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import said_in_one_line
from recbole_sparse_elsa.options import Parser, find_config_file


def add_subcommand(subparsers: Any) -> None:
    """Add ``train``."""
    summary = str(__doc__).split("``: ")[1].partition("\n")[0]
    parser = subparsers.add_parser(
        "train",
        help=summary,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser)
    # What argparse does not know are RecBole's options, which RecBole reads from the command line.
    parser.set_defaults(run=run, takes_other_options=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that are not RecBole's own."""
    parser.add_argument(
        "--model", "-m", help="name of a model (default: SparseELSA), or FILE.py:CLASS or MODULE:CLASS of your own"
    )
    parser.add_argument("--dataset", "-d", help="name of a data set (default: ml-100k, which RecBole ships)")
    parser.add_argument("--config_files", help="YAML files with options, separated by spaces; later ones win")
    parser.add_argument("--resume", help="file of an interrupted run to go on from, with its options")
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine")
    parser.add_argument("--ip", default="localhost", help="address of the first machine")
    parser.add_argument("--port", default="5678", help="port of the first machine")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="first rank of this machine")


def run(options: argparse.Namespace) -> None:
    """Train and evaluate; see `recbole_sparse_elsa.run`.

    Raises
    ------
    UserError
        An option is not allowed, a file cannot be used, or the training cannot go on.
    """
    with output.loading():
        from recbole_sparse_elsa import runs
        from recbole_sparse_elsa.plugin.policy_options import all_options, require_known_arguments

    config_files = [find_config_file(file) for file in (options.config_files or "").split()]
    runs.find_own_model(options.model, config_files)
    known = all_options()
    # RecBole reads its options from here, and warns of the name of a command.
    program, *arguments = sys.argv
    arguments = arguments[1:] if arguments[:1] == ["train"] else arguments
    sys.argv = [program, *(_as_recbole_spells(argument, known) for argument in arguments)]
    require_known_arguments(_as_recbole_spells(argument, known) for argument in options.others)
    runs.run(
        options.model,
        options.dataset,
        config_files=config_files,
        resume=options.resume,
        nproc=options.nproc,
        world_size=options.world_size,
        ip=options.ip,
        port=options.port,
        group_offset=options.group_offset,
    )


def main(description: str | None, arguments: Sequence[str] | None = None) -> None:
    """Run as a script whose help begins with a description: ``run_recbole.py``.

    What a user can put right is printed as one line to stderr, and ends the process with status 1.
    """
    parser = Parser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_arguments(parser)
    parser.add_argument("--version", action="version", version=recbole_sparse_elsa.__version__)
    with said_in_one_line():
        options, others = parser.parse_known_args(arguments)
        options.others = others
        run(options)


def _as_recbole_spells(argument: str, known: Container[str]) -> str:
    """The argument with _ for - in its name, if that makes it one of the known options."""
    name, equals, value = argument.partition("=")
    spelt = name.removeprefix("--").replace("-", "_")
    return f"--{spelt}{equals}{value}" if name.startswith("--") and spelt in known else argument
