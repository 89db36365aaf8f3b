"""Which form a file has."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Protocol

from tqdm import tqdm

from recbole_sparse_elsa.convert.columns import ColumnOptions, NamedColumns
from recbole_sparse_elsa.convert.parquet import require_no_parquet
from recbole_sparse_elsa.convert.raw_formats import RAW_FORMATS, shown
from recbole_sparse_elsa.convert.raw_text import read_texts
from recbole_sparse_elsa.convert.split_files import ITEMS_OF_USERS, SparseMatrix
from recbole_sparse_elsa.errors import DatasetError

# What pairs are called in their first line; whatever else is there must be named by options.
_USERS = frozenset(["user", "user_id", "userid", "uid", "user_id:token"])
_ITEMS = frozenset(["item", "item_id", "itemid", "iid", "sid", "item_id:token"])
_PAIRS = "pairs (lines user,item or user item, with or without such a header)"
_ONE_KIND = "give files of one kind"
#: The forms that are known without options, in words.
KNOWN_FORMS = (
    *(raw_format.description for raw_format in (*RAW_FORMATS, ITEMS_OF_USERS)),
    _PAIRS,
    SparseMatrix.description,
)


class Form(Protocol):
    """A form in which interactions are given."""

    @property
    def name(self) -> str:
        """What it is called, for messages."""

    @property
    def fields(self) -> tuple[str, ...]:
        """What an interaction has: user, item and, where they are given, rating and timestamp, in this order."""

    def read(self, path: str, progress: Any) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a file, as tuples of text, one for each of ``fields``."""

    def notes(self) -> list[str]:
        """What is to be said of the files that were read, in sentences."""


def form_of(paths: list[str], columns: ColumnOptions) -> Form:
    """The form that files have: that of the columns that are named, or else the one that their first lines tell.

    Raises
    ------
    DatasetError
        A file cannot be read, is empty, begins like none of the known forms, or has another form than the first.
    """
    if columns.by_role:
        return NamedColumns(columns)
    are_matrices = [SparseMatrix.recognises(path) for path in paths]
    if all(are_matrices):
        return SparseMatrix(paths)
    if any(are_matrices):
        other = paths[are_matrices.index(False)]
        raise DatasetError(f"{paths[are_matrices.index(True)]} is {SparseMatrix.name}, but {other} is not; {_ONE_KIND}")
    first = _form_of(paths[0])
    for path in paths[1:]:
        other_form = _form_of(path)
        if other_form.name != first.name:
            raise DatasetError(f"{paths[0]} is {first.name}, but {path} is {other_form.name}; {_ONE_KIND}")
    return first


def _form_of(path: str) -> Form:
    require_no_parquet(path)
    with contextlib.closing(read_texts(path, tqdm(disable=True))) as texts:
        text = next(texts)
        line = next(iter(text), None)
    if line is None:
        raise DatasetError(f"{text.name} is empty")
    for raw_format in (*RAW_FORMATS, ITEMS_OF_USERS):
        if raw_format.recognises(line):
            return raw_format
    pairs = _columns_of_pairs(line)
    if pairs is not None:
        return NamedColumns(pairs)
    raise text.error(
        f"{shown(line)} begins none of the files that can be converted: {'; '.join(KNOWN_FORMS)}; of other files name "
        "the columns, by --user and --item"
    )


def _columns_of_pairs(line: str) -> ColumnOptions | None:
    """The columns of a file of pairs, if it begins with this line."""
    found = re.fullmatch(r"([^\s,;|]+)(,|;|\t|\|| )([^\s,;|]+) *\n?", line)
    if found is None:
        return None
    first, separator, second = found.groups()
    if re.fullmatch("[0-9]+", first) and re.fullmatch("[0-9]+", second):
        return ColumnOptions(user="1", item="2", separator=separator)
    for user, item in ((first, second), (second, first)):
        if user.strip('"').lower() in _USERS and item.strip('"').lower() in _ITEMS:
            return ColumnOptions(user=user.strip('"'), item=item.strip('"'), separator=separator)
    return None
