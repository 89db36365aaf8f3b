"""The columns and values of int4 as bits, against a naive implementation by texts of zeros and ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_sparse_elsa.core.item_size import bytes_per_item
from recbole_sparse_elsa.index import bit_packing
from recbole_sparse_elsa.value_types import place_bits


def naive_bits(rows, embedding_size):
    """Upper parts in unary (zeros that count up, and a one for each column) or a bitmap; then the lower parts."""
    upper, lower = "", ""
    for columns in rows:
        n_lower = int(math.log2(embedding_size // len(columns))) if columns else 0
        in_unary, place = "", 0
        for column in columns:
            in_unary += "0" * ((column >> n_lower) - place) + "1"
            place = column >> n_lower
        in_unary += "0" * (((embedding_size - 1) >> n_lower) - place)
        if not columns:
            continue
        if len(in_unary) + n_lower * len(columns) >= embedding_size:
            upper += "".join("1" if column in columns else "0" for column in range(embedding_size))
            continue
        upper += in_unary
        for column in columns:
            lower += "".join(str(column >> bit & 1) for bit in range(n_lower))
    return upper + lower


@st.composite
def some_rows(draw):
    embedding_size = draw(st.sampled_from([1, 2, 3, 8, 20, 100, 4096, 70_000]))
    columns = st.lists(st.integers(0, embedding_size - 1), max_size=min(embedding_size, 12), unique=True).map(sorted)
    return embedding_size, draw(st.lists(columns | st.just(list(range(min(embedding_size, 100)))), max_size=6))


@settings(max_examples=200, deadline=None)
@given(some_rows())
def test_columns_as_by_texts_and_back(drawn):
    embedding_size, rows = drawn
    columns = np.array([column for row in rows for column in row], dtype=np.uint32)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    bits = naive_bits(rows, embedding_size)
    packed = bit_packing.pack_columns(columns, lengths, embedding_size)
    assert "".join(f"{byte:08b}" for byte in packed) == bits + "0" * (-len(bits) % 8)
    assert bit_packing.unpack_columns(packed, lengths, embedding_size).tolist() == columns.tolist()
    lower, upper = place_bits(lengths, embedding_size)
    assert (lengths * lower + upper).sum() == len(bits)


def test_every_block_begins_with_a_byte(monkeypatch):
    monkeypatch.setattr(bit_packing, "_ROWS_PER_BLOCK", 2)
    rows = [[0, 5], [9], [1], [], [2, 3, 4]]
    columns = np.concatenate(rows).astype(np.uint8)
    lengths = np.array([len(row) for row in rows])
    packed = bit_packing.pack_columns(columns, lengths, 10)
    blocks = [naive_bits(rows[first : first + 2], 10) for first in (0, 2, 4)]
    padded = "".join(block + "0" * (-len(block) % 8) for block in blocks)
    assert "".join(f"{byte:08b}" for byte in packed) == padded
    assert bit_packing.unpack_columns(packed, lengths, 10).tolist() == columns.tolist()


@given(st.lists(st.integers(-7, 7)))
def test_values_and_back(values):
    packed = bit_packing.pack_values(np.array(values, dtype=np.int8))
    assert len(packed) == math.ceil(len(values) / 2)
    assert bit_packing.unpack_values(packed, len(values)).tolist() == values


def test_what_does_not_fit_is_refused():
    packed = bit_packing.pack_columns(np.array([3, 90]), np.array([2]), 100)
    for lengths, said in (([1], "as many bits"), ([9], "as many bits"), ([2, 5], "as many bits")):
        with pytest.raises(ValueError, match=said):
            bit_packing.unpack_columns(packed, np.array(lengths), 100)
    with pytest.raises(ValueError, match="as many columns as values"):
        bit_packing.unpack_columns(packed & 0, np.array([2]), 100)
    # As many ones as there should be, but not in the row in which they should be.
    packed = np.packbits(np.array([1, 1, 0, 0], dtype=np.uint8))
    with pytest.raises(ValueError, match="as many columns as values"):
        bit_packing.unpack_columns(packed, np.array([1, 1]), 2)
    for values, n_values, said in (([0xF0], 1, "beyond 7"), ([0], 3, "as many values")):
        with pytest.raises(ValueError, match=said):
            bit_packing.unpack_values(np.array(values, dtype=np.uint8), n_values)


def test_a_width_of_a_power_of_two_by_hand():
    # 64 columns: a list of 4 has 4 lower bits a place and 4 + 3 upper ones; 17 take a bitmap, as 16 do not.
    bits = [bits.tolist() for bits in place_bits(np.array([4, 16, 17, 64]), 64)]
    assert bits == [[4, 2, 0, 0], [7, 31, 64, 64]]
    assert bytes_per_item(torch.tensor([4, 17]), 64, "int4") == (2 + 8.5 + 23 / 8 + 8) / 2 + 2
