"""Checkpoints: read on today's torch and on any device, written whole, and one for each run."""

import contextlib
import functools
import io
import os
import pickle
import sys
import threading
import types
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

from recbole_sparse_elsa.errors import CheckpointError, UserError
from recbole_sparse_elsa.plugin.patching import adjusts, overlay, replaces
from recbole_sparse_elsa.training.checkpoint import read_checkpoint, write_checkpoint


def _torch_reads_weights_only(*original: Callable[..., Any]) -> bool:
    file = io.BytesIO()
    torch.save(types.SimpleNamespace(), file)
    file.seek(0)
    try:
        torch.load(file)
    except pickle.UnpicklingError:
        return True
    return False


@adjusts(
    "recbole.trainer.trainer.torch",
    kind="repair",
    since="torch 2.6",
    until="RecBole's trainer gives weights_only",
    probe=_torch_reads_weights_only,
)
def read_checkpoints_with_their_config() -> None:
    """Let trainers read checkpoints, by `read_checkpoint`.

    torch >= 2.6 reads weights only, unless told otherwise, and a checkpoint also holds RecBole's Config: training would
    end with an error when the best model is read back.
    """
    overlay("recbole.trainer.trainer.torch", load=read_checkpoint)


def _save_checkpoint(state: dict[str, Any], file: str, pickle_protocol: int = 4) -> None:
    write_checkpoint(state, file)


def _trainer_writes_over_the_old_file() -> bool:
    from recbole.trainer import Trainer, trainer

    stub = mock.MagicMock(config={"single_spec": True}, saved_model_file="best.pth")
    with mock.patch.object(trainer, "torch") as seen:
        Trainer._save_checkpoint(stub, 0)
    return seen.save.call_args.args[1] == "best.pth"


@adjusts(
    "recbole.trainer.trainer.torch",
    kind="repair",
    until="RecBole's trainer writes to a temporary file",
    probe=_trainer_writes_over_the_old_file,
)
def write_checkpoints_whole() -> None:
    """Let trainers write checkpoints whole or not at all, by `write_checkpoint`.

    A file that is being written when the program is stopped is lost, together with the model it replaces.
    """
    overlay("recbole.trainer.trainer.torch", save=_save_checkpoint)


_torch_load_lock = threading.Lock()


@contextlib.contextmanager
def _hand_to_torch_load(checkpoint: Any, file: Any) -> Iterator[None]:
    """Let this thread's next torch.load, which must be of ``file``, return ``checkpoint``; all others are as usual."""
    thread = threading.get_ident()
    torch_load: Any = None

    @functools.wraps(torch.load)
    def load(f, *args, **kwargs):
        if threading.get_ident() != thread or f is not file:
            return torch_load(f, *args, **kwargs)
        restore()
        return checkpoint

    def restore():
        torch.load = torch_load
        _torch_load_lock.release()

    _torch_load_lock.acquire()
    torch_load, torch.load = torch.load, load
    try:
        yield
    finally:
        if torch.load is load:
            restore()


def _leaves_everything_to_torch_load(load_data_and_model: Callable[..., Any]) -> bool:
    with mock.patch("torch.load", side_effect=LookupError) as load, contextlib.suppress(LookupError):
        load_data_and_model("model.pth")
    return not {"weights_only", "map_location"} & load.call_args.kwargs.keys()


