"""What a command leaves behind and says meanwhile: files written whole or not at all, tables, plots, progress bars.

Every file that this package writes, it writes by `write_file`, and `reserve_file` and `reserve_folder` keep
two commands from writing the same one at the same time. Plots need the extra ``plot``.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import datetime
import errno
import gc
import hashlib
import io
import json
import logging
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from recbole_sparse_elsa.errors import OutputError, reason_of

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from tqdm import tqdm


# Seconds after which a step is shown, and between the ticks of a clock on a terminal.
_TICK = 1.0


@contextlib.contextmanager
def progress(
    what: str, total: float | None = None, unit: str = "", shown: bool | None = True, initial: int = 0
) -> Iterator[tqdm]:
    """Show on the standard error that something is done: the one look of all bars.

    On a terminal a clock ticks beside it, also while a single call takes long. A log line wipes the bar, which is drawn
    again below it.

    Parameters
    ----------
    what : str
        What is done, in a few words.
    total : float, optional
        How much there is to do, which gives a bar with an estimate of the time that is left. Without it this is a step:
        it is shown on a terminal only, once it has taken a second, and is wiped when it ends.
    unit : str
        What is counted; without it, the bar shows the share that is done.
    shown : bool, optional
        False shows nothing; None shows it on a terminal only.
    initial : int
        How much was done before.

    Yields
    ------
    tqdm.tqdm
        To be told by ``update`` how much more is done.
    """
    from tqdm import tqdm

    is_step, on_terminal = total is None, sys.stderr.isatty()
    if shown is None or is_step:
        shown = bool(shown is not False and on_terminal)
    form = None
    if is_step:
        form = "{desc}: {elapsed}"
    elif not unit:
        form = "{l_bar}{bar}| {elapsed}<{remaining}"
    # A mean rate: what takes turns of seconds and minutes has no momentary one.
    with tqdm(
        total=total,
        initial=initial,
        unit=unit or "it",
        desc=what,
        ncols=100,
        bar_format=form,
        smoothing=0,
        leave=not is_step,
        delay=_TICK if is_step else 0,
        disable=not shown,
    ) as bar:
        if not (shown and on_terminal):
            yield bar
            return
        with _ticking(bar):
            yield bar


def loading() -> contextlib.AbstractContextManager[object]:
    """Say that torch and RecBole are imported, which takes seconds; see `progress`."""
    # When Python ends, it looks for garbage among all that they have made: two seconds after the last word.
    atexit.register(gc.freeze)
    return progress("Loading torch and RecBole")


@contextlib.contextmanager
def _ticking(bar: tqdm) -> Iterator[None]:
    """Draw a bar again every second, and wipe it before each line that is logged."""
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(_TICK):
            bar.last_print_t = time.time()  # what was never drawn by an update is not wiped otherwise
            bar.refresh()

    def wipe(record: logging.LogRecord) -> bool:
        bar.clear()
        return True

    handlers = logging.getLogger().handlers[:]
    thread = threading.Thread(target=tick, daemon=True)
    for handler in handlers:
        handler.addFilter(wipe)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for handler in handlers:
            handler.removeFilter(wipe)


def open_output(folder: str | os.PathLike[str], option: str = "output") -> None:
    """Make the folder that an option, by default ``output``, names, and see that files can be written there.

    Raises
    ------
    OutputError
        It cannot be made or written to.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{option}: {folder} cannot be made a folder: {reason_of(error)}") from None
    try:
        _try_to_write_in(os.fspath(folder))
    except OSError as error:
        raise OutputError(f"{option}: {folder} cannot be written to: {reason_of(error)}") from None


def require_free_space(file: str | os.PathLike[str], n_bytes: int) -> None:
    """Raise OutputError if there is no room for so many bytes where a file is going to be written.

    What is there already does not count: a file that is replaced stays until the new one is whole.
    """
    folder = os.path.dirname(os.path.abspath(file))
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # whoever writes will say so
        return
    if free < n_bytes:
        raise OutputError(
            f"{folder} has {free / 1e6:,.1f} MB free, but what is saved there needs at least {n_bytes / 1e6:,.1f} MB"
        )


