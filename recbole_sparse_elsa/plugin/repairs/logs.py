"""A log file of its own for each run."""

import logging
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

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
    since="RecBole 1.2.1",
    until="RecBole sets up each run's log, and wraps the output once",
    probe=_leaves_out_the_log_file,
)
def give_each_run_its_own_log(original: Callable[..., Any]) -> Callable[..., Any]:
    """Give each run its own log file, and its own tensorboard folder, which is named after it.

    RecBole sets up logging only while the root logger has no handler, so the second run of a process writes into the
    file of the first, and none is written where a program set up logging itself. It also wraps the standard output for
    colours once more with every run, until Python's recursion limit is reached.
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
        finally:
            for handler in others:
                root.addHandler(handler)
            for name, stream in streams.items():
                if isinstance(stream, StreamWrapper):
                    setattr(sys, name, stream)

    return init_logger
