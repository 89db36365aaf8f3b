"""A run says what it does: what it reads and splits, and that a model is made."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from recbole_sparse_elsa import output
from recbole_sparse_elsa.plugin.patching import replaces, source_of


def _says_nothing(original: Callable[..., Any]) -> bool:
    return "output.progress" not in source_of(original)


@replaces(
    "recbole.data.utils.create_dataset",
    parameters="config",
    kind="feature",
    until="RecBole says that it reads",
    probe=_says_nothing,
)
def say_that_data_are_read(original: Callable[..., Any]) -> Callable[..., Any]:
    """Say on a terminal that a data set is read and filtered, with a clock, where show_progress is on.

    RecBole is silent until it is done.
    """

    def create_dataset(config):
        with output.progress(f"Reading and filtering {config['dataset']}", shown=bool(config["show_progress"])):
            return original(config)

    return create_dataset


@replaces(
    "recbole.data.utils.data_preparation",
    parameters="config dataset",
    kind="feature",
    until="RecBole says that it splits",
    probe=_says_nothing,
)
def say_that_data_are_split(original: Callable[..., Any]) -> Callable[..., Any]:
    """Say on a terminal that a data set is split, with a clock, where show_progress is on; and one batch size.

    RecBole is silent until it is done. It then logs its own eval_batch_size, though more users are evaluated at a time.
    """

    def data_preparation(config, dataset):
        with (
            output.progress(f"Splitting {config['dataset']}", shown=bool(config["show_progress"])),
            _one_batch_size(config["eval_batch_size"]),
        ):
            return original(config, dataset)

    return data_preparation


@contextlib.contextmanager
def _one_batch_size(recbole_s: int) -> Iterator[None]:
    """Log once how many users are evaluated at a time, and no other batch size than that."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = str(record.msg)
        if message.startswith("Evaluating "):
            is_repeated = message in said
            said.add(message)
            return not is_repeated
        if said and "eval_batch_size" in message:
            record.msg = message.replace(f"[{recbole_s}]", "[not set]", 1)
        return True

    logger = logging.getLogger()
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


@replaces(
    "recbole.quick_start.quick_start.run_recbole",
    parameters="model dataset config_file_list config_dict saved queue",
    kind="feature",
    until="RecBole says that it makes a model",
    probe=_says_nothing,
)
def say_that_a_model_is_made(original: Callable[..., Any]) -> Callable[..., Any]:
    """Say on a terminal that a model is made, with a clock, where show_progress is on.

    Some models, such as EASE, are trained when they are made, for which RecBole has no bar.
    """
    from recbole.quick_start import quick_start

    def run_recbole(
        model=None, dataset=None, config_file_list=None, config_dict=None, saved=True, queue=None
    ):
        get_model = quick_start.get_model

        def get_making(name):
            model_class = get_model(name)

            def make(config, dataset):
                with output.progress(f"Making {name}", shown=bool(config["show_progress"])):
                    return model_class(config, dataset)

            return make

        with mock.patch.object(quick_start, "get_model", get_making):
            return original(model, dataset, config_file_list, config_dict, saved, queue)

    return run_recbole
