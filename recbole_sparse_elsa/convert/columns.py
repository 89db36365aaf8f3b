"""Files with any columns, which the user names: separated text with or without a header, and Parquet."""

from __future__ import annotations

import csv
import difflib
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from recbole_sparse_elsa.convert.parquet import is_parquet, read_columns
from recbole_sparse_elsa.convert.raw_formats import ROLES, TextFormat, option_of, shown
from recbole_sparse_elsa.convert.raw_text import LONGEST_LINE, RawText
from recbole_sparse_elsa.convert.values import TIME_UNITS, Ids, MissingValueError, Ratings, Times, Values
from recbole_sparse_elsa.errors import DatasetError, OptionError

# What separates columns, in the order in which it is tried: blanks last, since dates have them, too.
_SEPARATORS = (",", ";", "\t", "|", "::", " ")
_NAMES_OF_SEPARATORS = {"tab": "\t", "\\t": "\t", "blank": " ", "comma": ",", "semicolon": ";"}
_RECORDS_AT_ONCE = 1_000
# Values of some rows by column, and what tells the line or row in the file of each of them.
_SomeColumns: TypeAlias = tuple[Sequence[Sequence[str]], Callable[[int], int]]


@dataclass(frozen=True)
class ColumnOptions:
    """Which columns of a file are what.

    Attributes
    ----------
    user, item, rating, time : str or None
        Names of columns, or their numbers from 1 in a file without a header. Users and items must be given.
    separator : str, optional
        What separates columns; by default it is seen from the first line.
    time_unit : str, optional
        The unit of times that are numbers: s, ms, us or ns.
    skip_missing : bool
        Leave out lines where one of these columns is empty, instead of refusing them.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    time: str | None = None
    separator: str | None = None
    time_unit: str | None = None
    skip_missing: bool = False

    def __post_init__(self) -> None:
        """Raise OptionError where options are missing or do not go together."""
        given = self.by_role
        if not given:
            for option, value in (("separator", self.separator), ("time-unit", self.time_unit)):
                if value is not None:
                    raise OptionError(f"{option} is {value!r}, but needs the columns: give --user and --item, too")
            if self.skip_missing:
                raise OptionError("skip-missing needs the columns: give --user and --item, too")
            return
        for option in ("user", "item"):
            if option not in given:
                raise OptionError(f"{option} is not given, but must be, beside the other columns: --user and --item")
        by_column: dict[str, str] = {}
        for role, column in given.items():
            option = option_of(role).lstrip("-")
            other = by_column.setdefault(column, option)
            if other != option:
                raise OptionError(f"{option} is {column!r}, but that is --{other} already; give different columns")
        if self.has_numbers and not all(map(_is_number, given.values())):
            named = next(column for column in given.values() if not _is_number(column))
            raise OptionError(
                f"columns are given by number, and as {named!r}; give names for a file with a header, and numbers from "
                "1 for one without"
            )
        if self.time_unit is not None and (self.time is None or self.time_unit not in TIME_UNITS):
            raise OptionError(
                f"time-unit is {self.time_unit!r}, but must be one of {', '.join(TIME_UNITS)}, with --time"
            )
        separator = self.separating
        if separator is not None and (not separator or set(separator) & set('"\r\n')):
            raise OptionError(
                f"separator is {separator!r}, but must be text without quotation marks, such as ';' or tab"
            )

    @property
    def by_role(self) -> dict[str, str]:
        """The columns that are given, by what they are, in the order in which they are written."""
        columns = zip(ROLES, (self.user, self.item, self.rating, self.time))
        return {role: column for role, column in columns if column is not None}

    @property
    def has_numbers(self) -> bool:
        """Whether users, and so all columns, are given by number."""
        return self.user is not None and _is_number(self.user)

    @property
    def separating(self) -> str | None:
        """The separator itself, where it is given by a name."""
        return None if self.separator is None else _NAMES_OF_SEPARATORS.get(self.separator, self.separator)


def _is_number(column: str) -> bool:
    return re.fullmatch("[1-9][0-9]{0,5}", column) is not None


class NamedColumns(TextFormat):
    """Files with any columns, of which options say what they are."""

    def __init__(self, options: ColumnOptions) -> None:
        self._options = options
        self._columns = options.by_role
        self.fields = tuple(self._columns)
        self.name = f"columns {', '.join(self._columns.values())}"
        self._users, self._items, self._ratings = Ids(), Ids(), Ratings()
        self._times = Times(options.time_unit)
        made: dict[str, Values] = {
            "user": self._users,
            "item": self._items,
            "rating": self._ratings,
            "timestamp": self._times,
        }
        self._made = [made[role] for role in self.fields]
        self._skipped = 0
        self._first: tuple[str, ...] | None = None

    def read(self, path: str, progress: Any) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a file, as tuples of text; see `TextFormat.read`."""
        if is_parquet(path):
            return self._rows(read_columns(path, self._columns, progress), path, "row")
        return super().read(path, progress)

    def interactions(self, text: RawText) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a RawText; see `TextFormat.interactions`."""
        return self._rows(self._columns_of_lines(text), text.name, "line")

    def _rows(self, some_columns: Iterator[_SomeColumns], name: str, place: str) -> Iterator[tuple[str, ...]]:
        """Make interactions of the values of columns, which come in pieces."""
        for columns, number_of in some_columns:
            rows: Iterator[tuple[str, ...]]
            try:
                made = [values.column(texts) for values, texts in zip(self._made, columns)]
                rows = zip(*made)
            except ValueError:
                rows = self._rows_one_by_one(columns, number_of, name, place)
            if self._first is None:
                self._first = next(rows, None)
                rows = itertools.chain(filter(None, [self._first]), rows)
            yield from rows

    def _rows_one_by_one(
        self, columns: Sequence[Sequence[str]], number_of: Callable[[int], int], name: str, place: str
    ) -> Iterator[tuple[str, ...]]:
        """The same where a value is wrong: leave its row out, or raise DatasetError."""
        for at, row in enumerate(zip(*columns)):
            interaction: list[str] = []
            for column, values, text in zip(self._columns.values(), self._made, row):
                try:
                    interaction += values.column([text])
                except ValueError as error:
                    is_missing = isinstance(error, MissingValueError)
                    if is_missing and self._options.skip_missing:
                        self._skipped += 1
                        break
                    what = f"column {column}" if self._options.has_numbers else column
                    hint = "; give --skip-missing to leave such lines out" if is_missing else ""
                    raise DatasetError(f"{name}, {place} {number_of(at)}: {what} is {error}{hint}") from None
            else:
                yield tuple(interaction)

    def _columns_of_lines(self, text: RawText) -> Iterator[_SomeColumns]:
        lines = iter(text)
        first = next(filter(str.strip, lines), None)
        if first is None:
            raise DatasetError(f"{text.name} is empty")
        number = text.number
        if self._options.has_numbers:
            second = next(lines, None)
            separator, n_fields = self._separator(text, first, second)
            places = [int(column) - 1 for column in self._columns.values()]
            self._require_no_header(text, separator, first, second)
            lines = itertools.chain(filter(None, [first, second]), lines)
        else:
            separator, header = self._header(text, first)
            places = [self._place(text, name, header) for name in self._columns.values()]
            n_fields = len(header)
            number += 1
        for records, number_of in _records(text, lines, separator, number):
            if set(map(len, records)) != {n_fields}:
                records, number_of = _without_blank_ones(text.name, records, number_of, separator, n_fields)
            yield [list(map(itemgetter(place), records)) for place in places], number_of
        # Of a number at the end of the last line, nothing but the line's end tells that it is whole.
        if self._times.kind == "numbers" and places[-1] == n_fields - 1 and not text.line.endswith("\n"):
            raise text.error(
                f"the last line {shown(text.line)} has no line end, so the file is truncated; get it again, or end "
                "the line if you know it to be whole"
            )

    def _header(self, text: RawText, line: str) -> tuple[str, list[str]]:
        """The separator, and the names of the columns."""
        given = self._options.separating
        wanted = set(self._columns.values())
        found: dict[str, list[str]] = {}
        for separator in _SEPARATORS if given is None else (given,):
            names = [name.strip() for name in _fields(line, separator)]
            if wanted <= set(names):
                return separator, names
            found[separator] = names
        # What most names are found with is what the user will take for the separator.
        names = max(found.values(), key=lambda names: (len(wanted & set(names)), len(names)))
        missing = next(column for column in self._columns.values() if column not in names)
        role = next(role for role, column in self._columns.items() if column == missing)
        near = difflib.get_close_matches(missing, names, 1)
        hint = f"do you mean {near[0]}? " if near else ""
        raise text.error(
            f"there is no column {missing!r} ({option_of(role)}): {hint}The columns are {shown(', '.join(names))}; "
            "give numbers from 1 for a file without a header, and --separator for what separates columns otherwise"
        )

    def _place(self, text: RawText, name: str, header: list[str]) -> int:
        if header.count(name) > 1:
            raise text.error(f"the column {name!r} occurs {header.count(name)} times, but must occur once; rename it")
        return header.index(name)

    def _separator(self, text: RawText, first: str, second: str | None) -> tuple[str, int]:
        """The separator of lines without a header, and the number of their fields."""
        given, needed = self._options.separating, max(map(int, self._columns.values()))
        if given is not None:
            n_fields = len(_fields(first, given))
            if n_fields < needed:
                raise text.error(
                    f"{shown(first)} has {n_fields} columns, separated by {given!r}, but must have {needed}"
                )
            return given, n_fields
        sizes = {separator: len(_fields(first, separator)) for separator in _SEPARATORS}
        possible = [(separator, size) for separator, size in sizes.items() if size >= needed]
        if second and second.strip():
            # Where no separator makes the same of both, the second line is wrong, and will be named.
            same = [(separator, size) for separator, size in possible if len(_fields(second, separator)) == size]
            possible = same or possible
        if len(possible) > 1 and possible[-1][0] == " ":
            possible.pop()
        if len(possible) != 1:
            many = (
                f"several of {', '.join(repr(separator) for separator, _ in possible)}" if possible else "nothing known"
            )
            raise text.error(
                f"{many} makes at least {needed} columns of {shown(first)}; give --separator, such as --separator ';'"
            )
        return possible[0]

    def _require_no_header(self, text: RawText, separator: str, first: str, second: str | None) -> None:
        """Refuse a first line that has no digit where the second has some: it is no interaction, but a header."""
        if second is None:
            return
        places = [int(column) - 1 for column in self._columns.values()]
        names, values = (
            [fields[place] for place in places if place < len(fields)]
            for fields in (_fields(first, separator), _fields(second, separator))
        )
        if not any(map(_has_digit, names)) and all(map(_has_digit, values)):
            options = " ".join(f"{option_of(role)} {name.strip()!r}" for role, name in zip(self._columns, names))
            raise DatasetError(
                f"{text.name}, line 1: {shown(first)} is a header, as it seems, and numbers are for files without one; "
                f"name the columns: {options}"
            )

    def notes(self) -> list[str]:
        """What is to be said of the files that were read, in sentences."""
        said = []
        if self._first is not None:
            pairs = zip(self.fields, self._first)
            said.append(f"First interaction: {', '.join(f'{field} {value}' for field, value in pairs)}.")
        if self._times.kind:
            said.append(f"Times were read as {self._times.description}.")
        for role, ids in (("user", self._users), ("item", self._items)):
            if ids.shortened:
                said.append(f"Ids of {role}s such as {ids.shortened} are written as {ids[ids.shortened]}.")
        if self._skipped:
            said.append(f"{self._skipped:,} lines without a value were left out.")
        return said


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _fields(line: str, separator: str) -> list[str]:
    """The fields of a first line, as far as it can be read; one field where it cannot."""
    try:
        return next(_split([line], separator), [])
    except csv.Error:
        return [line]


def _split(lines: Any, separator: str) -> Iterator[list[str]]:
    """Split lines into fields; only a separator of one character goes with quotation marks."""
    if separator == " ":
        return map(str.split, lines)
    if len(separator) > 1:
        return (line.rstrip("\n").split(separator) for line in lines)
    csv.field_size_limit(LONGEST_LINE)
    return csv.reader(lines, delimiter=separator, strict=True)


def _records(
    text: RawText, lines: Iterator[str], separator: str, number: int
) -> Iterator[tuple[list[list[str]], Callable[[int], int]]]:
    """Give some records at a time, and what tells the line that each of them begins in.

    Parameters
    ----------
    number : int
        The line that the first record begins in.
    """
    split = _split(lines, separator)
    while True:
        records: list[list[str]] = []
        number_of = functools.partial(_line_of, records, number)
        try:
            records.extend(itertools.islice(split, _RECORDS_AT_ONCE))
        except csv.Error as error:
            raise DatasetError(
                f"{text.name}, line {number_of(len(records))}: quotation marks do not go with {separator!r} as the "
                f"separator ({error}); a field that begins with one must end with one, and those in it must be doubled"
            ) from None
        if not records:
            return
        yield records, number_of
        number = text.number + 1


def _line_of(records: list[list[str]], number: int, at: int) -> int:
    """The line that a record begins in; quoted fields may hold line ends."""
    return number + at + sum(field.count("\n") for record in records[:at] for field in record)


def _without_blank_ones(
    name: str, records: list[list[str]], number_of: Callable[[int], int], separator: str, n_fields: int
) -> tuple[list[list[str]], Callable[[int], int]]:
    """Leave out records of blank lines; raise DatasetError for others that have not as many fields as they must."""
    places = [at for at, record in enumerate(records) if len(record) == n_fields or any(map(str.strip, record))]
    for at in places:
        if len(records[at]) != n_fields:
            raise DatasetError(
                f"{name}, line {number_of(at)}: has {len(records[at])} fields, but must have {n_fields}, separated by "
                f"{separator!r}, as the first line has: {shown(separator.join(records[at]))}"
            )
    return [records[at] for at in places], lambda at: number_of(places[at])
