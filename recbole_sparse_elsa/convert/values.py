"""Ids, ratings and times of files with any columns: what is taken for one, and how it is written."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from recbole_sparse_elsa.data.atomic_files import NUMBER
from recbole_sparse_elsa.options import shown

# Beyond this many texts, what was made of them is forgotten and made again, since they are held in memory.
_MOST_HELD = 1_000_000
# What pandas, SQL and Python write where nothing is. NA is not among them: it is an id and a country.
_MISSING = frozenset(["", "nan", "NaN", "NAN", "NaT", "<NA>", "None", "null", "NULL"])
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WHOLE_FLOAT = re.compile(r"(-?[0-9]+)\.0")
_ROUNDED = re.compile(r"[0-9](\.[0-9]+)?[eE]\+[0-9]+")
_DATE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?(?: ?(Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
_LOOKS_LIKE_A_DATE = re.compile("(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
# Lines of times as most files have them: seconds of these years, and dates with seconds and without a time zone.
_USUAL_NUMBERS = re.compile("(?:[1-9][0-9]{8,9}\\n)*[1-9][0-9]{8,9}")
_USUAL_DATES = re.compile("(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\\n|$))+")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_EPOCH_DAY = _EPOCH.date().toordinal()
# Times in seconds: the years 1 and 9999, and the year 5138, beyond which lies what is given in smaller units.
_EARLIEST, _LATEST, _LATEST_WITHOUT_UNIT = -62_135_596_800, 253_402_300_799, 10**11
# A time in 1973: numbers of seconds that all lie before are hardly any.
_EARLY = 10**8
#: Units of times that are numbers, and their decimal places beside seconds.
TIME_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


class MissingValueError(ValueError):
    """Nothing is given where a value must be."""


def _require_value(text: str) -> str:
    text = text.strip()
    if text in _MISSING:
        found = f"{text}, which stands for nothing" if text else "empty"
        raise MissingValueError(f"{found}, but must have a value in every line")
    return text


class Values:
    """Makes what is written of what stands in a column of a file."""

    def column(self, texts: Sequence[str]) -> list[str]:
        """What is written of some texts.

        Raises
        ------
        ValueError
            One of them is wrong; the message says what is there and what must be.
        """
        raise NotImplementedError


class _HeldValues(dict[str, str], Values):
    """Values of which the same occur again and again: they are made once, and held."""

    def column(self, texts: Sequence[str]) -> list[str]:
        return list(map(self.__getitem__, texts))

    def __missing__(self, text: str) -> str:
        made = self._make(text)
        if len(self) >= _MOST_HELD:
            self.clear()
        self[text] = made
        return made

    def _make(self, text: str) -> str:
        raise NotImplementedError


class Ids(_HeldValues):
    """Makes the token that is written of each id.

    Ids are text: leading zeros stay, and blanks within them. Blanks around them go. The whole numbers that were
    written as floating-point numbers, such as 12.0, are written as whole numbers again.

    Attributes
    ----------
    shortened : str
        The first id such as 12.0; "" where there was none.
    """

    shortened = ""

    def column(self, texts: Sequence[str]) -> list[str]:
        """What is written of some ids; see `Values.column`."""
        # Quicker than to look all of them up: nothing is to be done where they are letters and digits.
        together = "".join(texts)
        if together.isascii() and together.replace("_", "").replace("-", "").isalnum() and _MISSING.isdisjoint(texts):
            return list(texts)
        return super().column(texts)

    def _make(self, text: str) -> str:
        token = _require_value(text)
        found = _CONTROL.search(token)
        if found:
            raise ValueError(
                f"{shown(token)}, but must be without {found.group()!r}, which files with tabs cannot hold"
            )
        if token == "[PAD]":
            raise ValueError("[PAD], which RecBole uses for padding, but must be another id")
        if _ROUNDED.fullmatch(token):
            raise ValueError(f"{token}, a number that was rounded, but must be a whole id; write ids as text")
        whole = _WHOLE_FLOAT.fullmatch(token)
        if whole:
            self.shortened = self.shortened or token
            token = whole.group(1)
        return token


class Ratings(_HeldValues):
    """Makes the number that is written of each rating."""

    def _make(self, text: str) -> str:
        number = _require_value(text)
        if not NUMBER.fullmatch(number) or abs(float(number)) == float("inf"):
            comma = "; write a decimal point" if NUMBER.fullmatch(number.replace(",", ".")) else ""
            raise ValueError(f"{shown(number)}, but must be a finite number, such as 4 or 0.5{comma}")
        return number


class Times(Values):
    """Makes seconds since 1970 (UTC) of each time, as it stands in a file: an ISO date, or a number.

    The first time tells which of the two all are. Dates without a time zone are taken as UTC; either all have one or
    none has.

    Parameters
    ----------
    unit : str, optional
        One of `TIME_UNITS`, of times that are numbers; seconds by default, and only where they can be seconds.

    Attributes
    ----------
    kind : str
        What the times were read as, in words; "" before the first.
    first, last : float
        The earliest and the latest time, in seconds.
    """

    def __init__(self, unit: str | None = None) -> None:
        self.unit = unit
        self.kind = ""
        self.first, self.last = float("inf"), float("-inf")

    def _seconds_of(self, text: str) -> str:
        time = _require_value(text)
        date = _DATE.fullmatch(time)
        if date is not None:
            zone = date.group(6)
            # A day alone has no zone to be without.
            kind = "ISO dates" if date.group(2) is None else f"ISO dates with{'' if zone else 'out'} a time zone"
            seconds = _seconds_of_date(time, *date.groups())
        elif NUMBER.fullmatch(time):
            kind = "numbers"
            seconds = self._seconds_of_number(time)
        else:
            raise ValueError(
                f"{shown(time)}, but must be an ISO date, such as 2005-09-06 or 2005-09-06T12:30:00+02:00, or a number"
            )
        value = float(seconds)
        if not _EARLIEST <= value <= _LATEST:
            given = f", in {self.unit}" if self.unit else ""
            raise ValueError(f"{time}{given}, but must be a time from the year 1 to 9999")
        self._require_kind(time, kind)
        if value < self.first:
            self.first = value
        if value > self.last:
            self.last = value
        return seconds

    def column(self, texts: Sequence[str]) -> list[str]:
        """The times in seconds, as text; quicker where all are written in one of the usual ways.

        See `Values.column`.
        """
        usual = None if self.unit else _usual_times(texts)
        if usual is None:
            return list(map(self._seconds_of, texts))
        kind, seconds = usual
        self._require_kind(texts[0], kind)
        self.first, self.last = min(self.first, min(seconds)), max(self.last, max(seconds))
        return list(map(str, seconds))

    def _require_kind(self, time: str, kind: str) -> None:
        if kind == self.kind:
            return
        if not self.kind or self.kind == "ISO dates" and kind != "numbers":
            self.kind = kind
        elif not (kind == "ISO dates" and self.kind != "numbers"):
            raise ValueError(f"{time}, but must be like the times before it, which are {self.kind}")
        if kind != "numbers" and self.unit is not None:
            raise ValueError(f"{time}, but must be a number, since --time-unit is {self.unit}")

    def _seconds_of_number(self, time: str) -> str:
        if self.unit is None:
            if not self.kind and _LOOKS_LIKE_A_DATE.fullmatch(time):
                raise ValueError(
                    f"{time}, which may be a date or seconds, but must be one of them; write dates as "
                    f"{time[:4]}-{time[4:6]}-{time[6:]}, or give --time-unit s for seconds"
                )
            if abs(float(time)) >= _LATEST_WITHOUT_UNIT:
                unit = next(
                    (unit for unit, places in TIME_UNITS.items() if abs(float(time)) < 10.0 ** (11 + places)), "ns"
                )
                raise ValueError(
                    f"{time}, but must be a time in seconds since 1970; give --time-unit {unit} if that is its unit"
                )
            return time
        places = TIME_UNITS[self.unit]
        return time if places == 0 else _plain(Decimal(time).scaleb(-places))

    @property
    def description(self) -> str:
        """What the times were read as, and from when to when they reach."""
        kind = {"numbers": f"numbers in {self.unit or 's'} since 1970"}.get(self.kind, f"{self.kind}, as UTC")
        if self.kind.endswith("with a time zone"):
            kind = self.kind
        first, last = (
            (_EPOCH + datetime.timedelta(seconds=time)).isoformat(" ", "seconds")[:19]
            for time in (self.first, self.last)
        )
        early = self.kind == "numbers" and self.last < _EARLY
        doubt = "; they may be in another unit, or no times but positions" if early else ""
        return f"{kind}, from {first} to {last} UTC{doubt}"


def _usual_times(texts: Sequence[str]) -> tuple[str, list[int]] | None:
    """What times as most files have them are read as, in words, and their seconds; None for others."""
    lines = "\n".join(texts)
    try:
        if _USUAL_NUMBERS.fullmatch(lines):
            return "numbers", list(map(int, texts))
        if _USUAL_DATES.fullmatch(lines):
            seconds = np.array(texts, dtype="datetime64[s]").astype(np.int64).tolist()
            return None if min(seconds) < _EARLIEST else ("ISO dates without a time zone", seconds)
    except ValueError:  # of numpy, for a date that is not of the calendar
        pass
    return None


def _seconds_of_date(
    text: str, day: str, hour: str | None, minute: str, second: str | None, fraction: str | None, zone: str | None
) -> str:
    try:
        seconds = _seconds_of_day(day)
    except ValueError:
        raise ValueError(f"{text}, but must be a date of the calendar") from None
    if hour is not None:
        hours, minutes, rest = int(hour), int(minute), int(second or 0)
        ahead = 0 if zone is None or zone[0] in "ZU" else 60 * int(zone[1:3]) + int(zone[3:].lstrip(":") or 0)
        if hours > 23 or minutes > 59 or rest > 59 or ahead > 14 * 60:
            raise ValueError(f"{text}, but must be a time from 00:00:00 to 23:59:59, at most 14 hours from UTC")
        seconds += 3600 * hours + 60 * (minutes - (-ahead if zone and zone[0] == "-" else ahead)) + rest
        if fraction is not None:
            return _plain(seconds + Decimal(f"0.{fraction}"))
    return str(seconds)


@functools.lru_cache(maxsize=100_000)
def _seconds_of_day(day: str) -> int:
    return 86_400 * (datetime.date.fromisoformat(day).toordinal() - _EPOCH_DAY)


def _plain(number: Decimal) -> str:
    """The number without an exponent and without zeros at the end of its fraction."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
