"""Options: their parser, checks worded the same everywhere, files of them, and other values for a checked Config."""

import argparse
import contextlib
import copy
import errno
import math
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from recbole_sparse_elsa.errors import OptionError

#: Items that a segment has at most, as a multiple of an even division, unless another bound is asked for.
DEFAULT_RATIO = 3.0


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


def add_whole_number_options(parser: argparse._ActionsContainer, *options: tuple[str, int, str]) -> None:
    """Add options to an argparse parser, each given as a tuple of its name, its default and its meaning."""
    for name, default, meaning in options:
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=default, help=f"{meaning} (default: {default})"
        )


def add_device_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--device`` to an argparse parser."""
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: cuda if there is one"
    )


def require_whole_number(name: str, value: object, at_least: int) -> None:
    """Raise OptionError unless the value of an option is a whole number of at least ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise OptionError(f"{name} is {value!r}, but must be a whole number of at least {at_least}")


def require_k_within(k: int, embedding_size: int) -> None:
    """Raise OptionError if there are to be more non-zeros than latent dimensions."""
    if k > embedding_size:
        raise OptionError(f"k is {k}, but must be at most embedding_size, which is {embedding_size}")


def require_number(
    name: str, value: object, at_least: float | None = None, above: float | None = None, below: float | None = None
) -> None:
    """Raise OptionError unless the value of an option is a finite number within the bounds that are given."""
    bounds = [
        f"{word} {bound}"
        for word, bound in (("at least", at_least), ("above", above), ("below", below))
        if bound is not None
    ]
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or (at_least is not None and value < at_least)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    ):
        allowed = " ".join(filter(None, ("a finite number", " and ".join(bounds))))
        raise OptionError(f"{name} is {value!r}, but must be {allowed}")


def derived_config(config: Any, **changes: Any) -> Any:
    """A copy of a recbole.config.Config with other values of some options; the Config itself stays as checked."""
    derived = copy.copy(config)
    derived.final_config_dict = {**config.final_config_dict, **changes}
    return derived


def shown(value: object) -> str:
    """The value as a message quotes it: cut if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes, a list within lists
        text = f"a {type(value).__name__} that is too long or too deep to be shown"
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextlib.contextmanager
def reading_yaml(what: str) -> Iterator[None]:
    """Raise OptionError in one line for what a YAML file, as messages call it, may be wrong in while it is parsed."""
    import yaml

    try:
        yield
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError) as error:  # of wrong dates and tags
        raise OptionError(f"{what} is not a YAML file: {' '.join(str(error).split()):.500}") from None
    except RecursionError:
        raise OptionError(f"{what} is not read: its lists or mappings are nested too deep") from None


def require_regular_file(file: str | os.PathLike[str]) -> None:
    """Raise OSError for a file that is missing, or is a pipe or device, of which reading might not end."""
    mode = os.stat(file).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # what reads a folder says so itself
        raise OSError(errno.EINVAL, "it is a pipe or a device, but must be a regular file", os.fspath(file))


def shipped_folder() -> str:
    """The folder with what the package ships beside its code: ``configs``, ``constraints.txt``, citation and changelog.

    It is the folder ``shipped`` of an installed package, and the top of a checkout.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "shipped")
    return installed if os.path.isdir(installed) else os.path.dirname(package)


def find_config_file(name: str | os.PathLike[str]) -> str:
    """The file of options that a name stands for: that file, or, where there is none, the package's own of that name.

    Parameters
    ----------
    name : str or os.PathLike
        A file, such as ``configs/ml-1m.yaml``. Which file of the package is taken is said on stderr.

    Returns
    -------
    str
        The file, which may be missing.
    """
    given = os.fspath(name)
    parts = os.path.normpath(given).split(os.sep)
    if parts[0] == "configs" and not os.path.lexists(given):
        shipped = os.path.join(shipped_folder(), *parts)
        if os.path.isfile(shipped):
            print(f"{given} is not in this folder; the package's own is read: {shipped}", file=sys.stderr)
            return shipped
    return given


def read_tokens(name: str, file: str) -> list[str]:
    """The lines, without blank ones, of a file that an option names: a token on each.

    Raises
    ------
    OptionError
        The file cannot be read.
    """
    try:
        require_regular_file(file)
        with open(file, encoding="utf-8") as opened:
            return [line.rstrip("\r\n") for line in opened if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{name}: {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
