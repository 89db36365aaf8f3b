"""Reads RecBole's atomic files (NAME.inter, NAME.item, NAME.user …) by one set of rules.

The rules:

- Text in the configured encoding, UTF-8 unless told otherwise, with or without a byte order mark. Lines end in a line
  feed, or in a carriage return and a line feed. Lines without any character are passed over.
- The first line is the header: ``field:type`` for each column, separated by tabs (option ``field_separator``). The
  types are token, token_seq, float and float_seq. No field occurs twice.
- Every other line has exactly as many fields as the header. Nothing else separates, quotes, escapes or comments.
- A token is any text; NA, null, None and nan are tokens like others. An empty field is a missing value.
- A float is a finite decimal number, such as 4, -0.5 or 1.6e9, without blanks around it.
- The values of a sequence are separated by blanks (option ``seq_separator``); several blanks count as one.

What breaks a rule is refused with the file, the line and what was expected.
"""

import contextlib
import csv
import io
import os
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from recbole_sparse_elsa.errors import DatasetError
from recbole_sparse_elsa.options import require_regular_file

TYPES = ("token", "token_seq", "float", "float_seq")
#: A decimal number, as the rules have it; that it is finite is checked apart.
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_TAKEN_FOR_NUMBERS = re.compile(rb" |true|false", re.IGNORECASE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class AtomicFile:
    """The contents of an atomic file.

    Attributes
    ----------
    types : dict of str to str
        The type of each field that was read, in the order of the file.
    columns : dict of str to numpy.ndarray
        The values of each of these fields, shape ``(n_rows,)``. Tokens and sequences are str objects, "" where missing;
        floats are float64, NaN where missing, or int64 if asked for.
    lines : numpy.ndarray
        int64, same shape: the line of each row in the file, counted from 1.
    """

    types: dict[str, str]
    columns: dict[str, np.ndarray]
    lines: np.ndarray


def read_header(path: str | os.PathLike, separator: str = "\t", encoding: str | None = "utf-8") -> dict[str, str]:
    """The type of each field of an atomic file, in the order of its columns.

    Raises
    ------
    DatasetError
        The file cannot be read, or its first line is not a header.
    """
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            line = file.readline()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    return _header(path, line, separator, encoding or "utf-8")


def read_atomic_file(
    path: str | os.PathLike,
    fields: Collection[str] | None = None,
    separator: str = "\t",
    sequence_separator: str = " ",
    encoding: str | None = "utf-8",
    exact: Collection[str] = (),
) -> AtomicFile:
    """Read an atomic file by the rules of this module.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    fields : collection of str, optional
        The fields to read; by default all. Those that the file does not have are passed over.
    separator : str
        What separates fields: one character.
    sequence_separator : str
        What separates the values of a sequence: one character.
    encoding : str, optional
        The encoding of the text; None stands for UTF-8.
    exact : collection of str
        Float fields that become int64 if all of their values are written as whole numbers and float64 may not tell
        some of them apart, as of 2**53; such are nanoseconds.

    Returns
    -------
    AtomicFile

    Raises
    ------
    DatasetError
        The file cannot be read or breaks a rule; the message names file, line, what is there and what was expected.
    """
    encoding = encoding or "utf-8"
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    _require_one_byte("field_separator", separator)
    end_of_header = data.find(b"\n") + 1 or len(data)
    types = _header(path, data[:end_of_header], separator, encoding)
    wanted = [name for name in types if fields is None or name in fields]
    lines = _check_lines(path, data, end_of_header, len(types), separator, encoding)
    if len(lines) == 0 or not wanted:
        columns = {name: np.empty(0, dtype=float if types[name] == "float" else object) for name in wanted}
        return AtomicFile({name: types[name] for name in wanted}, columns, lines[:0] if not wanted else lines)
    body = data[end_of_header:]
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").removesuffix(b"\r")
    columns = _columns(path, body, types, wanted, separator, encoding, lines)
    for name in wanted:
        if name in exact and types[name] == "float" and (np.abs(columns[name]) >= 2.0**53).any():
            texts = _parsed(path, body, types, [name], separator, encoding, ())[name]
            with contextlib.suppress(ValueError, OverflowError):
                columns[name] = np.array([int(text) for text in texts], dtype=np.int64)
        if types[name] == "float_seq":
            _check_sequences(path, name, columns[name], lines, sequence_separator)
    return AtomicFile({name: types[name] for name in wanted}, columns, lines)


def _require_one_byte(option: str, separator: str) -> None:
    if not isinstance(separator, str) or len(separator) != 1 or not separator.isascii() or separator in "\r\n":
        raise DatasetError(f"{option} is {separator!r}, but must be one ASCII character that does not end a line")


def _header(path, line, separator, encoding):
    where = f"{path}, line 1"
    try:
        text = line.removeprefix(_BYTE_ORDER_MARK).decode(encoding).rstrip("\r\n")
    except (UnicodeDecodeError, LookupError):
        raise DatasetError(f"{where}: the header is not text in the encoding {encoding}") from None
    expected = f"a header of field:type, separated by {_shown(separator)}, such as user_id:token"
    types: dict[str, str] = {}
    for column in text.split(separator):
        name, colon, kind = column.partition(":")
        if not colon or not name or ":" in kind:
            raise DatasetError(f"{where}: found {_short(column)}, but expected {expected}")
        if kind not in TYPES:
            raise DatasetError(
                f"{where}: field {_short(name)} has the type {_short(kind)}, but expected one of {', '.join(TYPES)}"
            )
        if name in types:
            raise DatasetError(f"{where}: field {name} occurs twice, but expected every field once")
        types[name] = kind
    return types


def _check_lines(path, data, start, n_fields, separator, encoding):
    """The line of each row; raises DatasetError for the first line that has not as many fields as the header."""
    codes = np.frombuffer(data, dtype=np.uint8)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DatasetError(f"{path}, line {line}: found a zero byte, but expected text in the encoding {encoding}")
    ends = np.flatnonzero(codes[start:] == ord("\n")) + start
    if len(data) > start and not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.concatenate([[start], ends[:-1] + 1]) if len(ends) else np.empty(0, dtype=np.int64)
    if b"\r" in data:
        _check_carriage_returns(path, data, codes, start, ends)
        stops = ends - (codes[np.maximum(ends - 1, 0)] == ord("\r"))
    else:
        stops = ends
    separators = np.flatnonzero(codes[start:] == ord(separator)) + start
    n_separators = np.diff(np.searchsorted(separators, np.append(starts, len(data))))
    has_text = stops > starts
    wrong = np.flatnonzero(has_text & (n_separators != n_fields - 1))
    if len(wrong):
        place = wrong[0]
        line = data[starts[place] : stops[place]].decode(encoding, errors="replace")
        raise DatasetError(
            f"{path}, line {place + 2}: found {n_separators[place] + 1} fields ({_short(line)}), but expected "
            f"{n_fields}, separated by {_shown(separator)}, as in the header"
        )
    return np.flatnonzero(has_text) + 2


def _check_carriage_returns(path, data, codes, start, ends):
    returns = np.flatnonzero(codes[start:] == ord("\r")) + start
    followed = np.minimum(returns + 1, len(data) - 1)
    alone = returns[(codes[followed] != ord("\n")) & (returns + 1 < len(data))]
    if len(alone):
        line = int(np.searchsorted(ends, alone[0])) + 2
        raise DatasetError(
            f"{path}, line {line}: found a carriage return within the line, but expected lines that end in a line feed"
        )


def _columns(path, body, types, wanted, separator, encoding, lines):
    """The columns by name: texts, and numbers where the type is float."""
    numbers = [name for name in wanted if types[name] == "float"]
    # To pandas, a number with blanks around it and the words true and false are numbers, too: where they occur, in
    # whichever column, texts are looked at one by one.
    if numbers and not _TAKEN_FOR_NUMBERS.search(body):
        try:
            columns = _parsed(path, body, types, wanted, separator, encoding, numbers)
        except ValueError:
            columns = None
        if columns is not None and all(np.isfinite(columns[name]).all() for name in numbers):
            return columns
    columns = _parsed(path, body, types, wanted, separator, encoding, ())
    for name in numbers:
        columns[name] = _floats(path, name, columns[name], lines)
    return columns


def _parsed(path, body, types, wanted, separator, encoding, numbers):
    import pandas as pd

    names = list(types)
    places = [names.index(name) for name in wanted]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas >= 3 means to make this precision its only one
            table = pd.read_csv(
                # To pandas, a line of nothing but blanks is no line; in a file of one column it is a token.
                io.BytesIO(re.sub(rb"\n{2,}", b"\n", body).lstrip(b"\n") if len(names) == 1 else body),
                skip_blank_lines=len(names) > 1,
                sep=separator,
                header=None,
                names=range(len(names)),
                usecols=places,
                index_col=False,
                dtype={place: np.float64 if name in numbers else object for name, place in zip(wanted, places)},
                keep_default_na=False,
                na_filter=False,
                quoting=csv.QUOTE_NONE,
                encoding=encoding,
                lineterminator="\n",
                engine="c",
                float_precision="round_trip",  # the float64 that is nearest to the text
            )
    except UnicodeDecodeError as error:
        raise DatasetError(_undecodable(path, body, encoding, error)) from None
    return {name: table[place].to_numpy() for name, place in zip(wanted, places)}


def _undecodable(path, body, encoding, error):
    for number, line in enumerate(body.split(b"\n"), start=2):
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            return f"{path}, line {number}: found bytes that are not text in the encoding {encoding} (option encoding)"
    return f"{path} is not text in the encoding {encoding}: {error.reason}"


def _floats(path, name, texts, lines):
    missing = texts == ""
    try:
        # Python's own conversion gives the float64 that is nearest to the text.
        values = np.where(missing, "nan", texts).astype(np.float64)
        # Underscores, blanks, "inf" and "nan" are numbers to Python only.
        if np.isfinite(values[~missing]).all() and not any(map(_is_unusual, texts[~missing])):
            return values
    except ValueError:
        pass
    for text, line in zip(texts, lines):
        if text and not (NUMBER.fullmatch(text) and np.isfinite(float(text))):
            raise DatasetError(
                f"{path}, line {line}: {name} is {_short(text)}, but expected a finite number, such as 4 or 0.5, since "
                f"its type is float"
            )
    raise AssertionError("unreachable: every text is a number")


_UNUSUAL = re.compile(r"[^0-9.eE+-]")


def _is_unusual(text):
    return _UNUSUAL.search(text) is not None


def _check_sequences(path, name, texts, lines, separator):
    for text, line in zip(texts, lines):
        for value in filter(None, text.split(separator)):
            if not (NUMBER.fullmatch(value) and np.isfinite(float(value))):
                raise DatasetError(
                    f"{path}, line {line}: {name} has the value {_short(value)}, but expected finite numbers separated "
                    f"by {_shown(separator)}, since its type is float_seq"
                )


def _shown(separator):
    return {"\t": "tabs", " ": "blanks", ",": "commas", ";": "semicolons", "|": "vertical bars"}.get(
        separator, repr(separator)
    )


def _short(text):
    return repr(text if len(text) <= 60 else text[:57] + "...")
