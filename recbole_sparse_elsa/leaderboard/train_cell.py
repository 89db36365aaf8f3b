"""Trains and evaluates one cell of a leaderboard, in a process of its own.

Run as ``python -m recbole_sparse_elsa.leaderboard.train_cell``, with the cell as JSON on the standard input. A process
for each cell keeps their peak memory apart, and what kills one (such as a lack of memory) leaves the others standing.
"""

import json
import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

import pandas
import scipy
import torch
from recbole.config import Config
from recbole.utils import init_logger

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import in_one_line
from recbole_sparse_elsa.evaluation.per_user import evaluate_per_user
from recbole_sparse_elsa.evaluation.protocol import DataCounts, describe_protocol, evaluated_users
from recbole_sparse_elsa.leaderboard.parallel import FAILED
from recbole_sparse_elsa.leaderboard.user_metrics import write_user_metrics
from recbole_sparse_elsa.machine import environment
from recbole_sparse_elsa.machine.memory import peak_memory
from recbole_sparse_elsa.machine.processes import end_with
from recbole_sparse_elsa.plugin import own_models
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line, create_trainer, filter_data, split_data


def train_cell(
    model: str, dataset: str, seed: int, options: Mapping[str, Any], data_path: str, folder: str
) -> None:
    """Train and evaluate, and leave ``per_user.parquet`` and then ``result.json`` in the folder.

    Parameters
    ----------
    model, dataset : str
        RecBole's name of the model, or the file and the class of a user's own, and the data set.
    seed : int
        RecBole's seed.
    options : dict
        RecBole's options.
    data_path : str
        Folder that holds the data set's.
    folder : str
        The cell's folder.
    """
    folder = os.path.abspath(folder)
    work = os.path.join(folder, "work")
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    os.makedirs(work)
    options = {**options, "seed": seed, "data_path": data_path, "show_progress": False}
    try:
        with away_from_the_command_line(work):
            config = Config(model, dataset, config_dict=options)
            init_logger(config)
            logging.getLogger().info(config)
            result, per_user = _train_and_evaluate(config)
    finally:
        logging.shutdown()  # closes RecBole's log, which Windows could not remove otherwise
        shutil.rmtree(work, ignore_errors=True)
    output.write_file(os.path.join(folder, "per_user.parquet"), lambda file: write_user_metrics(per_user, file))
    output.write_text(os.path.join(folder, "result.json"), json.dumps(result, indent=2, allow_nan=False) + "\n")


def _train_and_evaluate(config):
    dataset = filter_data(config)
    protocol = describe_protocol(config, DataCounts.of(dataset))
    data = split_data(config, dataset)
    # Some models, such as EASE, are trained when they are created.
    start = time.perf_counter()
    trainer = create_trainer(config, data.train_data)
    _, valid = trainer.fit(data.train_data, data.valid_data, show_progress=False)
    _wait_for(config["device"])
    train_seconds = time.perf_counter() - start
    start = time.perf_counter()
    test, per_user = evaluate_per_user(trainer, data.test_data)
    evaluation_seconds = time.perf_counter() - start
    trainer.tensorboard.close()
    result = {
        "valid": {metric: float(value) for metric, value in (valid or {}).items()},
        "test": {metric: float(value) for metric, value in test.items()},
        "train_seconds": train_seconds,
        "evaluation_seconds": evaluation_seconds,
        "peak_memory_bytes": peak_memory(config["device"]),
        "bytes_per_item": _bytes_per_item(trainer.model),
        "protocol": protocol,
        "recipe": _recipe(trainer.model),
        "refit_epochs": trainer.config["refit_epochs"],
        "valid_users": evaluated_users(data.valid_data),
        "test_users": evaluated_users(data.test_data),
        **environment.environment(config["device"]),
        "scipy": scipy.__version__,
        "pandas": pandas.__version__,
    }
    return result, per_user


def _wait_for(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def _recipe(model):
    """How a model was made, or what it is if it is a user's own."""
    if hasattr(model, "recipe_in_words"):
        return model.recipe_in_words()
    own = own_models.registered(type(model).__name__)
    return "" if own is None else own_models.in_words(own)


def _bytes_per_item(model):
    """Bytes per item of the item embeddings or item-item weights; None where not known."""
    if hasattr(model, "bytes_per_item"):
        return float(model.bytes_per_item())
    if type(model).__name__ == "EASE":
        return 4.0 * (model.n_items - 1)  # a float32 row of the item-item matrix, without RecBole's padding item
    return None


def main() -> None:
    """Train the cell that the standard input describes; what goes wrong is printed with its traceback, then in a line.

    The line begins with ``FAILED``, by which it is found before whatever libraries print after it.
    """
    task = json.load(sys.stdin)
    for pid in task["end_with"]:
        end_with(pid)
    torch.set_num_threads(task["threads"])
    try:
        train_cell(**task["cell"])
    except Exception as error:
        traceback.print_exc()
        print(f"{FAILED}{in_one_line(error)}", file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
