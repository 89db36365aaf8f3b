"""The text in a raw file, plain, gzip-compressed or in a tar archive, read line by line and never held whole."""

from __future__ import annotations

import fnmatch
import functools
import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import IO, Any

from recbole_sparse_elsa.errors import DatasetError
from recbole_sparse_elsa.options import require_regular_file

_ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_ARCHIVE_MEMBERS = "mv_*.txt"
_GZIP_MAGIC = b"\x1f\x8b"
_DAMAGE = (OSError, EOFError, zlib.error, tarfile.TarError)
_LINES_PER_UPDATE = 10_000
#: Characters of a line: far above what any of the publishers has in a line, and little to hold.
LONGEST_LINE = 2**24


class RawText:
    """Lines of text that know their place.

    Iterating gives the lines with their ends, as ``\\n``.

    Attributes
    ----------
    name : str
        The file, for messages.
    number : int
        Number of the line that was given last; 0 before the first.
    line : str
        This line.
    """

    def __init__(self, name: str, stream: Any, update_progress: Callable[[], None]) -> None:
        self.name = name
        self.number = 0
        self.line = ""
        # Also reads text without a byte order mark.
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        self._update_progress = update_progress

    def __iter__(self) -> Iterator[str]:
        try:
            lines = iter(functools.partial(self._text.readline, LONGEST_LINE + 1), "")
            for number, line in enumerate(lines, 1):
                self.number = number
                self.line = line
                if len(line) > LONGEST_LINE:
                    raise self.error(f"it is longer than {LONGEST_LINE:,} characters")
                if number % _LINES_PER_UPDATE == 0:
                    self._update_progress()
                yield line
        except UnicodeDecodeError as error:
            # What is decoded begins where the lines that were given end.
            number = self.number + error.object.count(b"\n", 0, error.start)
            raise DatasetError(
                f"{self.name}, after line {number}: not UTF-8 text; is it an archive to be unpacked first?"
            ) from None
        except _DAMAGE as error:
            raise DatasetError(
                f"{self.name}, after line {self.number}: the file is truncated or damaged ({error}); get it again"
            ) from None

    def error(self, problem: str) -> DatasetError:
        """The error that says what is wrong with the line that was given last."""
        return DatasetError(f"{self.name}, line {self.number}: {problem}")


def read_texts(path: str, progress: Any) -> Generator[RawText, None, None]:
    """Give each text in a file: the file itself, or the ``mv_*.txt`` in a tar archive, one after the other.

    A text can be read only until the next one is asked for.

    Parameters
    ----------
    path : str
    progress : tqdm.tqdm
        Is brought forward by the bytes that are read from the disk: of a compressed file, its compressed bytes.

    Raises
    ------
    DatasetError
        The file cannot be opened, is damaged, or is an archive without such texts.
    """
    read_before = progress.n
    try:
        require_regular_file(path)
        raw = open(path, "rb")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None

    def update_progress() -> None:
        progress.update(read_before + raw.tell() - progress.n)

    with raw:
        if path.endswith(_ARCHIVE_SUFFIXES):
            yield from _texts_in_archive(path, raw, update_progress)
        else:
            stream: Any = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP_MAGIC else raw
            text = RawText(path, stream, update_progress)  # held here, because it closes the file when it is let go
            yield text
        raw.seek(0, os.SEEK_END)
        update_progress()


def _texts_in_archive(path: str, raw: IO[bytes], update_progress: Callable[[], None]) -> Iterator[RawText]:
    found = False
    try:
        with tarfile.open(fileobj=raw, mode="r:*") as archive:
            for member in archive:
                if member.isfile() and fnmatch.fnmatch(os.path.basename(member.name), _ARCHIVE_MEMBERS):
                    found = True
                    yield RawText(f"{path}: {member.name}", archive.extractfile(member), update_progress)
            # tarfile takes an archive that was cut before or in the head of a member for a whole one.
            contents: Any = archive.fileobj
            contents.seek(archive.offset)
            if contents.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it has no end mark")
    except _DAMAGE as error:
        raise DatasetError(f"{path}: the archive is truncated or damaged ({error}); get it again") from None
    if not found:
        raise DatasetError(f"{path} holds no {_ARCHIVE_MEMBERS}, the files of the Netflix Prize; unpack other archives")
