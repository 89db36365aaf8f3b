"""Points in time that divide all interactions: dates, times as the file has them, and quantiles of its times."""

import datetime
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from recbole_sparse_elsa.errors import DatasetError, OptionError

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
# Times since 1970 by their size: from which on they are in a unit, and how many of it a second has. Years 1973 to 5138.
_UNITS = ((1e17, 10**9), (1e14, 10**6), (1e11, 10**3), (1e8, 1))
_LARGEST = 1e20
_WRONG_ORDER = "but the second point in time must not be before the first"
_ALLOWED = (
    'two points in time, each a date such as "2020-01-31" (UTC), a time as in the file, or a share of all interactions '
    "above 0 and below 1, such as [0.8, 0.9]: the first of validation, and the first of test"
)


def normalised(option: str, points: Sequence[Any]) -> list[Any]:
    """The points as text and numbers, checked without the data.

    Parameters
    ----------
    option : str
        What the points belong to, for the message of an error.
    points : sequence
        Two of: a date or a time (datetime.date, datetime.datetime, or text in the ISO format), or a number.

    Returns
    -------
    list
        Dates as text in the ISO format, and numbers as they are.

    Raises
    ------
    OptionError
        There are not two points, or one is none.
    """
    texts = [point.isoformat() if isinstance(point, datetime.date) else point for point in points]
    for text in texts:
        if isinstance(text, str):
            is_point = _date(text) is not None
        else:
            is_point = isinstance(text, (int, float)) and not isinstance(text, bool) and math.isfinite(text)
        if not is_point or len(texts) != 2:
            raise OptionError(f"{option} is {list(points)!r}, but must be {_ALLOWED}")
    first, second = ((_date(text) or _EPOCH) if isinstance(text, str) else text for text in texts)
    are_dates = all(isinstance(text, str) for text in texts)
    are_shares = all(isinstance(text, float) and 0 < text < 1 for text in texts)
    if (are_dates or are_shares) and second < first:
        raise OptionError(f"{option} is {list(points)!r}, {_WRONG_ORDER}; it must be {_ALLOWED}")
    return texts


def resolved(option: str, points: Sequence[Any], times: np.ndarray) -> list[int | float]:
    """The points as times of the file.

    Parameters
    ----------
    option : str
        What the points belong to, for the message of an error.
    points : sequence of str, int or float
        See `normalised`.
    times : numpy.ndarray
        float64 or int64, shape ``(n,)``, at least one.

    Returns
    -------
    list of int or float
        An interaction is behind a point if its time is at least this. A share is resolved to the time of the first
        interaction after so many, so that interactions at the same time are on the same side.

    Raises
    ------
    OptionError
        The second point is before the first.
    DatasetError
        A point is a date, and the times are none since 1970 in seconds, milli-, micro- or nanoseconds.
    """
    in_order = np.sort(times)
    found: list[int | float] = []
    for point in points:
        if isinstance(point, str):
            found.append(_time_of_date(option, point, in_order))
        elif 0 < point < 1:
            share = Fraction(str(point))
            found.append(in_order[len(in_order) * share.numerator // share.denominator].item())
        else:
            found.append(point)
    if found[1] < found[0]:
        raise OptionError(f"{option} is {list(points)!r}, {_WRONG_ORDER}")
    return found


def said(time: int | float, times: np.ndarray) -> str:
    """A time as a message shows it: as a date, too, where the times of the file are dates."""
    per_second = _units_per_second(times)
    if per_second is None:
        return f"{time:,}" if isinstance(time, int) else f"{time:,.10g}"
    try:
        date = _EPOCH + datetime.timedelta(seconds=time / per_second)
    except OverflowError:
        return f"{time}"
    return f"{date:%Y-%m-%d %H:%M:%S} UTC"


def _date(text: str) -> datetime.datetime | None:
    if text.endswith("Z"):
        text = f"{text[:-1]}+00:00"  # which Python 3.10 does not read
    try:
        date = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=datetime.timezone.utc)


def _time_of_date(option, text, in_order):
    per_second = _units_per_second(in_order)
    if per_second is None:
        raise DatasetError(
            f"{option} has the date {text}, but the times of the file, from {in_order[0]:g} to {in_order[-1]:g}, are "
            "none since 1970 in seconds, milliseconds, microseconds or nanoseconds: give times as in the file or shares"
        )
    date = _date(text)
    assert date is not None
    microseconds = (date - _EPOCH) // datetime.timedelta(microseconds=1)
    return -(-microseconds * per_second // 10**6)  # rounded up: a time is behind the date if it is at least this


def _units_per_second(times):
    middle = len(times) // 2
    median = np.partition(times, middle)[middle]  # which takes no sorting
    if median >= _LARGEST:
        return None
    return next((per_second for least, per_second in _UNITS if median >= least), None)
