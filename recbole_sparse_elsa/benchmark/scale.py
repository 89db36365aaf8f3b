"""``sparse-elsa benchmark scale``: how time and memory grow with the users, the items and the interactions.

Each size is measured in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from tqdm import tqdm

from recbole_sparse_elsa import output
from recbole_sparse_elsa.benchmark.reporting import ran_on_line, require_positive, show, write_report, write_rows
from recbole_sparse_elsa.benchmark.step import POPULARITY_EXPONENT, make_optimizer
from recbole_sparse_elsa.core import TopKEmbedding, UserHistories, cooccurrence_start
from recbole_sparse_elsa.machine import environment
from recbole_sparse_elsa.machine.memory import peak_memory
from recbole_sparse_elsa.options import require_k_within, require_whole_number
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line, create_trainer
from recbole_sparse_elsa.training.checkpoint import write_checkpoint

_INPUT_DROPOUT = 0.5

_EXPLANATION = """
Training: the sparse start and steps of {batch} users, k = {k}, d = {embedding_size}, max_output = {max_output}, input
dropout 0.5, NAdam. "Epoch" is the median of {steps} steps (after one that is not counted) times the steps of an
epoch. Interactions are generated: every user draws as many items, popularity proportional to rank ** -{exponent:g},
and repeated draws are dropped; seed {seed}. "Growth" is how many times the epoch and the peak memory grew for twice
the size, the memory after what a process takes without data. Through RecBole: the same interactions written as an
atomic file and taken through RecBole's own loading, splitting (8:1:1 per user), a model with a sparse start, one
epoch, the full ranking of every user on the validation data, and a checkpoint.
"""


@dataclass(frozen=True)
class Size:
    """One size of generated data."""

    users: int
    items: int
    draws_per_user: int

    def __str__(self):
        return f"{self.users:,} users x {self.items:,} items, {self.users * self.draws_per_user:,} interactions drawn"


@dataclass(frozen=True, kw_only=True)
class ScaleBenchmark:
    """Training, and a run through RecBole, on generated data of which one size after another is doubled.

    Parameters
    ----------
    output : str
        Folder for the tables and CSV files.
    users, items, draws_per_user : int
        Of the smallest data: users, items, and items drawn by a user.
    doublings : int
        How often users, items and draws are doubled, each alone; then users and items together.
    recbole_users, recbole_items : int
        Users and items of the smallest data taken through RecBole.
    embedding_size, k : int
        Width d of the item embeddings, and non-zeros of each.
    batch : int
        Users in a batch.
    max_output : int
        Items per batch over which the loss is taken.
    steps : int
        Timed steps of each size.
    device : {"auto", "cpu", "cuda"}
        auto is cuda if there is one.
    seed : int
        Of interactions and weights.
    """

    output: str
    users: int = 125_000
    items: int = 62_500
    draws_per_user: int = 20
    doublings: int = 4
    recbole_users: int = 6_250
    recbole_items: int = 6_250
    embedding_size: int = 512
    k: int = 16
    batch: int = 1024
    max_output: int = 20_000
    steps: int = 10
    device: str = "auto"
    seed: int = 2020

    def run(self) -> None:
        """Measure every size; write scale_training.csv, scale_recbole.csv and scale.md.

        Raises
        ------
        OptionError
            A parameter is not allowed.
        """
        require_positive(self, "users", "items", "draws_per_user", "recbole_users", "recbole_items")
        require_positive(self, "embedding_size", "k", "batch", "max_output", "steps")
        require_whole_number("doublings", self.doublings, at_least=0)
        require_k_within(self.k, self.embedding_size)
        device, ran_on = environment.start(self.output, self.device)
        base = Size(self.users, self.items, self.draws_per_user)
        everything = dataclasses.replace(
            base, users=base.users * 2**self.doublings, items=base.items * 2**self.doublings
        )
        training = [*_doubled(base, self.doublings), ("users and items", everything)]
        recbole = _doubled(Size(self.recbole_users, self.recbole_items, self.draws_per_user), self.doublings)
        tables = {}
        with tqdm(total=len(training) + len(recbole), unit="size") as progress:
            for name, sizes, measure in (
                ("training", training, measure_training),
                ("recbole", recbole, measure_recbole),
            ):
                rows: list[dict] = []
                for doubled, size in sizes:
                    progress.set_description(f"{name}: {size}")
                    figures = _in_own_process(measure, size, self, device.type)
                    rows.append({"doubled": doubled, **dataclasses.asdict(size), **figures, "seed": self.seed})
                    # What was measured stays, should a later size end the run.
                    write_rows(os.path.join(self.output, f"scale_{name}.csv"), rows, ran_on)
                    progress.update()
                tables[f"scale_{name}"] = rows
        _write(self, tables, ran_on)


def _doubled(base, doublings):
    """Pairs of what is doubled and the size, beginning with the smallest for each."""
    return [
        (name, dataclasses.replace(base, **{name: getattr(base, name) * 2**doubling}))
        for name in ("users", "items", "draws_per_user")
        for doubling in range(doublings + 1)
    ]


def _in_own_process(measure, size, options, device):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, size, options, device).result()


def generate_interactions(size: Size, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of long-tailed popularity, sorted by user and item, each pair once: two int64 arrays."""
    generator = np.random.default_rng(seed)
    cumulated = np.cumsum(np.arange(1, size.items + 1) ** -POPULARITY_EXPONENT)
    item_of_rank = generator.permutation(size.items)
    users = np.repeat(np.arange(size.users), size.draws_per_user)
    ranks = np.searchsorted(cumulated, generator.random(len(users)) * cumulated[-1])
    pairs = np.unique(users * size.items + item_of_rank[ranks])
    return np.divmod(pairs, size.items)