@replaces(
    "recbole.quick_start.quick_start.load_data_and_model",
    parameters="model_file",
    kind="repair",
    since="torch 2.6",
    until="RecBole gives weights_only and map_location",
    probe=_leaves_everything_to_torch_load,
)
def load_any_checkpoint(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let load_data_and_model read a checkpoint, also that of a run on a GPU where there is none, or on several.

    torch >= 2.6 reads weights only, unless told otherwise. RecBole leaves the tensors where they were, and the Config
    on the device and among the processes of its run. Here RecBole imports torch within the function.
    """

    def load_data_and_model(model_file):
        checkpoint = read_checkpoint(model_file, None if torch.cuda.is_available() else "cpu")
        options = checkpoint["config"].final_config_dict
        if not options["single_spec"] and not torch.distributed.is_initialized():
            options.update(single_spec=True, local_rank=0, device=torch.device("cuda"))
        if options["device"].type == "cuda" and not torch.cuda.is_available():
            options["device"] = torch.device("cpu")
        try:
            with _hand_to_torch_load(checkpoint, model_file):
                return original(model_file)
        except RuntimeError as error:  # torch's, of rows for other users and items than the data have
            if isinstance(error, UserError) or "size mismatch" not in str(error):
                raise
            raise CheckpointError(
                f"checkpoint {model_file} does not fit data set {checkpoint['config']['dataset']}: it was trained on "
                "other data"
            ) from error

    return load_data_and_model


_PRETRAINING_MODULES = (
    "general_recommender.convncf",
    "general_recommender.nais",
    "general_recommender.neumf",
    "general_recommender.ract",
    "context_aware_recommender.kd_dagfm",
    "sequential_recommender.s3rec",
)


def _load_pickle(file: Any, map_location: Any = None) -> Any:
    return torch.load(file, map_location=map_location, weights_only=False)


def _let_imported_models_read_pretrained_weights() -> None:
    for name in _PRETRAINING_MODULES:
        if f"recbole.model.{name}" in sys.modules:
            overlay(f"recbole.model.{name}.torch", load=_load_pickle)


@replaces(
    "recbole.config.Config.__init__",
    parameters="self model dataset config_file_list config_dict",
    kind="repair",
    since="torch 2.6",
    until="RecBole's models give weights_only",
    probe=_torch_reads_weights_only,
)
def read_pretrained_weights(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a model that a Config is made for read the pre-trained weights that RecBole saved for it.

    torch >= 2.6 reads weights only, unless told otherwise; these files hold more.
    """

    def init(self, model=None, dataset=None, config_file_list=None, config_dict=None):
        original(self, model, dataset, config_file_list, config_dict)
        _let_imported_models_read_pretrained_weights()

    return init


@replaces(
    "recbole.utils.utils.get_model",
    parameters="model_name",
    kind="repair",
    since="torch 2.6",
    until="RecBole's models give weights_only",
    probe=_torch_reads_weights_only,
)
def read_pretrained_weights_of_a_named_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a model that is looked up by its name read the pre-trained weights that RecBole saved for it.

    The same as for a Config: a checkpoint's Config is not made, but read.
    """

    def get_model(model_name):
        model = original(model_name)
        _let_imported_models_read_pretrained_weights()
        return model

    return get_model


def _trainers_of_one_second_share_a_checkpoint(init: Callable[..., Any]) -> bool:
    from recbole.trainer import Trainer, trainer

    class Stub(Trainer):
        def _build_optimizer(self, **kwargs):
            return None

    given = {"single_spec": True, "epochs": 1, "eval_step": 1, "valid_metric": "", "checkpoint_dir": "saved"}
    names = ("get_tensorboard", "WandbLogger", "Collector", "Evaluator", "ensure_dir", "get_local_time")
    stubs = [Stub.__new__(Stub) for _ in range(2)]
    with mock.patch.multiple(trainer, **{name: mock.DEFAULT for name in names}):
        for stub in stubs:
            init(stub, defaultdict(type(None), given), None)
    return stubs[0].saved_model_file == stubs[1].saved_model_file


@replaces(
    "recbole.trainer.Trainer.__init__",
    parameters="self config model",
    kind="repair",
    until="the names of RecBole's checkpoints are unique",
    probe=_trainers_of_one_second_share_a_checkpoint,
)
def give_each_run_its_own_checkpoint(original: Callable[..., Any]) -> Callable[..., Any]:
    """Give each run its own checkpoint.

    RecBole's names differ by the second, so that runs started together in one folder overwrite each other's, and the
    processes of one run may not agree.
    """

    def init(self, config, model):
        original(self, config, model)
        folder, name = os.path.split(self.saved_model_file)
        stem, extension = os.path.splitext(name)
        names = [f"{stem}-{uuid.uuid4().hex[:6]}{extension}"]
        if not config["single_spec"]:
            torch.distributed.broadcast_object_list(names)  # from rank 0; another machine may have another folder
        self.saved_model_file = os.path.join(folder, names[0])

    return init
