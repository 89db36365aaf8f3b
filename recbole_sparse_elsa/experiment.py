"""One training with RecBole's own pieces, put together as ``run_recbole`` does, for programs that are not RecBole's."""

import contextlib
import os
import sys
import tempfile
from types import SimpleNamespace

from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed


@contextlib.contextmanager
def away_from_the_command_line(folder=None):
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


def load_data(config) -> SimpleNamespace:
    """The data loaders ``train_data``, ``valid_data`` and ``test_data`` that a recbole.config.Config asks for."""
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    return SimpleNamespace(train_data=train_data, valid_data=valid_data, test_data=test_data)


def create_trainer(config, train_data):
    """RecBole's trainer of the model that ``config`` names, with the model, not yet trained, as its ``model``."""
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train_data.dataset).to(config["device"])
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
