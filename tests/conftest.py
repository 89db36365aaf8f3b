"""What the tests share: an empty working folder, a toy data set, and a model with its data and trainer."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import recbole_sparse_elsa  # noqa: F401  (first, because RecBole cannot be imported without it)
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed


def pytest_configure(config):
    """Hide CUDA devices, on which sums are not the same in every run, from all tests but those that are about them."""
    if config.option.markexpr != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """An empty working folder, since RecBole writes checkpoints and logs there, and a command line without options."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    return tmp_path


def write_interactions(folder, name, interactions):
    """Write (user, item) pairs as the RecBole data set ``folder/name``."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token", *(f"{user}\t{item}" for user, item in interactions)]
    (folder / name / f"{name}.inter").write_text("\n".join(lines) + "\n")


@pytest.fixture
def checkerboard(working_folder):
    """60 users x 40 items: even users like even items and odd users odd ones, three quarters of them each."""
    interactions = [
        (f"u{user}", f"i{item}")
        for user in range(60)
        for item in range(user % 2, 40, 2)
        if (item // 2 + user // 2) % 4 != 0
    ]
    write_interactions(working_folder / "dataset", "checkerboard", interactions)
    return "checkerboard"


@pytest.fixture
def random_dataset(working_folder):
    """50 users x 30 items without structure, so that hardly any two scores are equal."""
    random = np.random.default_rng(0)
    likes = random.random((50, 30)) < random.random(30) * 0.5 + 0.1
    write_interactions(working_folder / "dataset", "random", [(f"u{u}", f"i{i}") for u, i in np.argwhere(likes)])
    return "random"


SMALL = {
    "embedding_size": 16,
    "epochs": 12,
    "train_batch_size": 16,
    "show_progress": False,
    "state": "WARNING",
}


def prepare(model, dataset, **options):
    """The pieces that ``run_recbole`` puts together, for ``options`` on top of small ones."""
    if model == "SparseELSA":
        simple = {
            "start_k": None,
            "popularity_exponent": 0.0,
            "popularity_scale": 0.0,
            "learning_rate_decay": False,
            "restart": True,
        }
        options = {"k": 4, "stage_epochs": 2, **simple, **options}
    config = Config(model=model, dataset=dataset, config_dict={**SMALL, **options})
    init_seed(config["seed"], config["reproducibility"])
    data = create_dataset(config)
    train_data, valid_data, test_data = data_preparation(config, data)
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train_data.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return SimpleNamespace(
        config=config,
        dataset=data,
        train_data=train_data,
        valid_data=valid_data,
        test_data=test_data,
        model=model,
        trainer=trainer,
    )
