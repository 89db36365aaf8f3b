"""The forms in which publishers give interactions, each known by its first line."""

from __future__ import annotations

import calendar
import datetime
import functools
import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recbole_sparse_elsa.convert.raw_text import RawText, read_texts

_SHOWN_CHARACTERS = 80
#: What an interaction may have, in the order in which it is written.
ROLES = ("user", "item", "rating", "timestamp")


@dataclass(frozen=True)
class Column:
    """A column of a raw file."""

    name: str  # as the publisher calls it
    role: str  # user, item, rating or timestamp
    pattern: str  # regular expression
    meaning: str  # of the pattern, for messages

    def renamed(self, name: str) -> Column:
        """The same column, called otherwise by another publisher."""
        return Column(name, self.role, self.pattern, self.meaning)


# Text ids leave out what would be taken for a separator or a quotation mark.
_NUMBERED_USER, _NUMBERED_ITEM = (Column("", role, "[0-9]+", "a whole number") for role in ("user", "item"))
_NAMED_USER, _NAMED_ITEM = (
    Column("", role, r'[^\s",]+', "an id without spaces, commas and quotation marks") for role in ("user", "item")
)
_RATING = Column("rating", "rating", r"[0-4](?:\.[0-9]+)?|5(?:\.0+)?", "a number from 0 to 5")
_SECONDS = Column("timestamp", "timestamp", "[0-9]{1,10}", "a time in seconds since 1970")
_MILLISECONDS = Column("timestamp", "timestamp", "[0-9]{11,13}", "a time in milliseconds since 1970")
_DATE = Column("date", "timestamp", "[0-9]{4}-[0-9]{2}-[0-9]{2}", "a date such as 2005-09-06")


def _seconds_of_milliseconds(timestamp: str) -> str:
    return f"{timestamp[:-3]}.{timestamp[-3:]}"


@functools.cache
def _seconds_of_date(date: str) -> str:
    return str(calendar.timegm(datetime.date.fromisoformat(date).timetuple()))


class TextFormat:
    """A form of text that is read line by line."""

    def interactions(self, text: RawText) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a RawText as tuples of text, one for each of ``fields``."""
        raise NotImplementedError

    def read(self, path: str, progress: Any) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a file, as tuples of text.

        Parameters
        ----------
        path : str
        progress : tqdm.tqdm
            See `read_texts`.

        Raises
        ------
        DatasetError
            The file is damaged, or a line has not the form.
        """
        for text in read_texts(path, progress):
            yield from self.interactions(text)

    def notes(self) -> list[str]:
        """What is to be said of the files that were read, in sentences."""
        return []


