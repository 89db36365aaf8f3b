"""How item embeddings are held in memory: a value in 1, 2 or 4 bytes beside its column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.value_types import VALUE_TYPES, in_steps

# A user's vector has a number for each, and the posting lists 32: a small file must not ask for more memory than that.
MOST_DIMENSIONS = 2**20
_ENTRIES_OF_A_CHUNK = 2**20


@dataclass(frozen=True)
class EncodedRows:
    """Item embeddings, row by row, in a few bytes a non-zero.

    A row is stored up to a factor, since decoding scales it to norm 1: int8 and int4 need no scale of their own.

    Attributes
    ----------
    encoding : str
        One of ``VALUE_TYPES``.
    values : numpy.ndarray
        Of the encoding's type, shape ``(n_nonzeros,)``; in int4 from -7 to 7.
    columns : numpy.ndarray
        uint8, uint16 or uint32, same shape: the latent dimension of each value, rising within a row.
    row_pointers : numpy.ndarray
        int64, shape ``(n_items + 1,)``.
    embedding_size : int
        Number of latent dimensions.
    """

    encoding: str
    values: np.ndarray
    columns: np.ndarray
    row_pointers: np.ndarray
    embedding_size: int

    def have_a_norm(self) -> bool:
        """Whether every row that has an entry can be scaled to norm 1, or, as float32, is so already."""
        for rows in row_chunks(self.row_pointers):
            pointers = self.row_pointers[rows.start : rows.stop + 1]
            norms = _norms(self.values[pointers[0] : pointers[-1]], pointers - pointers[0])
            if not ((np.abs(norms - 1) < 1e-3).all() if self.encoding == "float32" else (norms > 0).all()):
                return False
        return True

    def decode(self, rows: np.ndarray | None = None) -> csr_matrix:
        """The item embeddings, or some of them: float32, shape ``(n_rows, embedding_size)``, rows of norm 1.

        Parameters
        ----------
        rows : numpy.ndarray, optional
            Integers; all rows by default.
        """
        values, columns, pointers = self.decode_entries(rows)
        index_type = np.int32 if len(values) < 2**31 else np.int64
        shape = (len(pointers) - 1, self.embedding_size)
        return csr_matrix((values, columns.astype(index_type), pointers.astype(index_type)), shape=shape)

    def decode_entries(self, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The arrays of `decode`: values, columns (in their own type) and row pointers (int64)."""
        if rows is None:
            values, columns, pointers = self.values, self.columns, self.row_pointers
        else:
            entries, pointers = entries_of(rows, self.row_pointers)
            values, columns = self.values[entries], self.columns[entries]
        if self.encoding != "float32":
            values = values.astype(np.float32)
            values /= np.repeat(_norms(values, pointers).astype(np.float32), np.diff(pointers))
        return values, columns, pointers


def encode(item_embeddings: Any, encoding: str) -> EncodedRows:
    """Scale item embeddings to norm 1 and encode them.

    float16 rounds each value to 11 significant bits, int8 and int4 to 127 and 7 steps of the row's largest magnitude.

    Parameters
    ----------
    item_embeddings : scipy.sparse matrix or array
        Shape ``(n_items, embedding_size)``, any real type. A row without a non-zero stays so.
    encoding : str
        float32, float16, int8 or int4.

    Raises
    ------
    OptionError
        Unknown encoding, a value that is not finite, or more latent dimensions than an index can hold.
    """
    if encoding not in VALUE_TYPES:
        raise OptionError(f"encoding is {encoding!r}, but must be {', '.join(VALUE_TYPES)}")
    if item_embeddings.shape[1] > MOST_DIMENSIONS:
        raise OptionError(
            f"the item embeddings have {item_embeddings.shape[1]} latent dimensions, but an index holds at most "
            f"{MOST_DIMENSIONS}"
        )
    rows = csr_matrix(item_embeddings, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    if not np.isfinite(rows.data).all():
        raise OptionError("the item embeddings hold values that are not finite")
    pointers = rows.indptr.astype(np.int64)
    values = _scaled(rows.data, pointers)
    steps = VALUE_TYPES[encoding].steps
    if steps is not None:
        largest = _per_row(np.maximum, np.abs(values), pointers)
        values = in_steps(values, np.repeat(largest, np.diff(pointers)), steps)
    columns = rows.indices.astype(smallest_unsigned(max(rows.shape[1] - 1, 0)))
    return EncodedRows(encoding, values.astype(VALUE_TYPES[encoding].memory), columns, pointers, rows.shape[1])


def entries_of(rows: np.ndarray, row_pointers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the entries of some rows stand, row by row, and the row pointers of these entries alone.

    Parameters
    ----------
    rows : numpy.ndarray
        Integers.
    row_pointers : numpy.ndarray
        Integers, shape ``(n_rows + 1,)``.
    """
    starts = row_pointers[rows]
    lengths = row_pointers[rows + 1] - starts
    pointers = np.zeros(len(lengths) + 1, dtype=np.int64)
    lengths.cumsum(out=pointers[1:])
    return np.arange(pointers[-1]) + np.repeat(starts - pointers[:-1], lengths), pointers


def row_chunks(row_pointers: np.ndarray) -> Iterator[slice]:
    """Rows, a few at a time: together of at most a million entries, or a single row."""
    start, n_rows = 0, len(row_pointers) - 1
    while start < n_rows:
        stop = int(np.searchsorted(row_pointers, row_pointers[start] + _ENTRIES_OF_A_CHUNK, side="right")) - 1
        stop = min(max(stop, start + 1), start + _ENTRIES_OF_A_CHUNK, n_rows)
        yield slice(start, stop)
        start = stop


def smallest_unsigned(largest: int) -> np.dtype:
    """The smallest unsigned integer type that holds ``largest``."""
    return np.min_scalar_type(int(largest))


def _scaled(values: np.ndarray, pointers: np.ndarray) -> np.ndarray:
    """The values with rows of norm 1; float32 rows that have it to rounding keep their very values."""
    wide = values.astype(np.float64)
    lengths = np.diff(pointers)
    largest = _per_row(np.maximum, np.abs(wide), pointers)
    norms = _norms(wide / np.repeat(largest, lengths), pointers) * largest  # no overflow in squares
    norms[np.abs(norms - 1) < 1e-6] = 1
    return wide / np.repeat(norms, lengths)


def _norms(values: np.ndarray, pointers: np.ndarray) -> np.ndarray:
    """float64, one for each row; 1 for a row without entries."""
    return np.sqrt(_per_row(np.add, np.square(values, dtype=np.float64), pointers))


def _per_row(reduce: np.ufunc, values: np.ndarray, pointers: np.ndarray) -> np.ndarray:
    """Reduce the entries of each row by a ufunc: 1 for a row without entries."""
    results = np.ones(len(pointers) - 1)
    nonempty = np.flatnonzero(np.diff(pointers))
    if len(nonempty):
        results[nonempty] = reduce.reduceat(values, pointers[nonempty])
    return results
