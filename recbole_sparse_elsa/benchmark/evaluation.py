"""``sparse-elsa benchmark evaluation``: RecBole's full ranking of all users by SparseELSA and by RecBole's EASE."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass

from recbole.config import Config
from tqdm import tqdm

from recbole_sparse_elsa import output
from recbole_sparse_elsa.benchmark.reporting import require_positive, show, write_report
from recbole_sparse_elsa.benchmark.scale import Size, write_data_set
from recbole_sparse_elsa.benchmark.step import POPULARITY_EXPONENT
from recbole_sparse_elsa.machine import environment
from recbole_sparse_elsa.options import require_k_within
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line, create_trainer, load_data

_EXPLANATION = """
RecBole's evaluation (Recall, MRR, NDCG, Hit and Precision at 10) of {users:,} users x {items:,} items on the
validation data, by models trained on the same data, in turn {repeats} times; seconds are medians, "ratio" is the
median of the ratios of neighbours to EASE's. SparseELSA: d = {embedding_size}, k = {k}. "Epoch" is one of training at
that k, and "share" the part of the evaluation in the time of an epoch that is trained and evaluated. Interactions are
generated: every user draws {draws_per_user} items, popularity proportional to rank ** -{exponent:g}, and repeated
draws are dropped; seed {seed}.
"""


@dataclass(frozen=True, kw_only=True)
class EvaluationBenchmark:
    """RecBole's evaluation of SparseELSA, beside that of EASE, on generated data.

    Parameters
    ----------
    output : str
        Folder for the table and the CSV file.
    users, items : int
        Users, all of whom are ranked for, and items of the catalogue.
    draws_per_user : int
        Items drawn by a user.
    embedding_size, k : int
        Width d of the item embeddings, and non-zeros of each.
    repeats : int
        Evaluations by each model.
    device : {"auto", "cpu", "cuda"}
        auto is cuda if there is one.
    seed : int
        Of interactions and weights.
    """

    output: str
    users: int = 10_000
    items: int = 10_000
    draws_per_user: int = 60
    embedding_size: int = 512
    k: int = 16
    repeats: int = 5
    device: str = "auto"
    seed: int = 2020

    def run(self) -> None:
        """Measure both models; write evaluation.csv and evaluation.md.

        Raises
        ------
        OptionError
            A parameter is not allowed.
        """
        require_positive(self, "users", "items", "draws_per_user", "embedding_size", "k", "repeats")
        require_k_within(self.k, self.embedding_size)
        device, ran_on = environment.start(self.output, self.device)
        size = Size(self.users, self.items, self.draws_per_user)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            write_data_set(folder, "generated", size, self.seed)
            rows = _measure(self, folder, device)
        seconds = {model: [row["seconds"] for row in rows if row["model"] == model] for model in ("EASE", "SparseELSA")}
        epoch_seconds = rows[-1]["epoch_seconds"]
        table_rows = []
        for model, of_model in seconds.items():
            median = statistics.median(of_model)
            ratio = statistics.median(ours / ease for ours, ease in zip(of_model, seconds["EASE"]))
            is_ours = model == "SparseELSA"
            table_rows.append(
                {
                    "model": model,
                    "evaluation (s)": f"{median:.3g}",
                    "ratio": f"{ratio:.2f}",
                    "epoch (s)": f"{epoch_seconds:.3g}" if is_ours else "",
                    "share": f"{median / (median + epoch_seconds):.0%}" if is_ours else "",
                }
            )
        table = output.markdown_table(table_rows)
        explanation = output.paragraph(_EXPLANATION, exponent=POPULARITY_EXPONENT, **vars(self))
        show([table, explanation])
        rows = [{**row, "seed": self.seed} for row in rows]
        write_report(self.output, "evaluation", "Evaluation", [table, explanation], {"evaluation": rows}, ran_on)


def _measure(options, folder, device):
    evaluations, rows = {}, []
    with away_from_the_command_line(), tqdm(total=2 * (options.repeats + 1), unit="evaluation") as progress:
        for model in ("EASE", "SparseELSA"):
            progress.set_description(f"{model}: training")
            evaluations[model], epoch_seconds = _trained(model, options, folder, device)
        # Repeat 0 warms up.
        for repeat in range(options.repeats + 1):
            for model, evaluate in evaluations.items():
                progress.set_description(f"{model}: evaluating")
                start = time.perf_counter()
                evaluate()
                seconds = time.perf_counter() - start
                progress.update()
                if repeat:
                    row = {"model": model, "repeat": repeat, "seconds": seconds}
                    rows.append({**row, "epoch_seconds": epoch_seconds if model == "SparseELSA" else None})
    sizes = {name: getattr(options, name) for name in ("users", "items", "draws_per_user", "embedding_size", "k")}
    return [{**sizes, **row} for row in rows]


def _trained(model, options, folder, device):
    """A function that evaluates the trained model, and the seconds of its last epoch."""
    sizes = {"embedding_size": options.embedding_size, "k": options.k, "start_k": options.k, "epochs": 2}
    config_dict = {
        **(sizes if model == "SparseELSA" else {}),
        "seed": options.seed,
        "data_path": folder,
        "use_gpu": device.type == "cuda",
        "state": "ERROR",
        "show_progress": False,
    }
    config = Config(model, "generated", config_dict=config_dict)
    data = load_data(config)
    trainer = create_trainer(config, data.train_data)
    starts = []
    train_epoch = trainer._train_epoch

    def timed_train_epoch(*arguments, **keywords):
        starts.append(time.perf_counter())
        loss = train_epoch(*arguments, **keywords)
        starts.append(time.perf_counter())
        return loss

    trainer._train_epoch = timed_train_epoch
    trainer.fit(data.train_data, saved=False, show_progress=False)
    trainer.tensorboard.close()

    def evaluate():
        return trainer.evaluate(data.valid_data, load_best_model=False, show_progress=False)

    return evaluate, starts[-1] - starts[-2]
