"""What RecBole's run returns beside its metrics: the file of the model that it tested."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from recbole_sparse_elsa.plugin.patching import replaces, source_of

_trainers: ContextVar[list[Any] | None] = ContextVar("trainers", default=None)


@contextlib.contextmanager
def _noted_trainers() -> Iterator[list[Any]]:
    """The trainers that are made meanwhile."""
    trainers: list[Any] = []
    token = _trainers.set(trainers)
    try:
        yield trainers
    finally:
        _trainers.reset(token)


class RunResult(dict[str, Any]):
    """What RecBole's ``run_recbole`` returns, unchanged, with the file of the best model beside it.

    Attributes
    ----------
    saved_model_file : str or None
        The checkpoint; None where nothing was saved.
    """

    saved_model_file: str | None = None


class _NamingQueue:
    """A queue to which a process of a run hands its result."""

    def __init__(self, queue: Any, name: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._queue, self._name = queue, name

    def put(self, result: dict[str, Any]) -> None:
        self._queue.put(self._name(result))


def _does_not_name_the_file(original: Callable[..., Any]) -> bool:
    return "saved_model_file" not in source_of(original)


def _does_not_note_trainers(original: Callable[..., Any]) -> bool:
    return "trainers" not in source_of(original)


@replaces(
    "recbole.trainer.trainer.Trainer.__init__",
    parameters="self config model",
    kind="feature",
    until="RecBole's result names the file",
    probe=_does_not_note_trainers,
)
def note_trainers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Note the trainer that a run makes.

    It knows the file of its best model, and RecBole's run does not hand it out.
    """

    def init(self, config, model):
        original(self, config, model)
        trainers = _trainers.get()
        if trainers is not None:
            trainers.append(self)

    return init


@replaces(
    "recbole.quick_start.quick_start.run_recbole",
    parameters="model dataset config_file_list config_dict saved queue",
    kind="feature",
    until="RecBole's result names the file",
    probe=_does_not_name_the_file,
)
def name_the_saved_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Give the result of a run the name of the best model's file, as an attribute ``saved_model_file``.

    RecBole's result does not name it, so that a program that has trained a model would have to look for it. It is no
    item of the result: two runs with the same figures have equal results.
    """

    def run_recbole(
        model=None, dataset=None, config_file_list=None, config_dict=None, saved=True, queue=None
    ):
        with _noted_trainers() as trainers:

            def named(result):
                named_result = RunResult(result)
                if trainers and os.path.isfile(trainers[-1].saved_model_file):
                    named_result.saved_model_file = trainers[-1].saved_model_file
                return named_result

            queue = None if queue is None else _NamingQueue(queue, named)
            return named(original(model, dataset, config_file_list, config_dict, saved, queue))

    return run_recbole
