"""The file of a cell that has the test metrics of every single user: ``per_user.parquet``."""

from __future__ import annotations

from typing import BinaryIO

import pandas

# Says of a file that its users are called by their own tokens. Version 0.1.0 called user u in fold 3 of held-out users
# u#3; a user of a file with this mark may be called that all the same.
_MARK = {"user": "token"}


def write_user_metrics(per_user: pandas.DataFrame, file: BinaryIO) -> None:
    """Write what `evaluate_per_user` found as Parquet, with a mark that the users are called by their own tokens."""
    marked = per_user.copy(deep=False)
    marked.attrs = _MARK
    marked.to_parquet(file, index=False)


def read_user_metrics(file: str) -> pandas.DataFrame:
    """Read a file of `write_user_metrics`, or of version 0.1.0.

    Returns
    -------
    pandas.DataFrame
        As `evaluate_per_user` gives it.

    Raises
    ------
    ImportError
        pyarrow is not installed.
    OSError, ValueError
        The file does not exist, or cannot be read.
    """
    per_user = pandas.read_parquet(file)
    if per_user.attrs != _MARK and "fold" in per_user:
        per_user["user"] = per_user["user"].str.replace(r"#\d+$", "", regex=True)
    return per_user
