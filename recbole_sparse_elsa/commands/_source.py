"""What the commands read: an index file, or a saved model with the data set it was trained on."""

from __future__ import annotations

import argparse
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import numpy as np

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.training.checkpoint.model_file import is_model_file


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the index file or saved model, and ``--data-path``, to a parser."""
    parser.add_argument(
        "source",
        metavar="INDEX",
        help="index file, or saved model: saved/….safetensors, or the .pth beside it, which must be one you trust",
    )
    parser.add_argument(
        "--data-path", metavar="DIR", help="folder that holds the data set's (default: where it was in training)"
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
        raise OptionError(f"index file {self.path} knows no data set: give the model that it was made from")

    @property
    def histories(self) -> NoReturn:
        """Raise OptionError: an index file knows no users."""
        raise OptionError(f"index file {self.path} knows no users: give the model that it was made from")

    def history_of(self, user: str) -> NoReturn:
        """Raise OptionError: an index file knows no users."""
        raise OptionError(f"user is {user}, but index file {self.path} knows no users: give items or a saved model")


def open_source(path: str, data_path: str | None = None) -> Source:
    """An index file or a saved model, recognised by its content; torch and RecBole are loaded for a model only.

    Parameters
    ----------
    path : str
        The file. A checkpoint (.pth) is a pickle, and must be one you trust.
    data_path : str, optional
        Folder that holds the folder of a model's data set; by default where it was in training.

    Raises
    ------
    IndexFileError, CheckpointError, DatasetError
        The file, or the model's data set, cannot be read.
    """
    # Torch writes checkpoints as zip archives, which no index file is.
    is_saved_model = path.endswith(".pth") or is_model_file(path) or (os.path.isfile(path) and zipfile.is_zipfile(path))
    if not is_saved_model:
        return IndexFile(path, SparseIndex.load(path))
    with output.loading():
        from recbole_sparse_elsa.runs import SavedRun

    return SavedRun(path, data_path)
