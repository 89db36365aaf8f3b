"""``sparse-elsa benchmark training``: whole trainings with the dense and with the compact form of the embeddings.

SparseELSA is trained with the paper's pruning schedule (exponential with restarting, method page section 2), in turn with
embedding_form dense and auto, on the same data with the same seeds. The clock runs during training only.
"""

import contextlib
import math
import os
import statistics
import sys
import tempfile
import time

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from tqdm import tqdm

from recbole_sparse_elsa import report
from recbole_sparse_elsa.core import PruningSchedule
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import require_number, require_whole_number

_FORMS = ("dense", "auto")

_EXPLANATION = """
SparseELSA on {dataset}{filtered}, d = {embedding_size} to k = {k}: exponential schedule with restarting,
stage_epochs = {stage_epochs}, {epochs} epochs in all; every other option at its default{from_files}. "Dense" computes with the whole
matrix at every epoch, "auto" with the non-zeros alone once that is faster. Seconds are of training without loading and
evaluation; "faster" is the median of the ratios of runs with the same seed. NDCG@100 by RecBole's protocol, of the last
epoch, as mean ± standard deviation over the seeds {seeds}.
"""


def add_subcommand(subparsers) -> None:
    """Add ``training`` to the benchmarks."""
    parser = subparsers.add_parser("training", help="whole trainings", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the table and CSV files")
    parser.add_argument("--dataset", default="ml-1m", help="name of the data set (default: ml-1m)")
    parser.add_argument("--data_path", default="dataset", help="folder that holds the data set's (default: dataset)")
    parser.add_argument("--rating-at-least", type=float, help="only interactions with such a rating (default: all)")
    parser.add_argument("--embedding_size", type=int, default=4096, help="width d (default: 4096)")
    parser.add_argument("--k", type=int, default=16, help="non-zeros per item embedding at the end (default: 16)")
    parser.add_argument("--stage_epochs", type=int, default=10, help="epochs per stage, E in the paper (default: 10)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022], help="default: 2020 2021 2022")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: cuda if there is one")
    parser.add_argument("--config_files", nargs="+", default=[], help="YAML files with any other options of RecBole")
    parser.set_defaults(run=run)


def run(options) -> None:
    """Train with each seed and form; write training.csv, training_summary.csv and training.md.

    Raises
    ------
    OptionError
        An option is not allowed.
    DatasetError
        The data set cannot be found.
    """
    # The paper ends with a whole stage at the target k.
    schedule = PruningSchedule.create("exponential", options.embedding_size, options.k, options.stage_epochs)
    options.epochs = schedule.first_final_epoch + options.stage_epochs
    _check(options)
    device = report.choose_device(options.device)
    report.open_output(options.output)
    ran_on = report.environment(device)
    print(f"Running on {report.environment_line(ran_on)}")
    seeds = list(dict.fromkeys(options.seeds))
    rows = [_train(seed, form, options, device) for seed in seeds for form in _FORMS]
    summaries = _summarise(rows)
    _write(options, seeds, rows, summaries, ran_on)


def _check(options):
    for seed in options.seeds:
        require_whole_number({"seeds": seed}, "seeds", at_least=0)
    if options.rating_at_least is not None:
        require_number({"rating-at-least": options.rating_at_least}, "rating-at-least")
    for file in options.config_files:
        if not os.path.isfile(file):
            raise OptionError(f"config_files: {file} was not found")


def _train(seed, form, options, device):
    config_dict = {
        "embedding_size": options.embedding_size,
        "k": options.k,
        "pruning_schedule": "exponential",
        "restart": True,
        "stage_epochs": options.stage_epochs,
        "epochs": options.epochs,
        "embedding_form": form,
        "seed": seed,
        "data_path": os.path.abspath(options.data_path),
        "use_gpu": device.type == "cuda",
        "metrics": ["NDCG"],
        "topk": [100],
        "valid_metric": "NDCG@100",
        "metric_decimal_place": 6,
        "show_progress": False,
        "state": "WARNING",
    }
    if options.rating_at_least is not None:
        config_dict["load_col"] = {"inter": ["user_id", "item_id", "rating"]}
        config_dict["val_interval"] = {"rating": f"[{options.rating_at_least:g},inf)"}
    config_files = [os.path.abspath(file) for file in options.config_files]
    with _away_from_the_command_line():
        config = Config("SparseELSA", options.dataset, config_file_list=config_files, config_dict=config_dict)
        init_seed(config["seed"], config["reproducibility"])
        train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        model = get_model(config["model"])(config, train_data.dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        n_batches = math.ceil((train_data.dataset.user_num - 1) / config["train_batch_size"])
        with tqdm(total=n_batches * options.epochs, unit="step", desc=f"seed {seed}, {form}: training") as progress:
            trainer.optimizer.register_step_post_hook(lambda *_: progress.update())
            start = time.perf_counter()
            # Without validation data nothing is evaluated, and without saving nothing is written, while the clock runs.
            trainer.fit(train_data, saved=False, show_progress=False)
            # Work may still be queued on the GPU; reading a number waits for it.
            model.item_embedding.weight.sum().item()
            seconds = time.perf_counter() - start
            progress.set_description(f"seed {seed}, {form}: evaluating")
            valid, test = (
                trainer.evaluate(data, load_best_model=False, show_progress=False)["ndcg@100"]
                for data in (valid_data, test_data)
            )
        trainer.tensorboard.close()
    return {
        "dataset": options.dataset,
        "rating_at_least": options.rating_at_least,
        "embedding_size": options.embedding_size,
        "k": options.k,
        "stage_epochs": options.stage_epochs,
        "epochs": options.epochs,
        "embedding_form": form,
        "seed": seed,
        "seconds": seconds,
        "valid_ndcg@100": float(valid),
        "test_ndcg@100": float(test),
    }


@contextlib.contextmanager
def _away_from_the_command_line():
    """Let RecBole see no command line, whose options it would take for its own, and write its logs to a throw-away folder."""
    arguments, folder = sys.argv, os.getcwd()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as throw_away:
        sys.argv = arguments[:1]
        os.chdir(throw_away)
        try:
            yield
        finally:
            sys.argv = arguments
            os.chdir(folder)


def _summarise(rows):
    """One row per form, with medians, means and standard deviations over the seeds."""
    summaries = []
    seconds_of = {form: [row["seconds"] for row in rows if row["embedding_form"] == form] for form in _FORMS}
    for form in _FORMS:
        runs = [row for row in rows if row["embedding_form"] == form]
        summary = {"embedding_form": form, "runs": len(runs), "median_seconds": statistics.median(seconds_of[form])}
        for name in ("seconds", "valid_ndcg@100", "test_ndcg@100"):
            values = [row[name] for row in runs]
            summary[f"{name}_mean"] = statistics.mean(values)
            summary[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
        ratios = [dense / other for dense, other in zip(seconds_of["dense"], seconds_of[form])]
        summary["times_faster"] = statistics.median(ratios)
        summaries.append(summary)
    return summaries


def _readable(summary):
    def mean_and_sd(name, digits):
        mean, sd = summary[f"{name}_mean"], summary[f"{name}_sd"]
        return f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if sd is not None else "")

    return {
        "embedding_form": summary["embedding_form"],
        "median (s)": f"{summary['median_seconds']:.1f}",
        "mean (s)": mean_and_sd("seconds", 1),
        "faster": f"{summary['times_faster']:.1f} x",
        "NDCG@100 validation": mean_and_sd("valid_ndcg@100", 4),
        "NDCG@100 test": mean_and_sd("test_ndcg@100", 4),
    }


def _write(options, seeds, rows, summaries, ran_on):
    table = report.markdown_table([_readable(summary) for summary in summaries])
    filtered = "" if options.rating_at_least is None else f" (ratings of at least {options.rating_at_least:g})"
    explanation = report.paragraph(
        _EXPLANATION,
        filtered=filtered,
        from_files=f" or from {', '.join(options.config_files)}" if options.config_files else "",
        **{**vars(options), "seeds": ", ".join(map(str, seeds))},
    )
    print(f"\n{table}\n\n{explanation}\n")
    file = os.path.join(options.output, "training")
    report.write_csv(f"{file}.csv", [{**row, **ran_on} for row in rows])
    report.write_csv(f"{file}_summary.csv", [{**summary, **ran_on} for summary in summaries])
    ran_on_line = f"Run on {report.environment_line(ran_on)}."
    report.write_text(f"{file}.md", "\n\n".join(["# Whole trainings", table, explanation, ran_on_line]) + "\n")
    print(f"Written: {file}.csv, {file}_summary.csv, {file}.md")
