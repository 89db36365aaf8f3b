"""What the tests share: an empty working folder, a toy data set, and a model with its data and trainer."""

import logging
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings

import recbole_sparse_elsa  # noqa: F401  (before RecBole, of which not everything can be imported without it)

# isort: split
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from recbole_sparse_elsa.core import UserHistories

# The same examples in every run, so that a run can be repeated; others with pytest --hypothesis-profile=explore.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("repeatable")


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
            "length_exponent": 0.0,
            "noise_variance": 0.0,
            "learning_rate": 0.05,
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


def histories_of(rows):
    """The UserHistories of 0/1 rows (users x items)."""
    matrix = rows.to_sparse_csr()
    return UserHistories(matrix.crow_indices(), matrix.col_indices(), rows.shape[1])


QUIET = {"show_progress": False, "state": "WARNING"}


def make_config(dataset, model="BPR", **options):
    return Config(model=model, dataset=dataset, config_dict={**QUIET, **options})


def check_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.fixture
def root_logger():
    """Takes away the log handlers that a test's runs leave behind."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


TOY = {
    "toy.inter": """
        user_id:token item_id:token rating:float place:token tags:token_seq weights:float_seq
        u1 i1 4 home a_b 0.5_1
        u1 i2 _ work _ 2
        u2 i1 2 _ b _
        u2 i3 5 home c_a_b 1_2_3
        u3 i2 _ _ _ _
        u3 i4 1 work a 4_0.5
    """,
    "toy.user": """
        user_id:token age:float city:token hobbies:token_seq vector:float_seq
        u1 30 Brno chess_skiing 1_2
        u2 _ _ _ _
        u3 50 Praha chess 3
    """,
    "toy.item": """
        item_id:token price:float brand:token genre:token_seq embedding:float_seq
        i2 10 x drama_war 0.1_0.2
        i1 _ y war _
        i4 40 _ _ 0.4
        i3 20 x comedy 0.3_0.6
    """,
}


def write_files(folder, files):
    """Write tables whose cells are divided by spaces; "_" is a gap, and within a cell divides a sequence."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        head, *rows = [line.split() for line in text.strip().splitlines()]
        rows = [["" if cell == "_" else cell.replace("_", " ") for cell in row] for row in rows]
        (folder / name).write_text("\n".join("\t".join(row) for row in [head, *rows]) + "\n")


@pytest.fixture
def toy(working_folder):
    """Six interactions of three users and four items, with gaps in fields of every type."""
    write_files(working_folder / "dataset" / "toy", TOY)
    return "toy"


def features(config):
    dataset = create_dataset(config)
    dataset._change_feat_format()
    tables = [getattr(dataset, name) for name in dataset.feat_name_list]
    return [{field: table[field].tolist() for field in table} for table in tables]
