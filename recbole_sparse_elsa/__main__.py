"""The console command ``sparse-elsa``, also run as ``python -m recbole_sparse_elsa``."""

import argparse
import sys

import recbole_sparse_elsa
from recbole_sparse_elsa import benchmark, convert, leaderboard, search
from recbole_sparse_elsa.errors import OptionError, UserError
from recbole_sparse_elsa.explorer import explore_command
from recbole_sparse_elsa.index import commands as index_commands
from recbole_sparse_elsa.leaderboard import write_report
from recbole_sparse_elsa.segments import homepage_command, segments_command

# Each module has add_subcommand(subparsers), which sets the function that runs its subcommand as the default of "run".
_SUBCOMMANDS = (
    convert,
    search,
    leaderboard,
    write_report,
    index_commands,
    segments_command,
    homepage_command,
    explore_command,
    benchmark,
)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are this package's one-line errors."""

    def error(self, message):
        raise OptionError(f"{message}; see {self.prog} --help")


def main(arguments=None) -> None:
    """Run the subcommand that the arguments (by default those of the command line) name.

    What a user can mend is printed as one line to stderr, and ends the process with status 1.
    """
    parser = _Parser(prog="sparse-elsa", description="Sparse ELSA for RecBole", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=recbole_sparse_elsa.__version__)
    subparsers = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for module in _SUBCOMMANDS:
        module.add_subcommand(subparsers)
    try:
        options = parser.parse_args(arguments)
        options.run(options)
    except UserError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