@contextlib.contextmanager
def reserve_folder(folder: str | os.PathLike[str], option: str = "output") -> Iterator[None]:
    """Make the folder that an option names (see `open_output`), and keep it to this process for a while.

    The lock is the system's, and dies with the process. A folder that was made here, and in which nothing was written
    before an error, is removed.

    Raises
    ------
    OutputError
        It cannot be made or written to, or another process has it, which is named.
    """
    is_new = not os.path.lexists(folder)
    open_output(folder, option)
    try:
        with _locked(os.path.join(folder, ".sparse-elsa.lock"), f"{option}: {folder}"):
            yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(folder)
        raise


@contextlib.contextmanager
def reserve_file(file: str | os.PathLike[str] | None, option: str = "output") -> Iterator[None]:
    """See that the file that an option names can be written, and keep it to this process for a while.

    The lock is the system's, of a file beside it, and dies with the process. What is no regular file, such as a pipe,
    is not locked; None, where there is no file, does nothing.

    Raises
    ------
    OutputError
        It cannot be written, or another process has it, which is named.
    """
    if file is None:
        yield
        return
    try:
        target = _target(file)
        if target is not None:
            _try_to_write_in(os.path.dirname(target))
    except OSError as error:
        raise OutputError(
            f"{option}: {file} cannot be written: {reason_of(error)}; give a file in a folder that exists"
        ) from None
    if target is None:
        yield
        return
    folder, name = os.path.split(target)
    if len(os.fsencode(name)) > 200:  # with more around it no file system would take it
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    with _locked(os.path.join(folder, f".{name}.sparse-elsa.lock"), f"{option}: {file}"):
        yield


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows (mappings from heading to a number or text, all with the same headings) as a Markdown table."""
    from tabulate import tabulate

    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, stralign="right")


def paragraph(template: str, **values: object) -> str:
    """A text with its values filled in, broken into lines again."""
    return textwrap.fill(" ".join(template.format(**values).split()), width=120, break_on_hyphens=False)


def write_csv(file: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows (mappings from column to value); what some rows lack stays empty there."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(chain(*rows))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def write_text(file: str | os.PathLike[str], text: str) -> None:
    """Write a text file; see `write_file`."""
    write_file(file, lambda temporary: temporary.write(text.encode()))


def write_file(file: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all.

    A temporary file in the same folder, where a rename cannot fail half-way, gets the contents and is then renamed. Of
    a file that is replaced the permissions stay; a symbolic link stays, and what it leads to is replaced. What is no
    regular file, such as a pipe or /dev/null, is never replaced, but written to.

    Parameters
    ----------
    file : str or os.PathLike
        The file.
    write : callable
        Gets the temporary binary file.

    Raises
    ------
    OutputError
        The file cannot be written; what was there before is still there.
    """
    refused: list[OSError] = []
    own: list[BaseException] = []

    def write_noting(opened: BinaryIO) -> None:
        try:
            write(opened)
        except BaseException as error:
            own.append(error)
            raise

    try:
        target = _target(file)
        if target is None:
            _write_to_what_is_no_file(os.fspath(file), write_noting, refused)
            return
        with _temporary_file(os.path.dirname(target)) as (temporary, descriptor):
            with _Noting(descriptor, refused) as raw, io.BufferedWriter(raw, 2**20) as opened:
                write_noting(opened)
            if refused:  # and a library went on all the same
                raise refused[0]
            _take_permissions(target, temporary)
            os.replace(temporary, target)
    except Exception as error:
        # What libraries raise may only follow from what the system refused; what else ``write`` raises is its own.
        reason = refused[0] if refused else error
        is_own = error in own and not refused and getattr(error, "errno", None) not in _NO_ROOM
        if not isinstance(reason, OSError) or is_own:
            raise
        raise OutputError(f"{file} cannot be written: {reason_of(reason)}") from None