@dataclass(frozen=True)
class DelimitedLines(TextFormat):
    """A line per interaction, in columns that a separator divides.

    Attributes
    ----------
    name : str
        What the publisher's file is called, for messages.
    columns : tuple of Column
        In the order of the file; a file with a header may have them in another.
    separator : str
    has_header : bool
    first_line : str
        Regular expression that tells the form from others; by default that of the columns. Not used with a header.
    to_seconds : callable, optional
        Makes seconds since 1970 of the text of a timestamp.
    """

    name: str
    columns: tuple[Column, ...]
    separator: str = ","
    has_header: bool = False
    first_line: str = ""
    to_seconds: Callable[[str], str] | None = None

    @property
    def description(self) -> str:
        """The form in a few words."""
        header = "header" if self.has_header else "lines"
        return f"{self.name} ({header} {self._names()})"

    def _names(self) -> str:
        return self.separator.join(column.name for column in self.columns)

    @property
    def fields(self) -> tuple[str, ...]:
        """What an interaction has, in the order in which it is given."""
        roles = [column.role for column in self.columns]
        # Netflix's items have lines of their own.
        return tuple(role for role in ROLES if role in roles or role == "item")

    def recognises(self, line: str) -> bool:
        """Whether a file that begins with this line has this form."""
        if self.has_header:
            names = sorted(column.name for column in self.columns)
            return sorted(line.rstrip("\n").split(self.separator)) == names
        return re.fullmatch(self.first_line or self._pattern(self.columns), line) is not None

    def _pattern(self, columns: Sequence[Column]) -> str:
        groups = (f"(?P<{column.role}>{column.pattern})" for column in columns)
        return re.escape(self.separator).join(groups) + "\n?"

    def interactions(self, text: RawText) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a RawText as tuples of text: user, item, rating and, if there is one, timestamp.

        Raises
        ------
        DatasetError
            A line has not the form.
        """
        lines, columns = iter(text), list(self.columns)
        if self.has_header:
            names = next(lines).rstrip("\n").split(self.separator)
            columns = sorted(columns, key=lambda column: names.index(column.name))
        match = re.compile(self._pattern(columns)).fullmatch
        roles = self.fields
        # Of a number at the end of the last line, nothing but the line's end tells that it is whole.
        must_end = columns[-1].role == "timestamp"
        for line in lines:
            found = match(line)
            if found is None:
                if line.isspace():
                    continue
                raise text.error(self._problem(line, columns))
            if must_end and line[-1] != "\n":
                raise text.error(
                    f"the last line {shown(line)} has no line end, so the file is truncated; get it again, or end the "
                    "line if you know it to be whole"
                )
            row = found.group(*roles)
            yield row if self.to_seconds is None else (*row[:3], self.to_seconds(row[3]))

    def _problem(self, line: str, columns: Sequence[Column]) -> str:
        values = line.rstrip("\n").split(self.separator)
        names = self.separator.join(column.name for column in columns)
        if len(values) != len(columns):
            return f"{shown(line)} has {len(values)} fields, but must have {len(columns)}: {names}"
        column, value = next(
            (column, value) for column, value in zip(columns, values) if not re.fullmatch(column.pattern, value)
        )
        return f"{column.name} is {shown(value)}, but must be {column.meaning}"


@dataclass(frozen=True)
class NetflixRatings(DelimitedLines):
    """A line ``movie:`` for each movie, and under it a line ``customer,rating,date`` for each of its ratings."""

    to_seconds: Callable[[str], str] = _seconds_of_date

    @property
    def description(self) -> str:
        """The form in a few words."""
        return f"{self.name} (movie: and under it lines {self._names()})"

    def recognises(self, line: str) -> bool:
        """Whether a file that begins with this line has this form."""
        return self._movie_of(line) is not None or super().recognises(line)

    @staticmethod
    def _movie_of(line: str) -> str | None:
        found = re.fullmatch("([0-9]+):\n?", line)
        return found.group(1) if found else None

    def interactions(self, text: RawText) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a RawText; see `DelimitedLines.interactions`."""
        match = re.compile(self._pattern(self.columns)).fullmatch
        movie = None
        for line in text:
            found = match(line)
            if found is None:
                if line.isspace():
                    continue
                movie = self._movie_of(line)
                if movie is None:
                    raise text.error(f"{self._problem(line, self.columns)} (or a movie such as 123:)")
                continue
            if movie is None:
                raise text.error(f"{shown(line)} is a rating before any movie; a line such as 123: must come first")
            user, rating, date = found.group("user", "rating", "timestamp")
            try:
                yield user, movie, rating, self.to_seconds(date)
            except ValueError:
                raise text.error(f"date is {date!r}, but must be {_DATE.meaning}") from None


@dataclass(frozen=True)
class JsonReviews(TextFormat):
    """A JSON object per review and line.

    Attributes
    ----------
    name : str
        What the publisher's file is called, for messages.
    columns : tuple of Column
        User, item, rating and timestamp, named by their keys.
    to_seconds : callable, optional
        Makes seconds since 1970 of the text of a timestamp.
    """

    name: str
    columns: tuple[Column, ...]
    to_seconds: Callable[[str], str] | None = None
    fields: tuple[str, ...] = field(default=ROLES, init=False)

    @property
    def description(self) -> str:
        """The form in a few words."""
        return f"{self.name} (a JSON object a line, with {', '.join(column.name for column in self.columns)})"

    def recognises(self, line: str) -> bool:
        """Whether a file that begins with this line has this form."""
        try:
            review = json.loads(line)
        except (ValueError, RecursionError):
            return False
        return isinstance(review, dict) and all(column.name in review for column in self.columns)

    def interactions(self, text: RawText) -> Iterator[tuple[str, ...]]:
        """Give the interactions of a RawText; see `DelimitedLines.interactions`."""
        names = [column.name for column in self.columns]
        values_of = operator.itemgetter(*names)
        match = re.compile("\n".join(f"(?:{column.pattern})" for column in self.columns)).fullmatch
        for line in text:
            if line.isspace():
                continue
            try:
                review = json.loads(line)
            except (ValueError, RecursionError):
                raise text.error(f"not a whole JSON object: {shown(line)}") from None
            try:
                user, item, rating, timestamp = values_of(review)
            except (KeyError, TypeError):
                raise text.error(f"must be a JSON object with {', '.join(names)}, but is {shown(line)}") from None
            # json.dumps would be exact, and slow; that ids are text is all that str would hide.
            row = (user, item, str(rating), str(timestamp))
            if not (isinstance(user, str) and isinstance(item, str) and match("\n".join(row))):
                raise text.error(self._problem(review))
            if not (user.isascii() and item.isascii()):
                try:
                    f"{user}{item}".encode()
                except UnicodeEncodeError:
                    raise text.error(f"an id is no text that UTF-8 can hold: {shown(line)}") from None
            yield row if self.to_seconds is None else (*row[:3], self.to_seconds(row[3]))

    def _problem(self, review: Mapping[str, Any]) -> str:
        def is_wrong(column: Column) -> bool:
            value = review[column.name]
            is_text = isinstance(value, str) or column.role in ("rating", "timestamp")
            return not (is_text and re.fullmatch(column.pattern, str(value)))

        column = next(filter(is_wrong, self.columns))
        return f"{column.name} is {shown(str(review[column.name]))}, but must be {column.meaning}"


