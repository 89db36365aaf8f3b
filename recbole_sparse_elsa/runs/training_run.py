"""One training with RecBole's own pieces, put together as ``run_recbole`` does, for programs that are not RecBole's."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_trainer, init_seed


@dataclass(frozen=True)
class Data:
    """RecBole's data loaders of the training, the validation and the test data."""

    train_data: Any
    valid_data: Any
    test_data: Any


@contextlib.contextmanager
def away_from_the_command_line(folder: str | None = None) -> Iterator[None]:
    """Let RecBole see no command line, whose options it would take for its own, and write its logs to a folder.

    Parameters
    ----------
    folder : str, optional
        The working folder meanwhile; by default one that is thrown away.
    """
    arguments, before = sys.argv, os.getcwd()
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        sys.argv = arguments[:1]
        os.chdir(folder)
        try:
            yield
        finally:
            sys.argv = arguments
            os.chdir(before)


def load_data(config: Config) -> Data:
    """The data loaders that a Config asks for."""
    return split_data(config, filter_data(config))


def filter_data(config: Config) -> Any:
    """The data set (recbole.data.dataset.Dataset) that a Config asks for, filtered and not yet split."""
    init_seed(config["seed"], config["reproducibility"])
    return create_dataset(config)


def split_data(config: Config, dataset: Any) -> Data:
    """The data loaders that a Config asks for, of a data set (recbole.data.dataset.Dataset) that was created for it."""
    train_data, valid_data, test_data = data_preparation(config, dataset)
    return Data(train_data, valid_data, test_data)


def create_model(config: Config, train_data: Any) -> Any:
    """The model that a Config names, on its device and not yet trained."""
    init_seed(config["seed"], config["reproducibility"])
    return config.model_class(config, train_data._dataset).to(config["device"])


def create_trainer(config: Config, train_data: Any) -> Any:
    """RecBole's trainer of the model that a Config names, with the model, not yet trained, as its ``model``."""
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, create_model(config, train_data))
