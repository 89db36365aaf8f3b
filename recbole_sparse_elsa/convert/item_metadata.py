"""What publishers tell of items in a small file beside the interactions: titles, years, genres, authors."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from recbole_sparse_elsa.convert.raw_formats import GOODBOOKS, MOVIELENS_CSV, MOVIELENS_DAT, NETFLIX, DelimitedLines
from recbole_sparse_elsa.errors import DatasetError

_MOVIE_HEADER = "item_id:token\tmovie_title:token_seq\trelease_year:token"
_NO_GENRES = "(no genres listed)"


@dataclass(frozen=True)
class ItemMetadata:
    """A form of metadata.

    Attributes
    ----------
    file_names : tuple of str
        Where it is looked for, from the folder of the interactions.
    header : str
        The first line of RecBole's .item file.
    rows : callable
        Gives the rows (lists of text) of the .item file from the lines of the text; raises a ValueError that says what
        was expected.
    """

    file_names: tuple[str, ...]
    header: str
    rows: Callable[[Iterable[str]], Iterator[list[str]]]


def _movielens_row(fields: list[str]) -> list[str]:
    item, title, genres = fields
    found = re.fullmatch(r"(.*?)\s*(?:\(([0-9]{4})\))?\s*", title)
    if found is None:
        raise ValueError("a title on one line")
    title, year = found.groups()
    return [_id_of(item), title, year or "", "" if genres == _NO_GENRES else genres.replace("|", " ")]


def _movies_csv_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    reader = csv.reader(lines)
    if next(reader, None) != ["movieId", "title", "genres"]:
        raise ValueError("the header movieId,title,genres")
    for fields in reader:
        if len(fields) != 3:
            raise ValueError("movieId,title,genres")
        yield _movielens_row(fields)


def _movies_dat_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    for line in lines:
        fields = line.rstrip("\n").split("::")
        if len(fields) != 3:
            raise ValueError("MovieID::Title::Genres")
        yield _movielens_row(fields)


def _books_csv_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    reader = csv.DictReader(lines)
    names = reader.fieldnames or []
    # The first edition of the data set numbers its books by id, and has Goodreads' own number as book_id.
    key = "book_id" if "goodreads_book_id" in names else "id"
    needed = [key, "title", "authors", "original_publication_year", "language_code"]
    if not set(needed) <= set(names):
        raise ValueError(f"a header with {', '.join(needed)}")
    for book in reader:
        fields = [book[name] for name in needed]
        if None in fields:
            raise ValueError(", ".join(names))
        item, title, authors, year, language = fields
        yield [_id_of(item), title, authors, year.removesuffix(".0"), language]


def _movie_titles_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    for line in lines:
        fields = line.rstrip("\n").split(",", 2)  # titles have commas
        if len(fields) != 3:
            raise ValueError("movie,year,title")
        item, year, title = fields
        yield [_id_of(item), title, "" if year == "NULL" else year]


def _id_of(text: str) -> str:
    if not re.fullmatch("[0-9]+", text):
        raise ValueError("a whole number as the item's id")
    return text


_METADATA: dict[DelimitedLines, ItemMetadata] = {
    MOVIELENS_CSV: ItemMetadata(("movies.csv",), f"{_MOVIE_HEADER}\tgenre:token_seq", _movies_csv_rows),
    MOVIELENS_DAT: ItemMetadata(("movies.dat",), f"{_MOVIE_HEADER}\tgenre:token_seq", _movies_dat_rows),
    GOODBOOKS: ItemMetadata(
        ("books.csv",),
        "item_id:token\ttitle:token_seq\tauthors:token_seq\tpublication_year:token\tlanguage:token",
        _books_csv_rows,
    ),
    NETFLIX: ItemMetadata(
        ("movie_titles.txt", "movie_titles.csv", os.path.join("..", "movie_titles.txt")),
        _MOVIE_HEADER,
        _movie_titles_rows,
    ),
}


def item_file_text(folder: str, raw_format: object) -> str | None:
    """The text of RecBole's .item file, or None where the publisher's file of items is not in ``folder``.

    Raises
    ------
    DatasetError
        The publisher's file has not the form it should have.
    """
    metadata = _METADATA.get(raw_format) if isinstance(raw_format, DelimitedLines) else None
    if metadata is None:
        return None
    files = (os.path.normpath(os.path.join(folder, name)) for name in metadata.file_names)
    path = next(filter(os.path.isfile, files), None)
    if path is None:
        return None
    with open(path, "rb") as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # as MovieLens-1M and Netflix write titles
    lines = _CountedLines(text)
    rows = [metadata.header]
    try:
        for row in metadata.rows(lines):
            rows.append("\t".join(map(_plain, row)))
    except (ValueError, csv.Error) as error:
        raise DatasetError(
            f"{path}, line {lines.number}: expected {error}; mend the file, or move it away to do without it"
        ) from None
    return "\n".join(rows) + "\n"


class _CountedLines:
    """Lines of a text, as a csv reader takes them, of which the number of the last is known."""

    def __init__(self, text: str) -> None:
        self.number = 0
        self._lines = io.StringIO(text, newline=None)

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, 1):
            self.number = number
            yield line


def _plain(text: str) -> str:
    """The text without what RecBole would take for a separator or for quotation."""
    return " ".join(text.replace('"', " ").split())