def write_data_set(folder: str, name: str, size: Size, seed: int) -> int:
    """Write generated interactions as the RecBole data set ``folder/name``; their number."""
    users, items = generate_interactions(size, seed)
    os.mkdir(os.path.join(folder, name))
    with open(os.path.join(folder, name, f"{name}.inter"), "w", encoding="ascii") as file:
        file.write("user_id:token\titem_id:token\n")
        file.writelines(f"{user}\t{item}\n" for user, item in zip(users.tolist(), items.tolist()))
    return len(users)


def measure_training(size: Size, options: ScaleBenchmark, device: str) -> dict[str, Any]:
    """Seconds of the start and of an epoch, and peak memory in bytes, of a training on generated data.

    Parameters
    ----------
    size : Size
        Of the data.
    options : ScaleBenchmark
        What else it is measured with.
    device : str
        cpu or cuda.
    """
    before = peak_memory()
    torch.manual_seed(options.seed)
    users, items = generate_interactions(size, options.seed)
    row_pointers = torch.from_numpy(np.searchsorted(users, np.arange(size.users + 1)))
    histories = UserHistories(row_pointers, torch.from_numpy(items), size.items)
    del users, items
    start = time.perf_counter()
    chosen = cooccurrence_start(histories, options.embedding_size, options.k)
    histories = histories.to(device)
    layer = TopKEmbedding(size.items, options.embedding_size, start=chosen).to(device)
    start_seconds = time.perf_counter() - start
    optimizer = make_optimizer(layer.weight)
    seconds = []
    for _ in range(options.steps + 1):
        batch_users = torch.randint(0, size.users, (min(options.batch, size.users),), device=device)
        start = time.perf_counter()
        optimizer.zero_grad()
        batch = histories.batch(batch_users).drop_input(_INPUT_DROPOUT)
        layer.nmse_loss(batch, options.max_output).backward()
        optimizer.step()
        # On a GPU, reading a number waits for the work that is queued.
        layer.weight[0].item()
        seconds.append(time.perf_counter() - start)
    n_steps = -(-size.users // options.batch)
    return {
        "interactions": len(histories.item_indices),
        "start_seconds": start_seconds,
        "step_seconds": statistics.median(seconds[1:]),
        "epoch_seconds": statistics.median(seconds[1:]) * n_steps,
        "memory_before_bytes": before,
        "peak_memory_bytes": peak_memory(),
        "gpu_peak_memory_bytes": peak_memory(torch.device(device)) if device == "cuda" else None,
    }


def measure_recbole(size: Size, options: ScaleBenchmark, device: str) -> dict[str, Any]:
    """Seconds of each stage of a run through RecBole on generated data, and peak memory in bytes after each.

    Parameters are those of `measure_training`.
    """
    figures, clock = {}, time.perf_counter()

    def done(stage):
        nonlocal clock
        figures[f"{stage}_seconds"] = time.perf_counter() - clock
        figures[f"{stage}_peak_memory_bytes"] = peak_memory()
        clock = time.perf_counter()

    with away_from_the_command_line(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        figures["interactions"] = write_data_set(folder, "generated", size, options.seed)
        config = Config(
            "SparseELSA",
            "generated",
            config_dict={
                **{name: getattr(options, name) for name in ("embedding_size", "k", "max_output", "seed")},
                "start_k": options.k,
                "train_batch_size": options.batch,
                "epochs": 1,
                "data_path": folder,
                "use_gpu": device == "cuda",
                "state": "ERROR",
                "show_progress": False,
            },
        )
        figures["memory_before_bytes"], clock = peak_memory(), time.perf_counter()
        dataset = create_dataset(config)
        done("loading")
        train_data, valid_data, _ = data_preparation(config, dataset)
        done("splitting")
        trainer = create_trainer(config, train_data)
        done("model")
        trainer.fit(train_data, saved=False, show_progress=False)
        done("epoch")
        trainer.evaluate(valid_data, load_best_model=False, show_progress=False)
        done("evaluation")
        write_checkpoint(
            {"config": config, "state_dict": trainer.model.state_dict()}, os.path.join(folder, "checkpoint.pth")
        )
        done("checkpoint")
        trainer.tensorboard.close()
    return {**figures, "peak_memory_bytes": peak_memory()}


def _readable(rows):
    readable = []
    for doubled, group in itertools.groupby(rows, lambda row: row["doubled"]):
        before = None
        for row in group:
            grown = {
                "growth of the epoch": None if before is None else row["epoch_seconds"] / before["epoch_seconds"],
                "growth of memory": None if before is None else _used(row) / max(_used(before), 1),
            }
            readable.append(
                {
                    "doubled": doubled.replace("_", " "),
                    **{name: f"{row[name]:,}" for name in ("users", "items", "interactions")},
                    **{
                        name.replace("_seconds", " (s)"): f"{value:.3g}"
                        for name, value in row.items()
                        if name.endswith("_seconds")
                    },
                    "peak memory (GB)": f"{row['peak_memory_bytes'] / 1e9:.3g}",
                    **{name: "" if value is None else f"{value:.2f} x" for name, value in grown.items()},
                }
            )
            before = row
    return readable


def _used(row):
    return row["peak_memory_bytes"] - row["memory_before_bytes"]


def _write(options, tables, ran_on):
    explanation = output.paragraph(_EXPLANATION, exponent=POPULARITY_EXPONENT, **vars(options))
    parts = []
    for heading, name in (("Training", "scale_training"), ("Through RecBole", "scale_recbole")):
        parts += [f"## {heading}", output.markdown_table(_readable(tables[name]))]
    parts.append(explanation)
    show(["# Scale", *parts, ran_on_line(ran_on)])
    write_report(options.output, "scale", "Scale", parts, tables, ran_on)
