"""What segments, homepage and explore read: an index file, or a checkpoint with the data set it was trained on."""

from __future__ import annotations

import argparse
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import numpy as np

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the index file or checkpoint, and ``--data_path``, to a parser."""
    parser.add_argument("source", metavar="INDEX", help="index file, or checkpoint (.pth) of SparseELSA")
    parser.add_argument(
        "--data_path", metavar="DIR", help="folder that holds the data set's (default: where it was in training)"
    )


class Source(Protocol):
    """What an index file and a saved run (`recbole_sparse_elsa.runs.SavedRun`) have in common."""

    @property
    def index(self) -> SparseIndex:
        """The index, of a saved run with values in float32."""

    @property
    def item_file(self) -> str | None:
        """The .item file of the data set, if there is one."""

    @property
    def item_id_field(self) -> str:
        """The name of the data set's field of item tokens."""

    @property
    def dataset(self) -> str:
        """The name of the data set."""

    @property
    def figures(self) -> Mapping[str, float]:
        """What is known of the model's accuracy, by names."""

    @property
    def histories(self) -> Mapping[str, Sequence[str] | np.ndarray]:
        """The items of each user, by tokens."""

    def history_of(self, user: str) -> list[str]:
        """The items of a user, by tokens."""


@dataclass(frozen=True)
class IndexFile:
    """An index file as a source, which knows no users and no item file."""

    path: str
    index: SparseIndex
    item_file: None = None
    item_id_field: str = "item_id"
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def dataset(self) -> NoReturn:
        """Raise OptionError: an index file knows no data set."""
        raise OptionError(f"index file {self.path} knows no data set: give the checkpoint that it was made from")

    @property
    def histories(self) -> NoReturn:
        """Raise OptionError: an index file knows no users."""
        raise OptionError(f"index file {self.path} knows no users: give the checkpoint that it was made from")

    def history_of(self, user: str) -> NoReturn:
        """Raise OptionError: an index file knows no users."""
        raise OptionError(f"user is {user}, but index file {self.path} knows no users: give items or a checkpoint")


def open_source(path: str, data_path: str | None = None) -> Source:
    """An index file or a checkpoint, recognised by its content; torch and RecBole are loaded for a checkpoint only.

    Parameters
    ----------
    path : str
        The file. A checkpoint is a pickle, and must be one you trust.
    data_path : str, optional
        Folder that holds the folder of a checkpoint's data set; by default where it was in training.

    Raises
    ------
    IndexFileError, CheckpointError, DatasetError
        The file, or the checkpoint's data set, cannot be read.
    """
    # Torch writes checkpoints as zip archives, which no index file is.
    if not path.endswith(".pth") and not (os.path.isfile(path) and zipfile.is_zipfile(path)):
        return IndexFile(path, SparseIndex.load(path))
    from recbole_sparse_elsa.runs import SavedRun

    return SavedRun(path, data_path)
