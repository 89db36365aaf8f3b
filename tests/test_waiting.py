"""No command is silent for long: what it does is on the terminal, and its log lines agree."""

import logging
import os
import sys
from pathlib import Path

import pytest
from conftest import make_config, prepare, write_interactions
from recbole.data import create_dataset, data_preparation
from silence import longest_silence

from recbole_sparse_elsa import output

TOP = Path(__file__).resolve().parent.parent
# A step that takes longer than a command may be silent.
SLOW = """
import time, logging
from recbole_sparse_elsa import output
logging.basicConfig(level="INFO", format="%(message)s")
with output.progress({arguments}):
    time.sleep(1.6)
    logging.info("a line of the log")
    time.sleep(1.6)
print("done")
"""

on_a_terminal = pytest.mark.skipif(os.name == "nt", reason="there are no pseudo terminals")


def run_slowly(arguments):
    return longest_silence([sys.executable, "-c", SLOW.format(arguments=arguments)], {"PYTHONPATH": str(TOP)})


@on_a_terminal
@pytest.mark.parametrize("arguments", ["'Reading'", "'Reading', total=1", "'Reading', 3, 'item', None"])
def test_a_clock_ticks_while_a_single_call_takes_long(arguments):
    silence = run_slowly(arguments)
    assert silence.status == 0
    assert silence.output.count("Reading") >= 2
    # The log has a line of its own, and a step leaves none.
    lines = [line.rpartition("\r")[2] for line in silence.output.replace("\r\n", "\n").splitlines()]
    assert "a line of the log" in lines
    assert lines[-1] == "done"


@on_a_terminal
@pytest.mark.parametrize("arguments", ["'Reading', shown=False", "'Reading', total=1, shown=False"])
def test_nothing_is_shown_where_bars_are_off(arguments):
    assert "Reading" not in run_slowly(arguments).output


def test_without_a_terminal_there_are_bars_but_neither_steps_nor_a_clock(capfd):
    with output.progress("Reading"):
        pass
    with output.progress("Names", 3, "segment", shown=None) as bar:
        bar.update(3)
    assert capfd.readouterr().err == ""
    with output.progress("Regression", total=1) as bar:
        bar.update(1)
    assert "Regression: 100%" in capfd.readouterr().err


@pytest.mark.slow
@on_a_terminal
@pytest.mark.parametrize("model", ["SparseELSA", "EASE"])
def test_a_training_is_never_silent_for_long(model, tmp_path):
    command = [sys.executable, str(TOP / "run_recbole.py"), f"--model={model}", f"--checkpoint_dir={tmp_path}"]
    silence = longest_silence([*command, "--dataset=ml-100k", "--valid_metric=NDCG@10"], {"PYTHONPATH": str(TOP)})
    assert silence.status == 0
    assert silence.seconds < 3, silence.after


def test_the_log_names_one_evaluation_batch_size(checkerboard, caplog):
    with caplog.at_level(logging.INFO):
        config = make_config(checkerboard, "EASE")
        data_preparation(config, create_dataset(config))
    assert caplog.text.count("users at a time") == 1
    assert "[4096]" not in caplog.text
    assert "eval_batch_size" in caplog.text


def test_the_log_keeps_an_evaluation_batch_size_that_was_asked_for(checkerboard, caplog):
    with caplog.at_level(logging.INFO):
        config = make_config(checkerboard, "EASE", eval_batch_size=82)
        data_preparation(config, create_dataset(config))
    assert "users at a time" not in caplog.text
    assert "[82]" in caplog.text


@pytest.mark.parametrize("model", ["SparseELSA", "SparseSLIM"])
def test_the_log_says_once_that_items_have_too_few_users_for_k(model, working_folder, caplog):
    # Six items in three pairs that share users: an item has its own dimension and its partner's, and no more.
    pairs = [(f"u{pair}-{user}", f"i{2 * pair + place}") for pair in range(3) for user in range(10) for place in (0, 1)]
    write_interactions(working_folder / "dataset", "pairs", pairs)
    split = {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "RO", "group_by": "user", "mode": "full"}
    options = {"start_k": 5, "stepwise_k": None, "embedding_size": 6} if model == "SparseELSA" else {}
    run = prepare(model, "pairs", k=4, eval_args=split, topk=[3], valid_metric="NDCG@3", **options)
    with caplog.at_level(logging.INFO):
        run.trainer.fit(run.train_data, saved=False)
    assert run.model.item_embedding.nonzeros().tolist() == [2] * 6
    assert caplog.text.count("That is 2 non-zeros on average, fewer than k = 4: of 6 items 6 have fewer") == 1


def test_the_log_does_not_say_so_where_items_have_k(checkerboard, caplog):
    run = prepare("SparseELSA", checkerboard)
    with caplog.at_level(logging.INFO):
        run.trainer.fit(run.train_data, run.valid_data, saved=False)
    assert "fewer than k" not in caplog.text
