"""The forms in which fixed splits are shared: a user and its items a line, pairs a line, and sparse matrices."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recbole_sparse_elsa.convert.raw_formats import TextFormat, shown
from recbole_sparse_elsa.convert.raw_text import RawText
from recbole_sparse_elsa.errors import DatasetError
from recbole_sparse_elsa.options import require_regular_file

if TYPE_CHECKING:
    from scipy.sparse import coo_array

#: The parts of a fixed split, and what files of each are called.
PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "vad", "dev"),
    "test": ("test", "testing"),
}
_ROWS_AT_ONCE = 100_000
# What numpy and scipy raise for files that are damaged or something else.
_NO_MATRIX = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def part_of(path: str) -> str | None:
    """The part of a split that a file's name tells, such as train.txt or gowalla_test.npz; None where it tells none."""
    stem = os.path.basename(path).split(".")
    words = [word for name in stem for word in re.split("[^a-z]+", name.lower())]
    found = [part for part, names in PARTS.items() if any(name in words for name in names)]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class ItemsOfUsers(TextFormat):
    """A line per user: the user and its items, whole numbers that blanks divide."""

    name: str = "LightGCN and BARS train.txt"
    fields: tuple[str, ...] = ("user", "item")

    @property
    def description(self) -> str:
        """The form in a few words."""
        return f"{self.name} (lines user item item …)"

    def recognises(self, line: str) -> bool:
        """Whether a file that begins with this line has this form."""
        return re.fullmatch(r"[0-9]+( +[0-9]+)* *\n?", line) is not None

    def interactions(self, text: RawText) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a RawText as pairs; a user may have no item.

        Lines of two numbers are the same as pairs, and may have the same user.

        Raises
        ------
        DatasetError
            A line has not the form, or a user has several lines that are no pairs.
        """
        # Of each user the line, and whether all lines so far are pairs.
        line_of: dict[str, int] = {}
        repeated: tuple[str, int] | None = None
        longer = 0
        for line in text:
            numbers = line.split()
            if not self.recognises(line):
                if line.isspace():
                    continue
                wrong = next((number for number in numbers if not re.fullmatch("[0-9]+", number)), line)
                raise text.error(
                    f"{shown(wrong)} is there, but must be a whole number: a user and its items, with blanks"
                )
            user = numbers[0]
            longer = longer or (text.number if len(numbers) > 2 else 0)
            if user in line_of and repeated is None:
                repeated = (user, text.number)
            if longer and repeated:
                user, number = repeated
                raise DatasetError(
                    f"{text.name}, line {number}: user {user} has a second line, beside line {line_of[user]}, but must "
                    f"have one with all of its items, as line {longer} has more than two numbers; where columns "
                    "mean something else, name them, such as --user 1 --item 2 --rating 3"
                )
            line_of.setdefault(user, text.number)
            for item in numbers[1:]:
                yield user, item


ITEMS_OF_USERS = ItemsOfUsers()


class SparseMatrix:
    """A sparse matrix of scipy, in a file of ``scipy.sparse.save_npz``: users are rows, items are columns.

    A matrix of ones has no ratings. Zeros that are stored are no interactions.

    Parameters
    ----------
    paths : sequence of str
        All files of the conversion: where one of them has other values than ones, all have ratings.
    """

    name = "scipy .npz"
    description = "scipy .npz (a sparse matrix of users × items)"

    def __init__(self, paths: list[str]) -> None:
        import numpy as np

        has_ratings = any(not np.isin(_load(path).data, (0, 1)).all() for path in paths)
        self.fields = ("user", "item", "rating") if has_ratings else ("user", "item")
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._zeros = 0

    @staticmethod
    def recognises(path: str) -> bool:
        """Whether a file has this form, by its name."""
        return path.lower().endswith(".npz")

    def read(self, path: str, progress: Any) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a file, as tuples of text; see `TextFormat.read`."""
        matrix = _load(path)
        self._shapes[os.path.basename(path)] = matrix.shape
        rows, columns = matrix.coords
        size, done = os.path.getsize(path), 0
        for start in range(0, matrix.nnz, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            values = matrix.data[part]
            kept = values != 0
            self._zeros += int((~kept).sum())
            columns_of_text = [map(str, rows[part][kept].tolist()), map(str, columns[part][kept].tolist())]
            if len(self.fields) == 3:
                columns_of_text.append(map(str, values[kept].tolist()))
            yield from zip(*columns_of_text)
            reached = size * min(start + _ROWS_AT_ONCE, matrix.nnz) // matrix.nnz
            progress.update(reached - done)
            done = reached
        progress.update(size - done)

    def notes(self) -> list[str]:
        """What is to be said of the files that were read, in sentences."""
        said = ["Users are the rows and items the columns of the matrices, numbered from 0."]
        if self._zeros:
            said.append(f"Zeros that are stored are no interactions: {self._zeros:,} are left out.")
        if len(set(self._shapes.values())) > 1:
            shapes = ", ".join(f"{name} {rows:,} × {columns:,}" for name, (rows, columns) in self._shapes.items())
            said.append(f"The matrices have different shapes: {shapes}.")
        return said


def _load(path: str) -> coo_array:
    import numpy as np
    from scipy import sparse

    try:
        require_regular_file(path)
        matrix = sparse.coo_array(sparse.load_npz(path))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from None
    except _NO_MATRIX as error:
        raise DatasetError(
            f"{path} is no whole sparse matrix of scipy.sparse.save_npz: {' '.join(str(error).split()):.200}"
        ) from None
    is_number = np.issubdtype(matrix.dtype, np.number) or matrix.dtype == bool
    if matrix.ndim != 2 or not is_number or np.iscomplexobj(matrix.data) or not np.isfinite(matrix.data).all():
        raise DatasetError(f"{path} has values of type {matrix.dtype}, but must be a matrix of finite real numbers")
    if matrix.dtype == bool:
        matrix = matrix.astype(np.int8)
    return matrix
