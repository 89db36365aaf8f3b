"""What the benchmarks have in common: where they begin, and what they print and write at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.machine.environment import environment_line
from recbole_sparse_elsa.options import require_whole_number

Row = Mapping[str, Any]


def require_positive(benchmark: Any, *names: str) -> None:
    """Raise OptionError unless these attributes of a benchmark are whole numbers, or several, of at least 1."""
    for name in names:
        value = getattr(benchmark, name)
        for number in value if isinstance(value, (list, tuple)) else [value]:
            require_whole_number(name, number, at_least=1)


def show(parts: Iterable[str]) -> None:
    """Print paragraphs and tables, an empty line before each and after the last."""
    print("\n" + "\n\n".join(parts) + "\n")


def ran_on_line(ran_on: Row) -> str:
    """On what a benchmark ran, as the sentence that its text ends with."""
    return f"Run on {environment_line(ran_on)}."


def write_rows(file: str, rows: Iterable[Row], ran_on: Row) -> None:
    """Write a CSV file of which each row ends with what it was measured on."""
    output.write_csv(file, [{**row, **ran_on} for row in rows])


def write_report(
    folder: str,
    name: str,
    title: str,
    parts: Sequence[str],
    tables: Mapping[str, Iterable[Row]],
    ran_on: Row,
    plot: Callable[[str, str], list[str]] | None = None,
) -> None:
    """Write what a benchmark found, and print the names of the files.

    Parameters
    ----------
    folder : str
        Where to.
    name : str
        Of the text, ``name.md``.
    title : str
        Its heading.
    parts : sequence of str
        The paragraphs and tables below it.
    tables : mapping
        From the name of a CSV file, without its ending, to its rows.
    ran_on : mapping
        See `recbole_sparse_elsa.machine.environment.environment`.
    plot : callable, optional
        Takes the path of the text, without its ending, and a footer; writes plots and returns the names of their files.
    """
    line, text = ran_on_line(ran_on), os.path.join(folder, name)
    written = []
    for table, rows in tables.items():
        written.append(os.path.join(folder, f"{table}.csv"))
        write_rows(written[-1], rows, ran_on)
    written.append(f"{text}.md")
    output.write_text(written[-1], "\n\n".join([f"# {title}", *parts, line]) + "\n")
    if plot is not None:
        written += plot(text, line)
    print(f"Written: {', '.join(written)}")