# What only writing can meet.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What the names of temporary files begin and end with, so that the next run knows them.
_TEMPORARY = re.compile(r"sparse-elsa-[0-9a-f]{16}\.tmp")
# Those of version 0.1.0, of checkpoints, which have names like no others.
_TEMPORARY_CHECKPOINT = re.compile(r".+-\w{3}-\d\d-\d{4}_\d\d-\d\d-\d\d-[0-9a-f]{6}(-resume)?\.pth\.[0-9a-f]{6}\.tmp")
_SECONDS_OF_A_WRITE = 600
_PROBE = bytes(4096)


class _Noting(io.FileIO):
    """A file that is written to, and notes what the system refuses: libraries tell only of what followed from it."""

    def __init__(self, descriptor: int, refused: list[OSError]) -> None:
        super().__init__(descriptor, "wb")
        self._refused = refused

    def write(self, contents: Any) -> int:
        with self._noting():
            return super().write(contents)

    def close(self) -> None:
        with self._noting():  # some network file systems tell only then that the disk is full
            super().close()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._refused.append(error)
            raise


@contextlib.contextmanager
def _temporary_file(folder: str) -> Iterator[tuple[str, int]]:
    """A new file that is locked while it is written, by its name and a descriptor to close; removed unless renamed."""
    _remove_leftovers(folder)
    while True:
        name = os.path.join(folder, f"sparse-elsa-{secrets.token_hex(8)}.tmp")
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        kept = os.dup(descriptor)  # holds the lock until the file has its name
        try:
            if _lock(kept, wait=True) and not _is_still(kept, name):  # another run took it for a leftover
                os.close(descriptor)
                continue
            yield name, descriptor
            return
        finally:
            os.close(kept)
            with contextlib.suppress(OSError):
                os.remove(name)


def _lock(descriptor: int, wait: bool) -> bool:
    """Lock an open file until it is closed, or its process dies; False where that cannot be had."""
    if fcntl is None:
        return True
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    return False


def _is_still(descriptor: int, name: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(name))
    return False


