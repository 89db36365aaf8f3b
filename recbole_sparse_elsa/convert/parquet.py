"""Columns of Parquet files as text; needs pyarrow, the extra ``parquet``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from recbole_sparse_elsa.convert.raw_formats import option_of, shown
from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.options import require_regular_file

if TYPE_CHECKING:
    import pyarrow

_MAGIC = b"PAR1"
_ROWS_AT_ONCE = 50_000


def is_parquet(path: str) -> bool:
    """Whether a file is Parquet, by its first bytes."""
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None


def require_no_parquet(path: str) -> None:
    """Raise DatasetError for a Parquet file, of which no column was named."""
    if is_parquet(path):
        pyarrow = _pyarrow(path)
        try:
            names = pyarrow.parquet.read_schema(path).names
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(path, 0, error) from None
        raise DatasetError(f"{path} is Parquet; name its columns by --user and --item: {shown(', '.join(names))}")


def _pyarrow(path: str) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise OptionError(
            f'source: {path} is Parquet, which needs pyarrow; run: pip install "recbole_sparse_elsa[parquet]"'
        ) from None
    return pyarrow


def _damaged(path: str, row: int, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path}, after row {row}: the Parquet file is damaged or cannot be read "
        f"({' '.join(str(error).split()):.200}); get it again"
    )


def read_columns(
    path: str, columns: Mapping[str, str], progress: Any
) -> Iterator[tuple[list[list[str]], Callable[[int], int]]]:
    """Give the values of columns of a Parquet file as text, some rows at a time.

    Parameters
    ----------
    path : str
    columns : mapping of str to str
        The name of the column of each role, such as user or timestamp.
    progress : tqdm.tqdm
        Is brought forward by the file's bytes.

    Yields
    ------
    tuple
        The values by column, "" where there are none, and what tells the row of each of them, counted from 1.

    Raises
    ------
    OptionError
        pyarrow is not installed.
    DatasetError
        A column is not there, or has a type that cannot be what it is to be; or the file is damaged.
    """
    pyarrow = _pyarrow(path)
    size, number, done = os.path.getsize(path), 0, 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _require_columns(path, columns, file.schema_arrow)
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(columns.values())):
                values = [
                    _texts(path, name, role, batch.column(batch.schema.get_field_index(name)))
                    for role, name in columns.items()
                ]
                yield values, (number + 1).__add__
                number += batch.num_rows
                reached = size * number // max(file.metadata.num_rows, 1)
                progress.update(reached - done)
                done = reached
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, number, error) from None
    progress.update(size - done)


def _require_columns(path: str, columns: Mapping[str, str], schema: pyarrow.Schema) -> None:
    import pyarrow

    for role, name in columns.items():
        if schema.names.count(name) != 1:
            number = schema.names.count(name)
            found = f"occurs {number} times" if number else "is not there"
            raise DatasetError(
                f"{path}: the column {name!r} ({option_of(role)}) {found}, but must be one of the file's columns: "
                f"{shown(', '.join(schema.names))}"
            )
        kind = schema.field(name).type
        kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
        if pyarrow.types.is_nested(kind) or pyarrow.types.is_boolean(kind):
            raise DatasetError(
                f"{path}: the column {name!r} ({option_of(role)}) has type {kind}, but must hold text or numbers"
            )


def _texts(path: str, name: str, role: str, column: pyarrow.Array) -> list[str]:
    """The values of a column as text, "" where there is none; times of Arrow as ISO dates."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_timestamp(column.type):
        if role != "timestamp":
            raise DatasetError(f"{path}: the column {name!r} ({option_of(role)}) has type {column.type}, a time")
        zone = "" if column.type.tz is None else "+00:00"
        return ["" if text is None else f"{text}{zone}" for text in _iso_texts(column)]
    try:
        return [_text(value) for value in column.to_pylist()]
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: the column {name!r} has bytes that are not UTF-8 text") from None


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)


def _iso_texts(column: pyarrow.Array) -> list[str | None]:
    """Timestamps, in UTC where they have a zone, as ISO dates with all of their digits."""
    import pyarrow

    # Arrow keeps UTC, whatever the zone; numpy writes what it keeps, with all digits of its unit.
    values = column.cast(pyarrow.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    missing = column.is_null().to_numpy(zero_copy_only=False)
    dates = values.astype(f"datetime64[{column.type.unit}]")
    return [None if is_missing else str(date) for date, is_missing in zip(dates, missing)]
