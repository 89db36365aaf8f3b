"""What RecBole writes on the way: refused before any data are read where it cannot be written, or done without."""

import contextlib
import os
import queue
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

from recbole_sparse_elsa.errors import OutputError, UserError, reason_of
from recbole_sparse_elsa.output import open_output
from recbole_sparse_elsa.plugin.patching import replaces


def _finds_out_late_what_cannot_be_written(init_logger: Callable[..., Any]) -> bool:
    from recbole.utils import logger

    with mock.patch.object(logger, "init"), mock.patch.object(logger, "ensure_dir", side_effect=LookupError) as made:
        try:
            init_logger({"checkpoint_dir": os.devnull, "model": "BPR"})
        except UserError:
            return False
        except LookupError:
            pass
    return made.called


@replaces(
    "recbole.utils.logger.init_logger",
    parameters="config",
    kind="policy",
    until="RecBole says before the training what it cannot write",
    probe=_finds_out_late_what_cannot_be_written,
)
def refuse_folders_that_cannot_be_written(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a run whose log, tensorboard or checkpoints cannot be written: on a full disk, in a read-only folder.

    RecBole finds it out one after the other, at last when the first epoch is over, and ends with a traceback.
    """

    def init_logger(config):
        for option, folder in (
            ("log", "log"),
            ("log_tensorboard", "log_tensorboard"),
            ("checkpoint_dir", config["checkpoint_dir"]),
        ):
            open_output(folder, option)
        original(config)

    return init_logger


def _tells_no_path(get_tensorboard: Callable[..., Any]) -> bool:
    with mock.patch("recbole.utils.utils.SummaryWriter", side_effect=OSError(28, "No space left on device")):
        try:
            get_tensorboard(mock.MagicMock(handlers=[]))
        except OSError:
            return True
        except UserError:
            return False
    return False


@replaces(
    "recbole.utils.utils.get_tensorboard",
    parameters="logger",
    kind="policy",
    until="RecBole trains on without a tensorboard",
    probe=_tells_no_path,
)
def go_on_without_a_tensorboard(original: Callable[..., Any]) -> Callable[..., Any]:
    """Go on without a tensorboard that cannot be written any more, and say so in one line.

    The next figure that is written to it would end the training.
    """

    def get_tensorboard(logger):
        try:
            writer = original(logger)
        except OSError as error:
            raise OutputError(f"log_tensorboard cannot be written: {reason_of(error)}") from None
        return _Tensorboard(writer)

    return get_tensorboard


def _prints_a_traceback(run: Callable[..., Any]) -> bool:
    stub = mock.MagicMock()
    stub._run.side_effect = OSError
    stub._queue.get.side_effect = queue.Empty
    try:
        run(stub)
    except OSError:
        return True
    return False


@replaces(
    "tensorboard.summary.writer.event_file_writer._AsyncWriterThread.run",
    parameters="self",
    kind="policy",
    until="RecBole trains on without a tensorboard",
    probe=_prints_a_traceback,
)
def leave_errors_of_a_tensorboard_to_its_caller(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the thread that writes a tensorboard end without a traceback where the disk is full.

    It keeps the error for the next call of the writer, which raises it.
    """

    def run(self):
        with contextlib.suppress(OSError):
            original(self)

    return run


class _Tensorboard:
    """A torch.utils.tensorboard.SummaryWriter that falls silent when its file cannot be written."""

    def __init__(self, writer: Any) -> None:
        self._writer, self._has_failed = writer, False

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._writer, name)
        return self._unless_it_fails(value) if callable(value) else value

    def _unless_it_fails(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args, **kwargs):
            try:
                return None if self._has_failed else method(*args, **kwargs)
            except OSError as error:
                self._has_failed = True
                folder, reason = self._writer.log_dir, reason_of(error)
            print(f"No tensorboard from here on: {folder} cannot be written: {reason}", file=sys.stderr)

        return call