def _remove_leftovers(folder: str) -> None:
    """Remove what runs that were killed have left in a folder: files of our names that nobody has locked."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) or _LOCK.fullmatch(entry.name):
                _remove_if_free(entry.path)
            elif _TEMPORARY_CHECKPOINT.fullmatch(entry.name):
                # They were not locked.
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _SECONDS_OF_A_WRITE:
                    _remove_if_free(entry.path)


def _remove_if_free(name: str) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            is_free = stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor, wait=False)
            if is_free and fcntl is not None and _is_still(descriptor, name):
                os.remove(name)
        finally:
            os.close(descriptor)
        if fcntl is None:
            os.remove(name)


def _try_to_write_in(folder: str) -> None:
    """Raise OSError where a file cannot be written in a folder."""
    with _temporary_file(folder) as (_, descriptor), open(descriptor, "wb") as opened:
        opened.write(_PROBE)


def _target(file: str | os.PathLike[str]) -> str | None:
    """The file itself, behind all symbolic links; None for what is to be written to, such as a pipe.

    Raises
    ------
    OSError
        There is a folder, a block device or a file that must not be written.
    """
    path = os.path.abspath(file)
    if _open_file(path) is not None:
        return None
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        target = os.path.realpath(path)
        if not os.path.isdir(os.path.dirname(target)):
            raise
        return target
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return None
    if not stat.S_ISREG(mode):
        wrong = errno.EISDIR if stat.S_ISDIR(mode) else errno.EPERM
        raise OSError(wrong, os.strerror(wrong), path)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return os.path.realpath(path)


def _open_file(path: str) -> str | None:
    """Where a path such as /dev/stdout leads among the files that a process has open; None for other paths."""
    for _ in range(40):  # more links than Linux follows
        folder = os.path.realpath(os.path.dirname(path))
        if re.fullmatch(r"/proc/\d+/(task/\d+/)?fd", folder):
            return os.path.join(folder, os.path.basename(path))
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def _write_to_what_is_no_file(
    file: str, write: Callable[[BinaryIO], object], refused: list[OSError]
) -> None:
    # What writes may go back and forth in a file, and may fail half-way.
    with tempfile.SpooledTemporaryFile(2**24) as contents:
        write(cast(BinaryIO, contents))
        contents.seek(0)
        descriptor = _open_what_is_no_file(file)
        with _Noting(descriptor, refused) as raw, io.BufferedWriter(raw) as opened:
            shutil.copyfileobj(contents, opened)


def _open_what_is_no_file(file: str) -> int:
    opened = _open_file(os.path.abspath(file))
    if opened is not None and os.path.dirname(opened) == f"/proc/{os.getpid()}/fd":
        # Of a file that the standard output was led to, what is there already stays, and more may follow.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return os.dup(int(os.path.basename(opened)))
    return os.open(file, os.O_WRONLY | os.O_APPEND)


def _take_permissions(target: str, temporary: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        old = os.stat(target)
        with contextlib.suppress(OSError, AttributeError):  # others' files, Windows
            os.chown(temporary, old.st_uid, old.st_gid)
        os.chmod(temporary, stat.S_IMODE(old.st_mode))


# The names of locks.
_LOCK = re.compile(r"\.(.+\.)?sparse-elsa\.lock")
_held: set[str] = set()


@contextlib.contextmanager
def _locked(name: str, what: str) -> Iterator[None]:
    """Hold a lock, which this process may hold already; its file says who does, and is removed at the end."""
    import filelock

    name = os.path.realpath(name)
    if name in _held:
        yield
        return
    lock = filelock.FileLock(name)
    try:
        lock.acquire(timeout=0.3)  # a lock that is just being given up is removed, and made again
    except filelock.Timeout:
        raise OutputError(f"{what} is in use by {_holder(name)}; wait until it ends, or give another one") from None
    except OSError as error:
        raise OutputError(f"{what} cannot be locked: {reason_of(error)}") from None
    _held.add(name)
    try:
        since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        # Not by write_file, which would replace the file that is locked.
        with contextlib.suppress(OSError), open(name, "w", encoding="utf-8") as opened:
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, opened)
        yield
    finally:
        # Before it is released: then whoever waits for it sees that it is gone.
        with contextlib.suppress(OSError):
            os.remove(name)
        _held.discard(name)
        lock.release()


def _holder(name: str) -> str:
    """Who has a lock, as far as it is known."""
    try:
        with open(name, encoding="utf-8") as opened:
            said = json.loads(opened.read(1000))
        return f"process {said['pid']:d} on {said['host']:.100}, since {said['since']:.40}"
    except (OSError, ValueError, TypeError, KeyError):  # it was taken just now, or is about to be removed
        return "another process"


def matplotlib_is_installed() -> bool:
    """Whether plots can be drawn; where they cannot, one line says how to get them."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        print('No plot: matplotlib is not installed; run: pip install "recbole_sparse_elsa[plot]"')
        return False
    return True


def new_axes() -> Axes:
    """Empty axes (matplotlib.axes.Axes) in a figure of its own."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8, 5), layout="constrained").subplots()


def save_figure(figure: Figure, file: str, footer: str = "") -> list[str]:
    """Write ``file``.pdf, .svg and .png, and return these names.

    Text stays text in the first two, so that it can be searched and edited. A figure without a footer keeps its size.
    The same figures make the same files: they hold neither a date nor random ids.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    file : str
        Name of the files, without the ending.
    footer : str
        Small text to stand under the figure.
    """
    from matplotlib import rc_context

    size: dict[str, Any] = {}
    if footer:
        figure.text(0.5, -0.02, footer, ha="center", va="top", fontsize=6, wrap=True, parse_math=False)
        size = {"bbox_inches": "tight"}
    formats: dict[str, dict[str, Any]] = {
        "pdf": {"metadata": {"CreationDate": None}},
        "svg": {"metadata": {"Date": None}},
        "png": {"dpi": 150 if footer else 300},
    }
    text_as_text = {"pdf.fonttype": 42, "svg.fonttype": "none"}
    with rc_context({"svg.hashsalt": os.path.basename(file), **text_as_text}):
        for name, options in formats.items():
            write_file(f"{file}.{name}", partial(figure.savefig, format=name, **size, **options))
    return [f"{file}.{name}" for name in formats]
