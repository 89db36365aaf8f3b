"""Intervals of filters are read, or refused in one line."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_sparse_elsa.data.intervals import is_within, parse_intervals
from recbole_sparse_elsa.errors import OptionError


@pytest.mark.parametrize(
    "value, expected",
    [
        ("[4,inf)", [("[", 4, math.inf, ")")]),
        ("(-inf, 4.5]", [("(", -math.inf, 4.5, "]")]),
        (" (0,1] ; [3,4) ", [("(", 0, 1, "]"), ("[", 3, 4, ")")]),
        ("[4,4]", [("[", 4, 4, "]")]),
        ("[-1e3,.5]", [("[", -1000, 0.5, "]")]),
        ([5, 10], [("[", 5, 10, "]")]),
        ((5, 10), [("(", 5, 10, ")")]),
        ((0, math.inf), [("(", 0, math.inf, ")")]),
    ],
)
def test_intervals_that_can_be_read(value, expected):
    assert parse_intervals("val_interval", value) == expected


@pytest.mark.parametrize(
    "value",
    [
        4,
        20.0,
        True,
        {"rating": 4},
        [4],
        [1, 2, 3],
        ["4", "5"],
        "",
        " ",
        "4",
        "[4,inf",
        "4,inf)",
        "[4;inf)",
        "[4)",
        "[4,5,6]",
        "[a,b]",
        "[4,)",
        "[,4)",
        "[nan,4]",
        "[4,nan)",
        "[1_0,20]",
        "[4,inf);",
        ";[4,inf)",
        "[4,inf);[1,",
        "[0,1)[2,3]",
        "[5,4]",
        "(4,4)",
        "[4,4)",
        "[inf,inf]",
        [10, 5],
        [math.nan, 5],
        "{4,5}",
        "]4,5[",
    ],
)
def test_what_is_no_interval_is_refused_in_one_line(value):
    with pytest.raises(OptionError) as caught:
        parse_intervals("user_inter_num_interval", value)
    message = str(caught.value)
    assert message.startswith(f"user_inter_num_interval is {value!r}") and "\n" not in message
    assert "but" in message


NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.sampled_from([-math.inf, math.inf]))


@given(st.lists(st.tuples(st.sampled_from("[("), NUMBERS, NUMBERS, st.sampled_from("])")), min_size=1, max_size=3))
def test_numbers_are_within_as_by_comparing_them_one_by_one(intervals):
    text = ";".join(f"{left}{low},{high}{right}" for left, low, high, right in intervals)
    if any(
        low > high or (low == high and (left + right != "[]" or math.isinf(low)))
        for left, low, high, right in intervals
    ):
        with pytest.raises(OptionError):
            parse_intervals("x", text)
        return
    numbers = np.array([*np.linspace(-6, 6, 49), math.nan, *(bound for part in intervals for bound in part[1:3])])
    expected = []
    for number in numbers:
        hits = []
        for left, low, high, right in intervals:
            above = number >= low if left == "[" else number > low
            below = number <= high if right == "]" else number < high
            hits.append(above and below)
        expected.append(any(hits))
    read = parse_intervals("x", text)
    assert is_within(numbers, read).tolist() == expected
    assert [bool(is_within(number, read)) for number in numbers] == expected
