"""Small data sets whose training, validation and test part are given, and the scores of a model trained on them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import get_model, get_trainer, init_seed

import recbole_sparse_elsa  # noqa: F401  (changes RecBole as it is imported)

SMALL = {
    "benchmark_filename": ["train", "valid", "test"],
    "metrics": ["NDCG", "Recall"],
    "valid_metric": "NDCG@10",
    "stopping_step": 1000,
    "show_progress": False,
    "state": "ERROR",
}


def write_parts(name, train, valid, test):
    """Write the data set ``dataset/name`` in three files of (user, item) lines, users and items being numbers."""
    folder = Path("dataset") / name
    folder.mkdir(parents=True)
    for part, pairs in (("train", train), ("valid", valid), ("test", test)):
        lines = ["user_id:token\titem_id:token", *(f"u{user}\ti{item}" for user, item in pairs)]
        (folder / f"{name}.{part}.inter").write_text("\n".join(lines) + "\n")
    return name


def fit(model, dataset, **options):
    """Train a model by RecBole's pieces, on top of small options, and evaluate it at its best epoch."""
    config = Config(model=model, dataset=dataset, config_dict={**SMALL, **options})
    init_seed(config["seed"], config["reproducibility"])
    data = create_dataset(config)
    train_data, valid_data, test_data = data_preparation(config, data)
    init_seed(config["seed"], config["reproducibility"])
    recommender = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, recommender)
    trainer.fit(train_data, valid_data, show_progress=False)
    figures = trainer.evaluate(test_data)
    return SimpleNamespace(
        config=config,
        dataset=data,
        train_data=train_data,
        valid_data=valid_data,
        test_data=test_data,
        model=recommender,
        trainer=trainer,
        figures=figures,
    )


def ids(run, pairs):
    """RecBole's numbers of (user, item) pairs, shape (n, 2)."""
    user_ids, item_ids = (run.dataset.field2token_id[field] for field in ("user_id", "item_id"))
    return np.array([(user_ids[f"u{user}"], item_ids[f"i{item}"]) for user, item in pairs]).reshape(-1, 2)


def matrix_of(run, pairs):
    """The 0/1 matrix of pairs in double precision, with the rows and columns of the padding, which are 0."""
    matrix = np.zeros((run.dataset.user_num, run.dataset.item_num))
    matrix[tuple(ids(run, pairs).T)] = 1
    return matrix


def scores_at_once(run, batch_size=None):
    """Scores of all items for all users but the padding, by full_sort_predict; None where a model has none."""
    if type(run.model).full_sort_predict is AbstractRecommender.full_sort_predict:
        return None
    users = torch.arange(1, run.dataset.user_num)
    with torch.no_grad():
        parts = [
            run.model.full_sort_predict(Interaction({"user_id": part})).view(len(part), -1)
            for part in users.split(batch_size or len(users))
        ]
    return torch.cat(parts).double().numpy()


def scores_one_by_one(run):
    """The same scores by predict."""
    n_users, n_items = run.dataset.user_num, run.dataset.item_num
    pairs = {
        "user_id": torch.arange(1, n_users).repeat_interleave(n_items),
        "item_id": torch.arange(n_items).repeat(n_users - 1),
    }
    with torch.no_grad():
        return run.model.predict(Interaction(pairs)).view(n_users - 1, n_items).double().numpy()
