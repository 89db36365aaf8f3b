"""Reads what filters are given: intervals such as ``"[4,inf)"`` or ``"(0,1];[3,4)"``, and lists of tokens."""

import math
import re
from typing import Any

from recbole_sparse_elsa.errors import OptionError

#: What an interval is: its left bracket, its two bounds, and its right bracket.
Interval = tuple[str, float, float, str]

_INTERVAL = re.compile(r"([\[(])([^,;]*),([^,;]*)([\])])")
_BOUND = re.compile(r"[-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|inf)", re.IGNORECASE)
_ALLOWED = 'an interval in quotation marks such as "[4,inf)" or "(0,1];[3,4)"'


def parse_intervals(option: str, value: Any) -> list[Interval]:
    """Read the value of an option that is one interval, or several with semicolons between.

    Parameters
    ----------
    option : str
        What the value belongs to, for the message of an error.
    value : str, or list or tuple of two numbers
        A square bracket includes the bound, a round one does not; ``inf`` and ``-inf`` are bounds, too. RecBole's
        command line makes a list of ``[5,10]`` and a tuple of ``(5,10)``; they stand for these intervals.

    Returns
    -------
    list of tuple
        Left bracket, lower bound, upper bound, right bracket of each interval; at least one.

    Raises
    ------
    OptionError
        The value is no interval, a bound is no number, or no number lies within an interval.
    """
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value)):
        brackets = "[]" if isinstance(value, list) else "()"
        text = f"{brackets[0]}{value[0]},{value[1]}{brackets[1]}"
    else:
        text = value
    if not isinstance(text, str):
        raise OptionError(f"{option} is {value!r}, but must be {_ALLOWED}")
    return [_parsed(option, value, part.strip()) for part in text.split(";")]


def parse_tokens(option: str, value: Any) -> list[str]:
    """Read the value of an option that is a list of tokens; whole numbers stand for the tokens that read like them.

    Raises
    ------
    OptionError
        The value is no list, has nothing in it, or has something else than texts and whole numbers.
    """
    if (
        not isinstance(value, (list, tuple, set))
        or not value
        or not all(isinstance(token, (str, int)) and not isinstance(token, bool) for token in value)
    ):
        raise OptionError(f'{option} is {value!r}, but must be a list of tokens such as ["a", "b"]')
    return [str(token) for token in value]


def is_within(number: Any, intervals: list[Interval]) -> Any:
    """Whether a number, or each number of an array, lies in one of the intervals; NaN lies in none."""
    within: Any = False
    for left, lower, upper, right in intervals:
        within = within | (
            ((number >= lower) if left == "[" else (number > lower))
            & ((number <= upper) if right == "]" else (number < upper))
        )
    return within


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _parsed(option: str, value: Any, text: str) -> Interval:
    match = _INTERVAL.fullmatch(text)
    bounds = [bound.strip() for bound in match.group(2, 3)] if match else []
    if match is None or not all(map(_BOUND.fullmatch, bounds)):
        part = "" if text == value else f" ({text!r})"
        raise OptionError(f"{option} is {value!r}{part}, but must be {_ALLOWED}: brackets around two numbers")
    left, right = match.group(1, 4)
    lower, upper = map(float, bounds)
    if lower > upper or (lower == upper and (left, right) != ("[", "]")) or (math.isinf(lower) and lower == upper):
        raise OptionError(f"{option} is {value!r}, but no number lies within {text}: the lower bound comes first")
    return left, lower, upper, right
