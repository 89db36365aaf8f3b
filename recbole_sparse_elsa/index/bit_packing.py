"""The non-zeros of int4 as bits: two values a byte, and the columns of a row as an Elias-Fano list or a bitmap.

Which of the two a row has, and of how many bits, follows from its number of non-zeros: see
`recbole_sparse_elsa.value_types.place_bits`. Rows are written in blocks: the strings of upper parts and bitmaps
of all its rows, then the lower parts of all its columns, the lowest bit first. A block begins with a byte of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recbole_sparse_elsa.index.encoding import row_chunks, smallest_unsigned
from recbole_sparse_elsa.value_types import VALUE_TYPES, place_bits

_ROWS_PER_BLOCK = 2**14
_LARGEST: int = VALUE_TYPES["int4"].steps or 0


def pack_values(values: np.ndarray) -> np.ndarray:
    """Values from -7 to 7, as int8, in 4 bits each: uint8, the first of two in the upper half."""
    halves = np.zeros(len(values) + len(values) % 2, dtype=np.uint8)
    halves[: len(values)] = values + _LARGEST
    return halves[::2] << 4 | halves[1::2]


def unpack_values(packed: np.ndarray, n_values: int) -> np.ndarray:
    """The reverse of `pack_values`: int8, shape ``(n_values,)``.

    Raises
    ------
    ValueError
        There are not so many values, or one of them is beyond 7.
    """
    if len(packed) != (n_values + 1) // 2:
        raise ValueError("the rows do not have as many values as there are")
    values = np.empty(2 * len(packed), dtype=np.int8)
    np.subtract(packed >> 4, _LARGEST, out=values[::2], casting="unsafe")
    np.subtract(packed & 15, _LARGEST, out=values[1::2], casting="unsafe")
    values = values[:n_values]
    if (values > _LARGEST).any():
        raise ValueError(f"a value is beyond {_LARGEST}")
    return values


def pack_columns(columns: np.ndarray, row_lengths: np.ndarray, embedding_size: int) -> np.ndarray:
    """The columns of rows as bits.

    Parameters
    ----------
    columns : numpy.ndarray
        Unsigned, below ``embedding_size``, rising within a row.
    row_lengths : numpy.ndarray
        int64: the number of columns of each row.
    embedding_size : int
        Number of columns that there could be.

    Returns
    -------
    numpy.ndarray
        uint8.
    """
    packed, first = [np.empty(0, dtype=np.uint8)], 0
    for lengths in _blocks(row_lengths):
        block = _Block(lengths, embedding_size)
        numbers = columns[first : first + len(block.lower_bits)].astype(np.int64)
        first += len(numbers)
        bits = np.zeros(block.n_bits, dtype=np.uint8)
        bits[block.upper_starts + (numbers >> block.lower_bits) + block.shifts] = 1
        for bit, entries in block.lower_parts():
            bits[block.lower_starts[entries] + bit] = numbers[entries] >> bit & 1
        packed.append(np.packbits(bits))
    return np.concatenate(packed)


def unpack_columns(packed: np.ndarray, row_lengths: np.ndarray, embedding_size: int) -> np.ndarray:
    """The reverse of `pack_columns`: of the smallest unsigned type that holds them.

    Raises
    ------
    ValueError
        The bits are not those of such rows.
    """
    n_bytes = 0
    for lengths in _blocks(row_lengths):
        lower, upper = place_bits(lengths, embedding_size)
        n_bytes += _n_bytes(upper.sum() + (lengths * lower).sum())
    if n_bytes != len(packed):
        raise ValueError("the columns do not take as many bits as there are")
    columns = np.empty(row_lengths.sum(), dtype=smallest_unsigned(max(embedding_size - 1, 0)))
    first, n_done = 0, 0
    for lengths in _blocks(row_lengths):
        lower, upper = place_bits(lengths, embedding_size)
        uppers, lowers = (np.concatenate([[0], np.cumsum(x)]) for x in (upper, lengths * lower))
        lowers += uppers[-1]
        n_bytes = _n_bytes(lowers[-1])
        of_block = packed[first : first + n_bytes]
        first += n_bytes
        # A block may be as large as the file: it is taken apart by a few rows at a time.
        for rows in row_chunks(uppers + lowers - lowers[0]):
            ends = [(starts[rows.start], starts[rows.stop]) for starts in (uppers, lowers)]
            bits = np.concatenate([_bits(of_block, start, end) for start, end in ends])
            numbers = _columns_of(_Block(lengths[rows], embedding_size), bits)
            columns[n_done : n_done + len(numbers)] = numbers
            n_done += len(numbers)
    return columns


def _columns_of(block: _Block, bits: np.ndarray) -> np.ndarray:
    places = np.flatnonzero(bits[: block.n_upper_bits])
    if len(places) != len(block.lower_bits) or not ((places >= block.upper_starts) & (places < block.ends)).all():
        raise ValueError("a row does not have as many columns as values")
    numbers = (places - block.upper_starts - block.shifts) << block.lower_bits
    for bit, entries in block.lower_parts():
        numbers[entries] += bits[block.lower_starts[entries] + bit].astype(np.int64) << bit
    return numbers


def _bits(packed: np.ndarray, start: int, end: int) -> np.ndarray:
    """The bits from ``start`` to ``end``, one a byte."""
    first = start // 8
    return np.unpackbits(packed[first : _n_bytes(end)])[start - 8 * first : end - 8 * first]


class _Block:
    """Where the bits of some rows stand.

    Attributes
    ----------
    lower_bits, upper_starts, ends, lower_starts, shifts : numpy.ndarray
        int64, one for each column: how many lower bits it has, where the row's upper parts begin and end, where its
        lower bits begin, and how far its place among the upper parts lies beyond its upper part.
    n_upper_bits, n_bits : int
        Of the block.
    """

    def __init__(self, row_lengths: np.ndarray, embedding_size: int) -> None:
        lower, upper = place_bits(row_lengths, embedding_size)
        ends = upper.cumsum()
        self.lower_bits, self.upper_starts, self.ends = (np.repeat(x, row_lengths) for x in (lower, ends - upper, ends))
        in_row = np.arange(len(self.lower_bits)) - np.repeat(row_lengths.cumsum() - row_lengths, row_lengths)
        self.shifts = in_row * (self.lower_bits > 0)
        self.n_upper_bits = int(upper.sum())
        self.lower_starts = self.n_upper_bits + self.lower_bits.cumsum() - self.lower_bits
        self.n_bits = self.n_upper_bits + int(self.lower_bits.sum())

    def lower_parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each place of a lower bit, counted from the lowest, and the columns that have it."""
        for bit in range(self.lower_bits.max(initial=0)):
            yield bit, np.flatnonzero(self.lower_bits > bit)


def _blocks(row_lengths: np.ndarray) -> Iterator[np.ndarray]:
    return (row_lengths[first : first + _ROWS_PER_BLOCK] for first in range(0, len(row_lengths), _ROWS_PER_BLOCK))


def _n_bytes(n_bits: int) -> int:
    return int(n_bits + 7) // 8
