"""Devices, and runs on several processes, which are to end as a run on one does."""

import contextlib
import itertools
import os
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

from recbole_sparse_elsa.plugin.patching import replaces


def _trains_on_an_unwanted_gpu(init_device: Callable[..., Any]) -> bool:
    stub = types.SimpleNamespace(final_config_dict={"use_gpu": False, "gpu_id": "0"})
    with mock.patch.dict(os.environ), mock.patch("torch.cuda.is_available", return_value=True):
        init_device(stub)
    return stub.final_config_dict["device"].type == "cuda"


@replaces(
    "recbole.config.Config._init_device",
    parameters="self",
    kind="repair",
    until="RecBole heeds use_gpu and CUDA_VISIBLE_DEVICES (issue #1955), and has gloo for CPUs",
    probe=_trains_on_an_unwanted_gpu,
)
def train_where_asked_for(original: Callable[..., Any]) -> Callable[..., Any]:
    """Train where the user asked for, also in several processes.

    RecBole trains on a GPU in spite of ``use_gpu: False``, puts its default ``gpu_id`` in place of the user's
    CUDA_VISIBLE_DEVICES, by which schedulers hand out GPUs (issue #1955), and knows several processes on GPUs only:
    here they take gloo on CPUs.
    """
    by_user = by_recbole = None  # what CUDA_VISIBLE_DEVICES was set to

    def init_device(self):
        nonlocal by_user, by_recbole
        options = self.final_config_dict
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible != by_recbole:
            by_user = visible
        if by_user is not None and "gpu_id" not in self.external_config_dict:
            options["gpu_id"] = by_user
        local_rank = options.pop("local_rank", None)
        original(self)  # as for one process: whether there is a GPU to use
        by_recbole = os.environ["CUDA_VISIBLE_DEVICES"]
        if not options["use_gpu"]:
            options["device"] = torch.device("cpu")
        if local_rank is None:
            return
        if options["device"].type != "cpu":
            options["local_rank"] = local_rank
            original(self)
            return
        torch.distributed.init_process_group(
            backend="gloo",
            rank=local_rank + options["offset"],
            world_size=options["world_size"],
            init_method=f"tcp://{options['ip']}:{options['port']}",
        )
        options.update(local_rank=local_rank, single_spec=False)
        if local_rank != 0:
            options.update(state="error", show_progress=False, verbose=False)

    return init_device


def _fails_on_an_existing_folder(ensure_dir: Callable[..., Any]) -> bool:
    # As if another process made it in between.
    with mock.patch("os.path.exists", side_effect=itertools.chain([False], itertools.repeat(True))):
        try:
            ensure_dir(os.path.dirname(__file__))
        except FileExistsError:
            return True
    return False


