"""The errors that a user can fix; the command line prints each of them as one line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


class UserError(Exception):
    """Base of the errors below: the message names what was given, and what is allowed or to be done instead.

    Characters that cannot be printed are escaped in it, since it may quote a file or an option of any content.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class OptionError(UserError, ValueError):
    """An option, or a combination of options, has a value that is not allowed."""


class OutputError(OptionError):
    """A file or folder cannot be written, or another process is writing it."""


class DatasetError(UserError, ValueError):
    """A data set cannot be found, or nothing is left of it after filtering."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be read, or belongs to another model, data set or shape."""


class TrainingError(UserError, RuntimeError):
    """Training cannot begin, or cannot go on, with these options."""


class IndexFileError(UserError, RuntimeError):
    """An index file cannot be read, is damaged, or was written in another version of the format."""


class SegmentsFileError(UserError, RuntimeError):
    """A segments file cannot be read, is damaged, or was written in another version of the format."""


class Interrupted(KeyboardInterrupt):
    """A user has stopped a command; the message names the command that goes on."""


def printable(text: str) -> str:
    """The text with every character escaped that cannot be printed, such as line ends and a terminal's commands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason_of(error: OSError) -> str:
    """Why the system refused, in its own words."""
    return error.strerror or str(error) or type(error).__name__


def in_one_line(error: BaseException) -> str:
    """The type of an exception and the first line of what it says, which is cut where it is long."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return printable(": ".join(filter(None, [type(error).__name__, said if len(said) <= 500 else f"{said[:497]}..."])))


@contextlib.contextmanager
def said_in_one_line() -> Iterator[None]:
    """Print what a user can fix as one line to stderr, and end the process with status 1, or 130 if they stopped it.

    That is every UserError, and every OSError: what the system refuses to one of the libraries (a disk that is full, a
    folder that is read-only) does not get better by a traceback. So is a RecBole that is missing or of another version.
    """
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        _end(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt as error:
        print("; ".join(filter(None, ("Interrupted", str(error)))), file=sys.stderr)
        _end(130)
    except ImportError as error:
        if error.name != "recbole":
            raise
        _end(f"{type(error).__name__}: {error}")
    except BrokenPipeError:  # of a pipe that reads no further, such as | head
        _end(None)
    except OSError as error:
        files = " and ".join(str(file) for file in (error.filename, error.filename2) if file is not None)
        _end(f"{type(error).__name__}: {printable(': '.join(filter(None, [files, reason_of(error)])))}")


@contextlib.contextmanager
def same_command_goes_on() -> Iterator[None]:
    """Let a user who stops a command, of which all that was finished is kept, know that it can be given again.

    Raises
    ------
    Interrupted
        The user has stopped it.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("the same command goes on with what is not finished") from None


def _end(said: str | int | None) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1 if said is None else said)