def option_of(role: str) -> str:
    """The command-line option that names the column of a role."""
    return "--time" if role == "timestamp" else f"--{role}"


def shown(text: str) -> str:
    """A line in quotation marks, cut if it is long."""
    text = text.rstrip("\n")
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")


# Product ids of Amazon have ten characters; only they tell the two orders of Amazon's ratings files from each other,
# and these from files of other publishers without a header.
_ASIN, _NOT_ASIN = "[0-9A-Z]{10}", r'(?![0-9A-Z]{10},)[^\s",]+'
_RATING_AND_SECONDS = f"(?:{_RATING.pattern}),{_SECONDS.pattern}\n?"

MOVIELENS_CSV = DelimitedLines(
    "MovieLens ratings.csv",
    (_NUMBERED_USER.renamed("userId"), _NUMBERED_ITEM.renamed("movieId"), _RATING, _SECONDS),
    has_header=True,
)
MOVIELENS_DAT = DelimitedLines(
    "MovieLens ratings.dat",
    (
        _NUMBERED_USER.renamed("UserID"),
        _NUMBERED_ITEM.renamed("MovieID"),
        _RATING.renamed("Rating"),
        _SECONDS.renamed("Timestamp"),
    ),
    separator="::",
)
GOODBOOKS = DelimitedLines(
    "Goodbooks-10k ratings.csv",
    (_NUMBERED_USER.renamed("user_id"), _NUMBERED_ITEM.renamed("book_id"), _RATING),
    has_header=True,
)
NETFLIX = NetflixRatings(
    "Netflix Prize mv_*.txt or combined_data_*.txt",
    (_NUMBERED_USER.renamed("customer"), _RATING, _DATE),
)

#: The forms of publishers, in the order in which a first line is compared with them.
RAW_FORMATS: tuple[DelimitedLines | JsonReviews, ...] = (
    MOVIELENS_CSV,
    MOVIELENS_DAT,
    GOODBOOKS,
    NETFLIX,
    DelimitedLines(
        "Amazon 2018 ratings .csv",
        (_NAMED_ITEM.renamed("item"), _NAMED_USER.renamed("user"), _RATING, _SECONDS),
        first_line=f"{_ASIN},{_NOT_ASIN},{_RATING_AND_SECONDS}",
    ),
    DelimitedLines(
        "Amazon 2014 ratings .csv",
        (_NAMED_USER.renamed("user"), _NAMED_ITEM.renamed("item"), _RATING, _SECONDS),
        first_line=f"{_NOT_ASIN},{_ASIN},{_RATING_AND_SECONDS}",
    ),
    JsonReviews(
        "Amazon 2014 and 2018 reviews .json",
        (
            _NAMED_USER.renamed("reviewerID"),
            _NAMED_ITEM.renamed("asin"),
            _RATING.renamed("overall"),
            _SECONDS.renamed("unixReviewTime"),
        ),
    ),
    DelimitedLines(
        "Amazon 2023 ratings .csv",
        (_NAMED_USER.renamed("user_id"), _NAMED_ITEM.renamed("parent_asin"), _RATING, _MILLISECONDS),
        has_header=True,
        to_seconds=_seconds_of_milliseconds,
    ),
    JsonReviews(
        "Amazon 2023 reviews .jsonl",
        (_NAMED_USER.renamed("user_id"), _NAMED_ITEM.renamed("parent_asin"), _RATING, _MILLISECONDS),
        to_seconds=_seconds_of_milliseconds,
    ),
)
