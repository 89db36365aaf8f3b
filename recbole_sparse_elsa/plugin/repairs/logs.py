"""A log file of its own for each run, and counts of users and items that are right."""

import contextlib
import functools
import logging
import re
import sys
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

from recbole_sparse_elsa.errors import reason_of
from recbole_sparse_elsa.plugin.patching import replaces

_log_handlers: list[logging.Handler] = []


def _leaves_out_the_log_file(init_logger: Callable[..., Any]) -> bool:
    from recbole.utils import logger

    class Config(dict):
        final_config_dict: dict[str, Any] = {}

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    file_handler = logging.NullHandler()
    root.addHandler(logging.NullHandler())
    try:
        with (
            mock.patch.multiple(logger, init=mock.DEFAULT, ensure_dir=mock.DEFAULT),
            mock.patch("logging.FileHandler", return_value=file_handler),
        ):
            init_logger(Config(model="", dataset="", state=None))
        return file_handler not in root.handlers
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@replaces(
    "recbole.utils.logger.init_logger",
    parameters="config",
    kind="repair",
    until="RecBole sets up each run's log, and wraps the output once",
    probe=_leaves_out_the_log_file,
)
def give_each_run_its_own_log(original: Callable[..., Any]) -> Callable[..., Any]:
    """Give each run its own log file, and its own tensorboard folder, which is named after it.

    RecBole sets up logging only while the root logger has no handler, so the second run of a process writes into the
    file of the first, and none is written where a program set up logging itself. It also wraps the standard output for
    colours once more with every run, until Python's recursion limit is reached. Where the disk is full, each line that
    is logged would be a traceback: here one line says so, and the run goes on without its log file.
    """
    from colorama.ansitowin32 import StreamWrapper

    def init_logger(config):
        root = logging.getLogger()
        for handler in _log_handlers:
            root.removeHandler(handler)
            handler.close()
        _log_handlers.clear()
        others = root.handlers[:]
        streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
        for handler in others:
            root.removeHandler(handler)
        try:
            original(config)
            _log_handlers.extend(root.handlers)
            for handler in root.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.handleError = functools.partial(_go_on_without, handler)
        finally:
            for handler in others:
                root.addHandler(handler)
            for name, stream in streams.items():
                if isinstance(stream, StreamWrapper):
                    setattr(sys, name, stream)

    return init_logger


def _go_on_without(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        logging.Handler.handleError(handler, record)
        return
    logging.getLogger().removeHandler(handler)
    if handler in _log_handlers:
        _log_handlers.remove(handler)
    with contextlib.suppress(OSError):
        handler.close()
    print(f"No log from here on: {handler.baseFilename} cannot be written: {reason_of(error)}", file=sys.stderr)


def _counts_the_padding(describe: Callable[..., Any]) -> bool:
    return "3" in describe(_three_ids()).split("The number of items")[1].splitlines()[0]


def _three_ids() -> Any:
    """A data set of two users and two items, as far as its description needs it."""
    return types.SimpleNamespace(
        dataset_name="data",
        uid_field="user_id",
        iid_field="item_id",
        user_num=3,
        item_num=3,
        inter_num=1,
        avg_actions_of_users=1,
        avg_actions_of_items=1,
        sparsity=1 - 1 / 9,
        field2type={},
    )


@replaces(
    "recbole.data.dataset.Dataset.__str__",
    parameters="self",
    kind="repair",
    until="RecBole leaves the padding out",
    probe=_counts_the_padding,
)
def log_users_and_items_without_the_padding(original: Callable[..., Any]) -> Callable[..., Any]:
    """Log how many users and items a data set has, without the padding user and item.

    RecBole logs one of each too many, and the sparsity of so large a matrix.
    """

    def describe(self):
        text = original(self)
        if self.uid_field:
            text = _replaced(text, "The number of users", self.user_num - 1)
        if self.iid_field:
            text = _replaced(text, "The number of items", self.item_num - 1)
        if self.uid_field and self.iid_field:
            n_pairs = max(1, (self.user_num - 1) * (self.item_num - 1))
            text = _replaced(text, "The sparsity of the dataset", f"{(1 - self.inter_num / n_pairs) * 100}%")
        return text

    return describe


def _replaced(text: str, name: str, value: Any) -> str:
    """The text with another value after a name, whose colour stays."""
    return re.sub(rf"({re.escape(name)}\S*: )\S+", rf"\g<1>{value}", text)