@replaces(
    "recbole.utils.utils.ensure_dir",
    parameters="dir_path",
    kind="repair",
    until="RecBole makes folders with exist_ok",
    probe=_fails_on_an_existing_folder,
)
def make_folders_that_others_make_too(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make a folder though another process may make it at the same time.

    Two processes may both see that it is missing, of which RecBole lets one fail.
    """

    def ensure_dir(dir_path):
        os.makedirs(dir_path, exist_ok=True)

    return ensure_dir


def _gives_cpus_a_gpu_s_number(init: Callable[..., Any]) -> bool:
    from recbole.trainer import trainer

    config = {"single_spec": False, "device": torch.device("cpu"), "local_rank": 1}
    with mock.patch.object(trainer, "DistributedDataParallel") as parallel:
        init(types.SimpleNamespace(), config, torch.nn.Linear(1, 1))
    return parallel.call_args.kwargs.get("device_ids") is not None


@replaces(
    "recbole.trainer.trainer.AbstractTrainer.__init__",
    parameters="self config model",
    kind="repair",
    until="RecBole chooses by the device",
    probe=_gives_cpus_a_gpu_s_number,
)
def train_on_several_cpus(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let RecBole's runs on several processes train on CPUs too.

    RecBole knows GPUs only.
    """

    def init(self, config, model):
        if config["single_spec"] or config["device"].type != "cpu":
            original(self, config, model)
            return
        self.config, self.model = config, model
        # Neither device_ids nor SyncBatchNorm, which are for GPUs only.
        self.distributed_model = torch.nn.parallel.DistributedDataParallel(model)

    return init


def _reads_without_waiting(evaluate: Callable[..., Any]) -> bool:
    from recbole.trainer import trainer

    stub = mock.MagicMock(config={"single_spec": False})
    with mock.patch.object(trainer, "torch") as seen, mock.patch("torch.distributed.barrier") as barrier:
        seen.load.side_effect = LookupError
        with contextlib.suppress(LookupError):
            evaluate(stub, [None])
        return seen.load.called and not barrier.called and not seen.distributed.barrier.called


@replaces(
    "recbole.trainer.Trainer.evaluate",
    parameters="self eval_data load_best_model model_file show_progress",
    kind="repair",
    until="RecBole waits",
    probe=_reads_without_waiting,
)
def wait_for_the_best_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the processes of a run wait for each other before they read the best model.

    The one that writes it may still be at it.
    """

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        if load_best_model and not self.config["single_spec"]:
            torch.distributed.barrier()
        return original(self, eval_data, load_best_model, model_file, show_progress)

    return evaluate


class _Share(torch.utils.data.Sampler):
    """The part of ``range(n)`` that this process evaluates: parts are contiguous, and in the order of the processes."""

    def __init__(self, n: int) -> None:
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.indices = range(n * rank // world_size, n * (rank + 1) // world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        # RecBole takes a loader without batches for missing data, and would not evaluate on this process.
        return max(1, len(self.indices))


def _pads_the_users_of_a_process(init: Callable[..., Any]) -> bool:
    from recbole.data import dataloader
    from recbole.utils import ModelType

    loader_class = getattr(dataloader, init.__qualname__.partition(".")[0])
    options = {
        "MODEL_TYPE": ModelType.SEQUENTIAL,  # of which RecBole looks at the number of interactions alone
        "test_neg_sample_args": {"distribution": "none", "sample_num": "none"},
        "seed": 0,
        "single_spec": False,
        "world_size": 2,
    }
    with (
        mock.patch.object(loader_class, "_init_batch_size_and_step"),
        mock.patch("torch.utils.data.distributed.DistributedSampler", side_effect=LookupError) as sampler,
        contextlib.suppress(LookupError),
    ):
        init(loader_class.__new__(loader_class), defaultdict(type(None), options), mock.MagicMock(), None)
    return sampler.called and not sampler.call_args.kwargs.get("drop_last", False)


@replaces(
    "recbole.data.dataloader.FullSortEvalDataLoader.__init__",
    "recbole.data.dataloader.NegSampleEvalDataLoader.__init__",
    parameters="self config dataset sampler shuffle",
    kind="repair",
    until="RecBole evaluates each user once (its pull request #1872)",
    probe=_pads_the_users_of_a_process,
)
def evaluate_each_user_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the processes of a run share the users that are evaluated.

    RecBole evaluates some users twice, so that all processes have as many.
    """

    def init(self, config, dataset, sampler, shuffle=False):
        original(self, config, dataset, sampler, shuffle)
        if not config["single_spec"]:
            self.batch_sampler.sampler = _Share(self.sample_size)

    return init


def _knows_its_own_users_only(get_data_struct: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(config={"single_spec": False})
    with mock.patch("torch.distributed.all_gather_object") as gather:
        get_data_struct(stub)
    return not gather.called


@replaces(
    "recbole.evaluator.Collector.get_data_struct",
    parameters="self",
    kind="repair",
    until="RecBole gives the same metrics on several processes as on one (its pull request #1872)",
    probe=_knows_its_own_users_only,
)
def collect_from_all_processes(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let each process compute the metrics from what all have collected of their users.

    RecBole averages the processes' metrics, and not every metric is an average.
    """

    def get_data_struct(self):
        if not self.config["single_spec"]:
            _gather_from_all_processes(self.data_struct._data_dict)
        return original(self)

    return get_data_struct


def _gather_from_all_processes(collected: dict[str, Any]) -> None:
    """Put together, in the order of the processes, what each has collected of its users in an evaluation."""
    of_users = {
        name: value.cpu() for name, value in collected.items() if name.startswith("rec.") or name == "data.label"
    }
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, of_users)
    for name in sorted(set().union(*parts)):
        collected[name] = torch.cat([part[name] for part in parts if name in part])


def _weights_by_batches(map_reduce: Callable[..., Any]) -> bool:
    stub = types.SimpleNamespace(
        device=torch.device("cpu"), config={"world_size": 2, "metric_decimal_place": 4}
    )

    def all_gather(parts, value):
        # The other process has a metric of 0, in one batch.
        parts[0].copy_(value)
        parts[1].fill_(next(others))

    figures = []
    for n_batches in (1, 3):
        others = iter([1.0, 0.0])
        with mock.patch("torch.distributed.all_gather", all_gather):
            figures.append(map_reduce(stub, {"metric": 1.0}, n_batches)["metric"])
    return figures[0] != figures[1]


@replaces(
    "recbole.trainer.Trainer._map_reduce",
    parameters="self result num_sample",
    kind="repair",
    until="RecBole gives the same metrics on several processes as on one (its pull request #1872)",
    probe=_weights_by_batches,
)
def keep_the_metrics_of_all_processes(original: Callable[..., Any]) -> Callable[..., Any]:
    """Leave metrics as they are that each process has computed from what all have collected.

    RecBole averages those of the processes, weighted by their batches instead of their users.
    """

    def map_reduce(self, result, num_sample):
        return result

    return map_reduce
