"""``sparse-elsa benchmark evaluation``: RecBole's full ranking of all users by SparseELSA and by RecBole's EASE."""

import os
import statistics
import tempfile
import time

from recbole.config import Config
from tqdm import tqdm

from recbole_sparse_elsa import report
from recbole_sparse_elsa.benchmark.scale import Size, write_data_set
from recbole_sparse_elsa.benchmark.step import POPULARITY_EXPONENT
from recbole_sparse_elsa.experiment import away_from_the_command_line, create_trainer, load_data
from recbole_sparse_elsa.options import add_whole_number_options, require_k_within, require_whole_number

_EXPLANATION = """
RecBole's evaluation (Recall, MRR, NDCG, Hit and Precision at 10) of {users:,} users x {items:,} items on the
validation data, by models trained on the same data, in turn {repeats} times; seconds are medians, "ratio" is the
median of the ratios of neighbours to EASE's. SparseELSA: d = {embedding_size}, k = {k}. "Epoch" is one of training at
that k, and "share" the part of the evaluation in the time of an epoch that is trained and evaluated. Interactions are
generated: every user draws {draws_per_user} items, popularity proportional to rank ** -{exponent:g}, and repeated
draws are dropped; seed {seed}.
"""


def add_subcommand(subparsers) -> None:
    """Add ``evaluation`` to the benchmarks."""
    parser = subparsers.add_parser(
        "evaluation", help="full ranking beside EASE's", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the table and the CSV file")
    add_whole_number_options(
        parser,
        ("users", 10_000, "users, all of whom are ranked for"),
        ("items", 10_000, "items of the catalogue"),
        ("draws-per-user", 60, "items drawn by a user"),
        ("embedding_size", 512, "width d of the item embeddings"),
        ("k", 16, "non-zeros per item embedding"),
        ("repeats", 5, "evaluations by each model"),
        ("seed", 2020, "of interactions and weights"),
    )
    report.add_device_option(parser)
    parser.set_defaults(run=run)


def run(options) -> None:
    """Measure both models; write evaluation.csv and evaluation.md.

    Raises
    ------
    OptionError
        An option is not allowed.
    """
    for name in ("users", "items", "draws_per_user", "embedding_size", "k", "repeats"):
        require_whole_number({name: getattr(options, name)}, name, at_least=1)
    require_k_within(options.k, options.embedding_size)
    device, ran_on = report.start(options)
    size = Size(options.users, options.items, options.draws_per_user)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        write_data_set(folder, "generated", size, options.seed)
        rows = _measure(options, folder, device)
    seconds = {model: [row["seconds"] for row in rows if row["model"] == model] for model in ("EASE", "SparseELSA")}
    epoch_seconds = rows[-1]["epoch_seconds"]
    table = []
    for model, of_model in seconds.items():
        median = statistics.median(of_model)
        ratio = statistics.median(ours / ease for ours, ease in zip(of_model, seconds["EASE"]))
        is_ours = model == "SparseELSA"
        table.append(
            {
                "model": model,
                "evaluation (s)": f"{median:.3g}",
                "ratio": f"{ratio:.2f}",
                "epoch (s)": f"{epoch_seconds:.3g}" if is_ours else "",
                "share": f"{median / (median + epoch_seconds):.0%}" if is_ours else "",
            }
        )
    table = report.markdown_table(table)
    explanation = report.paragraph(_EXPLANATION, exponent=POPULARITY_EXPONENT, **vars(options))
    parts = ["# Evaluation", table, explanation, f"Run on {report.environment_line(ran_on)}."]
    print(f"\n{table}\n\n{explanation}\n")
    file = os.path.join(options.output, "evaluation")
    report.write_csv(f"{file}.csv", [{**row, "seed": options.seed, **ran_on} for row in rows])
    report.write_text(f"{file}.md", "\n\n".join(parts) + "\n")
    print(f"Written: {file}.csv, {file}.md")


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
