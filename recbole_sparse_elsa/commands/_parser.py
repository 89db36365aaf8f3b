"""The parser of every command line: complaints in one line, and options in two spellings."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from recbole_sparse_elsa.errors import OptionError


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are this package's one-line errors.

    Options are declared with dashes (``--n-segments``), and RecBole's own as RecBole spells them (``--config_files``).
    Each is also taken in the other spelling.
    """

    def error(self, message: str) -> NoReturn:
        """Raise OptionError with the message, and with the command that prints the help."""
        raise OptionError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, after every option is spelt as it was declared."""
        arguments = list(sys.argv[1:] if args is None else args)
        end = arguments.index("--") if "--" in arguments else len(arguments)
        arguments[:end] = [self._as_declared(argument) for argument in arguments[:end]]
        return super().parse_known_args(arguments, namespace)

    def _as_declared(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or name in self._option_string_actions:
            return argument
        declared = [option for option in self._option_string_actions if _dashed(option) == _dashed(name)]
        return f"{declared[0]}{equals}{value}" if declared else argument


def _dashed(name: str) -> str:
    return name.replace("_", "-")
