"""What a benchmark that trains on a data set of RecBole's is told about it: which one, and which interactions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import find_config_file, require_number


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The parameters of a benchmark that say on which interactions it trains.

    Parameters
    ----------
    dataset : str
        Name of the data set.
    data_path : str
        Folder that holds the data set's.
    rating_at_least : float, optional
        Only interactions with such a rating; by default all.
    config_files : sequence of str
        YAML files with any other options of RecBole.
    """

    dataset: str = "ml-1m"
    data_path: str = "dataset"
    rating_at_least: float | None = None
    config_files: Sequence[str] = ()

    def check_data_options(self) -> None:
        """Raise OptionError unless they are allowed, and the files are there."""
        if self.rating_at_least is not None:
            require_number("rating-at-least", self.rating_at_least)
        for file, found in zip(self.config_files, self.config_files_found()):
            if not os.path.isfile(found):
                raise OptionError(f"config_files: {file} was not found")

    def config_files_found(self) -> list[str]:
        """The files of options, see `recbole_sparse_elsa.options.find_config_file`; paths are absolute."""
        return [os.path.abspath(find_config_file(file)) for file in self.config_files]

    def recbole_options(self) -> dict[str, Any]:
        """RecBole's options for the data; those of the files are not among them. Paths are absolute."""
        chosen: dict[str, Any] = {"data_path": os.path.abspath(self.data_path)}
        if self.rating_at_least is not None:
            chosen["load_col"] = {"inter": ["user_id", "item_id", "rating"]}
            chosen["val_interval"] = {"rating": f"[{self.rating_at_least:g},inf)"}
        return chosen

    def in_words(self) -> dict[str, str]:
        """What an explanation says of them: ``filtered`` of the ratings, ``from_files`` of the other options."""
        ratings, files = self.rating_at_least, self.config_files
        return {
            "filtered": "" if ratings is None else f" (ratings of at least {ratings:g})",
            "from_files": f" or from {', '.join(files)}" if files else "",
        }
