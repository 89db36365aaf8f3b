"""``sparse-elsa benchmark training``: whole trainings, with the dense masked computation and with this package's.

SparseELSA is trained with the paper's pruning schedule (exponential with restarting, method page section 2) by the
dense masked computation and by this package's, and with a schedule that starts sparse, in turn on the same data with
the same seeds. The clock runs while the model is made and trained.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from recbole.config import Config
from torch.nn import functional as F
from tqdm import tqdm

from recbole_sparse_elsa import output
from recbole_sparse_elsa.benchmark.data_options import DataOptions
from recbole_sparse_elsa.benchmark.dense_masked import dense_masked_loss
from recbole_sparse_elsa.benchmark.reporting import show, write_report
from recbole_sparse_elsa.core import PruningSchedule
from recbole_sparse_elsa.machine import environment
from recbole_sparse_elsa.options import require_whole_number
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line, create_trainer, load_data

_DENSE_MASKED, _PAPER_SCHEDULE, _SPARSE_START = "dense masked", "ours, the paper's schedule", "ours, sparse start"
_MIXED_PRECISION = "ours, the paper's schedule, bf16"
_COMPUTATIONS = (_DENSE_MASKED, _PAPER_SCHEDULE, _MIXED_PRECISION, _SPARSE_START)
# The paper's, in RecBole's names; its epsilon is 1e-7 on a loss that is averaged over the items, ours is summed.
_RECIPE = {
    "train_batch_size": 1024,
    "learning_rate": 0.1,
    "learning_rate_decay": False,
    "input_dropout": 0.0,
    "popularity_exponent": 0.0,
    "popularity_scale": 0.0,
    "length_exponent": 0.0,
    "noise_variance": 0.0,
}

_EXPLANATION = """
SparseELSA on {dataset}{filtered}, d = {embedding_size} to k = {k}, exponential schedule with restarting and a last
stage of {stage_epochs} epochs. The paper's schedule: {paper_epochs} epochs in all, from d, stage_epochs =
{stage_epochs}; "dense masked" computes it with the whole items x d matrix and a mask
(recbole_sparse_elsa/benchmark/dense_masked.py) at every epoch; "bf16" is RecBole's enable_amp, which takes the large
products of the dense phase in bfloat16. Sparse start: {sparse_epochs} epochs in all, start_k = {start_k},
stage_epochs = {sparse_stage_epochs}. The paper's recipe otherwise (1,024 users a batch, learning rate 0.1, no input
dropout){from_files}. Seconds are of making and training the model, without loading and evaluation; "faster" is the
median of the ratios of runs with the same seed. NDCG@100 by RecBole's protocol, of the last epoch, as mean ± standard
deviation over the seeds {seeds}.
"""


@dataclass(frozen=True, kw_only=True)
class TrainingBenchmark(DataOptions):
    """Whole trainings of SparseELSA, dense masked and by this package's computation; see also `DataOptions`.

    Parameters
    ----------
    output : str
        Folder for the table and CSV files.
    embedding_size, k : int
        Width d of the item embeddings, and non-zeros of each at the end.
    stage_epochs : int
        Epochs per stage, E in the paper.
    start_k : int
        Non-zeros per item embedding of the sparse start.
    sparse_stage_epochs : int
        ``stage_epochs`` after the sparse start.
    seeds : sequence of int
        Each computation is trained with each of them.
    device : {"auto", "cpu", "cuda"}
        auto is cuda if there is one.
    """

    output: str
    embedding_size: int = 4096
    k: int = 16
    stage_epochs: int = 10
    start_k: int = 128
    sparse_stage_epochs: int = 2
    seeds: Sequence[int] = (2020, 2021, 2022)
    device: str = "auto"

    def run(self) -> None:
        """Train with each seed and computation; write training.csv, training_summary.csv and training.md.

        Raises
        ------
        OptionError
            A parameter is not allowed.
        DatasetError
            The data set cannot be found.
        """
        _check(self)
        schedules = _schedules(self)
        device, ran_on = environment.start(self.output, self.device)
        seeds = list(dict.fromkeys(self.seeds))
        rows = [_train(seed, name, schedules[name], self, device) for seed in seeds for name in _COMPUTATIONS]
        _write(self, seeds, schedules, rows, _summarise(rows), ran_on)


def _schedules(options):
    """The options of each computation that say how k falls; each ends with a whole stage at the target k."""
    d, k, last = options.embedding_size, options.k, options.stage_epochs
    start_k = min(options.start_k, d)
    paper = PruningSchedule.create("exponential", d, k, options.stage_epochs)
    sparse = PruningSchedule.create("exponential", d, k, options.sparse_stage_epochs, start_k=start_k)
    from_dense = {
        "start_k": None,
        "stage_epochs": options.stage_epochs,
        "epochs": paper.first_final_epoch + last,
        "enable_amp": False,
    }
    return {
        _DENSE_MASKED: {**from_dense, "embedding_form": "dense"},
        _PAPER_SCHEDULE: {**from_dense, "embedding_form": "auto"},
        _MIXED_PRECISION: {**from_dense, "embedding_form": "auto", "enable_amp": True},
        _SPARSE_START: {
            "start_k": start_k,
            "stage_epochs": options.sparse_stage_epochs,
            "epochs": sparse.first_final_epoch + last,
            "enable_amp": False,
            "embedding_form": "auto",
        },
    }


def _check(options):
    for seed in options.seeds:
        require_whole_number("seeds", seed, at_least=0)
    options.check_data_options()


def _train(seed, computation, schedule, options, device):
    config_dict = {
        **_RECIPE,
        "embedding_size": options.embedding_size,
        "k": options.k,
        "pruning_schedule": "exponential",
        "restart": True,
        **schedule,
        "seed": seed,
        **options.recbole_options(),
        "use_gpu": device.type == "cuda",
        "metrics": ["NDCG"],
        "topk": [100],
        "valid_metric": "NDCG@100",
        "metric_decimal_place": 6,
        "show_progress": False,
        "state": "WARNING",
    }
    config_files = options.config_files_found()
    with away_from_the_command_line():
        config = Config("SparseELSA", options.dataset, config_file_list=config_files, config_dict=config_dict)
        data = load_data(config)
        n_batches = math.ceil((data.train_data.dataset.user_num - 1) / config["train_batch_size"])
        name = f"seed {seed}, {computation}"
        with tqdm(total=n_batches * config["epochs"], unit="step", desc=f"{name}: training") as progress:
            start = time.perf_counter()
            trainer = create_trainer(config, data.train_data)
            if computation == _DENSE_MASKED:
                trainer.model.calculate_loss = functools.partial(_dense_masked_loss, trainer.model)
            trainer.optimizer.register_step_post_hook(lambda *_: progress.update())
            # Without validation data nothing is evaluated, and without saving nothing is written, while the clock runs.
            trainer.fit(data.train_data, saved=False, show_progress=False)
            # Work may still be queued on the GPU; reading a number waits for it.
            trainer.model.item_embedding.weight.sum().item()
            seconds = time.perf_counter() - start
            progress.set_description(f"{name}: evaluating")
            valid, test = (
                trainer.evaluate(phase, load_best_model=False, show_progress=False)["ndcg@100"]
                for phase in (data.valid_data, data.test_data)
            )
        trainer.tensorboard.close()
    return {
        "dataset": options.dataset,
        "rating_at_least": options.rating_at_least,
        "embedding_size": options.embedding_size,
        "k": options.k,
        "computation": computation,
        **schedule,
        "seed": seed,
        "seconds": seconds,
        "valid_ndcg@100": float(valid),
        "test_ndcg@100": float(test),
    }


def _dense_masked_loss(model, interaction):
    layer = model.item_embedding
    mask = torch.ones_like(layer.weight, dtype=torch.bool) if layer.support is None else layer.support
    rows = interaction.batch.rows()
    return dense_masked_loss(layer.weight, mask, rows, F.dropout(rows, model.input_dropout))


def _summarise(rows):
    """One row per computation, with medians, means and standard deviations over the seeds."""
    summaries = []
    seconds_of = {name: [row["seconds"] for row in rows if row["computation"] == name] for name in _COMPUTATIONS}
    for name in _COMPUTATIONS:
        runs = [row for row in rows if row["computation"] == name]
        summary = {"computation": name, "runs": len(runs), "median_seconds": statistics.median(seconds_of[name])}
        for figure in ("seconds", "valid_ndcg@100", "test_ndcg@100"):
            values = [row[figure] for row in runs]
            summary[f"{figure}_mean"] = statistics.mean(values)
            summary[f"{figure}_sd"] = statistics.stdev(values) if len(values) > 1 else None
        ratios = [dense / other for dense, other in zip(seconds_of[_DENSE_MASKED], seconds_of[name])]
        summary["times_faster"] = statistics.median(ratios)
        summaries.append(summary)
    return summaries


def _readable(summary):
    def mean_and_sd(name, digits):
        mean, sd = summary[f"{name}_mean"], summary[f"{name}_sd"]
        return f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if sd is not None else "")

    return {
        "computation": summary["computation"],
        "median (s)": f"{summary['median_seconds']:.1f}",
        "mean (s)": mean_and_sd("seconds", 1),
        "faster": f"{summary['times_faster']:.1f} x",
        "NDCG@100 validation": mean_and_sd("valid_ndcg@100", 4),
        "NDCG@100 test": mean_and_sd("test_ndcg@100", 4),
    }


def _write(options, seeds, schedules, rows, summaries, ran_on):
    table = output.markdown_table([_readable(summary) for summary in summaries])
    explanation = output.paragraph(
        _EXPLANATION,
        **options.in_words(),
        paper_epochs=schedules[_PAPER_SCHEDULE]["epochs"],
        sparse_epochs=schedules[_SPARSE_START]["epochs"],
        **{**vars(options), "start_k": schedules[_SPARSE_START]["start_k"], "seeds": ", ".join(map(str, seeds))},
    )
    show([table, explanation])
    tables = {"training": rows, "training_summary": summaries}
    write_report(options.output, "training", "Whole trainings", [table, explanation], tables, ran_on)
