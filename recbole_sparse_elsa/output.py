"""What a command leaves behind: files written whole or not at all, tables to read, CSV files, and plots.

Every file that this package writes, it writes by `write_file`. Plots need the extra ``plot``.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from recbole_sparse_elsa.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def open_output(folder: str | os.PathLike[str], option: str = "output") -> None:
    """Make the folder that an option, by default ``output``, names.

    Raises
    ------
    OptionError
        It cannot be made or written to.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OptionError(f"{option}: {folder} cannot be made a folder: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise OptionError(f"{option}: {folder} cannot be written to")


def require_writable(file: str | os.PathLike[str], option: str = "output") -> None:
    """Raise OptionError, before any long work, unless the file that an option names can be written."""
    folder = os.path.dirname(os.path.abspath(file))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK) or os.path.isdir(file):
        raise OptionError(f"{option}: {file} cannot be written; give a file in a folder that exists")


def require_folder_of(file: str | os.PathLike[str], option: str = "output") -> None:
    """Raise OptionError, before any long work, unless the folder of the file that an option names can be written to."""
    folder = os.path.dirname(os.path.abspath(file))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise OptionError(f"{option}: folder {folder} does not exist or cannot be written to")


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows (mappings from heading to a number or text, all with the same headings) as a Markdown table."""
    from tabulate import tabulate

    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, stralign="right")


def paragraph(template: str, **values: object) -> str:
    """A text with its values filled in, broken into lines again."""
    return textwrap.fill(" ".join(template.format(**values).split()), width=120, break_on_hyphens=False)


def write_csv(file: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows (mappings from column to value, all with the same columns)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def write_text(file: str | os.PathLike[str], text: str) -> None:
    """Write a text file; see `write_file`."""
    write_file(file, lambda temporary: temporary.write(text.encode()))


def write_file(file: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all: ``write`` gets a temporary binary file, which is then renamed to ``file``."""
    with written_whole(file) as temporary, open(temporary, "wb") as opened:
        write(opened)


@contextlib.contextmanager
def written_whole(file: str | os.PathLike[str], mark: str = "") -> Iterator[str]:
    """The name of a temporary file to write, which is then renamed to ``file``, or removed after an error.

    It lies in the same folder, where a rename cannot fail half-way; a ``mark`` tells it from those of others.
    """
    temporary = f"{os.fspath(file)}{mark}.tmp"
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


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


def save_figure(figure: Figure, file: str, footer: str) -> list[str]:
    """Write ``file``.png and ``file``.svg with a small footer, and return these names.

    The same figures make the same files: they hold neither a date nor random ids.
    """
    from matplotlib import rc_context

    figure.text(0.5, -0.02, footer, ha="center", va="top", fontsize=6, wrap=True, parse_math=False)
    formats: dict[str, dict[str, Any]] = {"png": {"dpi": 150}, "svg": {"metadata": {"Date": None}}}
    with rc_context({"svg.hashsalt": os.path.basename(file)}):
        for name, options in formats.items():
            write_file(f"{file}.{name}", partial(figure.savefig, format=name, bbox_inches="tight", **options))
    return [f"{file}.{name}" for name in formats]
