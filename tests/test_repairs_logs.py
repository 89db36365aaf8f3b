"""The log of each run."""

import glob
import logging
import re
import sys

import pytest
from conftest import QUIET, make_config
from recbole.config import Config
from recbole.data import create_dataset
from recbole.quick_start import run_recbole
from recbole.utils import init_logger

pytestmark = pytest.mark.usefixtures("root_logger")


def log_files(model):
    return sorted(glob.glob(f"log/{model}/*.log"))


def test_each_run_has_its_own_log(checkerboard):
    for model in ("Pop", "EASE"):
        run_recbole(model=model, dataset=checkerboard, config_dict={"show_progress": False}, saved=False)
    for model, other in (("Pop", "EASE"), ("EASE", "Pop")):
        (path,) = log_files(model)
        with open(path) as file:
            text = file.read()
        assert "test result" in text and f"{model}()" in text
        assert f"{other}()" not in text
        assert any(folder.startswith(f"log_tensorboard/{model}-") for folder in glob.glob("log_tensorboard/*"))


def test_a_program_s_own_log_handler_stays(checkerboard, root_logger):
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    root_logger.addHandler(handler)
    for model in ("Pop", "EASE"):
        init_logger(make_config(checkerboard, model, state="INFO"))
        logging.getLogger().info(f"hello from {model}")
        with open(log_files(model)[0]) as file:
            assert f"hello from {model}" in file.read()
    assert [record for record in records if "hello" in record] == ["hello from Pop", "hello from EASE"]
    assert handler in root_logger.handlers
    root_logger.removeHandler(handler)


def test_runs_do_not_pile_up_on_the_logger_and_the_output(checkerboard, root_logger):
    config = make_config(checkerboard)
    init_logger(config)
    handlers, stdout = len(root_logger.handlers), sys.stdout
    for _ in range(5):
        init_logger(config)
    assert len(root_logger.handlers) == handlers and sys.stdout is stdout


def test_users_and_items_are_logged_without_the_padding(checkerboard):
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(create_dataset(Config("Pop", checkerboard, config_dict=QUIET))))
    assert "The number of users: 60\n" in text and "The number of items: 40\n" in text
    assert "The number of inters: 900\n" in text and "The sparsity of the dataset: 62.5%\n" in text
