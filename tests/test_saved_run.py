"""A saved run: what a training left, each part loaded once, and what ``run`` and ``load`` give a program."""

import copy
import os

import pytest
import torch
from conftest import SMALL, prepare
from recbole.data.dataset import Dataset
from recbole.quick_start import load_data_and_model
from test_trainer import SPARSE, killed_in_epoch

import recbole_sparse_elsa
from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.commands._source import open_source
from recbole_sparse_elsa.errors import CheckpointError, OptionError
from recbole_sparse_elsa.model.recipe import Recipe
from recbole_sparse_elsa.runs import SavedRun, saved_run
from recbole_sparse_elsa.training.checkpoint import read_checkpoint, write_checkpoint


@pytest.fixture
def checkpoint(checkerboard):
    run = prepare("SparseELSA", checkerboard)
    run.trainer.fit(run.train_data, run.valid_data)
    run.trainer.evaluate(run.test_data)  # which loads the best epoch into the model
    return run


def counted(monkeypatch, module, name, calls):
    original = getattr(module, name)

    def function(*args, **kwargs):
        calls.append(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, function)


def test_checkpoint_and_data_are_each_loaded_once_for_all_that_is_asked(checkpoint, monkeypatch):
    calls = []
    for name in ("read_checkpoint", "filter_data", "split_data"):
        counted(monkeypatch, saved_run, name, calls)
    source = open_source(checkpoint.trainer.saved_model_file)
    assert source.history_of("u4") and source.histories and source.index.n_items == 40
    assert source.make_index("int8").encoding == "int8" and source.model.recipe == source.recipe
    assert source.item_file is None and source.dataset == "checkerboard" and source.item_id_field == "item_id"
    assert calls == ["read_checkpoint", "filter_data", "split_data"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["index", "CHECKPOINT", "--output", "made.index"],
        ["segments", "CHECKPOINT", "--output", "made.json"],
        ["explore", "CHECKPOINT", "--export", "page", "--users", "2"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_unpickles_the_checkpoint_once_and_reads_the_data_once(checkpoint, monkeypatch, arguments):
    calls = []
    counted(monkeypatch, torch, "load", calls)
    counted(monkeypatch, Dataset, "_from_scratch", calls)
    main([checkpoint.trainer.saved_model_file if argument == "CHECKPOINT" else argument for argument in arguments])
    assert calls == ["load", "_from_scratch"]


def test_histories_are_all_items_of_each_user_in_the_order_of_the_file(checkpoint, checkerboard):
    source = SavedRun(checkpoint.trainer.saved_model_file)
    assert source.index.n_items == 40  # the data are split before the histories are asked for
    with open(os.path.join("dataset", checkerboard, f"{checkerboard}.inter")) as file:
        pairs = [line.rstrip("\n").split("\t") for line in file][1:]
    for user in ("u0", "u7", "u59"):
        assert source.history_of(user) == [item for owner, item in pairs if owner == user]
    with pytest.raises(OptionError, match="user is u60, but data set checkerboard does not have such a user"):
        source.history_of("u60")


def test_the_model_is_the_one_that_was_saved(checkpoint):
    source = SavedRun(checkpoint.trainer.saved_model_file)
    users = {"user_id": checkpoint.test_data.uid_list}
    assert source.model.full_sort_predict(users).equal(checkpoint.model.full_sort_predict(users))
    assert source.model_name == "SparseELSA"


def test_the_options_of_the_checkpoint_stay_what_they_were(checkpoint):
    before = copy.deepcopy(read_checkpoint(checkpoint.trainer.saved_model_file)["config"].final_config_dict)
    source = SavedRun(checkpoint.trainer.saved_model_file, data_path="dataset")
    assert source.index.n_items == 40
    assert {**source.config.final_config_dict, **before} == before
    assert source.config["data_path"] == os.path.join("dataset", "checkerboard")


def test_the_recipe_is_saved_with_the_model(checkerboard):
    options = {"embedding_size": "auto", "start_k": "auto", "popularity_scale": 0.25, "k": 2, "restart": False}
    run = prepare("SparseELSA", checkerboard, **options)
    run.trainer.fit(run.train_data, run.valid_data)
    saved = SavedRun(run.trainer.saved_model_file)
    assert saved.config["embedding_size"] == "auto"  # what was asked for
    assert saved.recipe == run.model.recipe == saved.model.recipe
    assert saved.index.scales_input == run.model.recipe.scales_input


def test_a_checkpoint_without_a_recipe_has_its_choices_in_its_options(checkpoint):
    """Version 0.1.0 wrote them there."""
    file = checkpoint.trainer.saved_model_file
    old = read_checkpoint(file)
    del old["other_parameter"]["recipe"]
    old["config"]["scale_input"], old["config"]["start"] = True, "neighbours"
    write_checkpoint(old, file)
    source = SavedRun(file)
    assert source.recipe == Recipe(16, "dense", None, True) and source.model.item_embedding.scales_input
    assert source.model.recipe.embedding_size == 16


def test_what_is_no_checkpoint_is_refused(working_folder):
    (working_folder / "some.pth").write_text("no checkpoint")
    with pytest.raises(CheckpointError, match="some.pth cannot be read"):
        SavedRun("some.pth")


def test_a_program_trains_loads_and_recommends(checkerboard):
    options = {**SMALL, "k": 4, "stage_epochs": 1, "epochs": 4}
    result = recbole_sparse_elsa.run("SparseELSA", checkerboard, options=options)
    assert result["test_result"]["recall@10"] > 0.9
    saved = recbole_sparse_elsa.load(result["saved_model_file"])
    items = saved.index.recommend(["i0", "i2", "i4"], 5).items
    assert all(int(item[1:]) % 2 == 0 for item in items)


def test_options_may_name_the_model_and_the_data_set(checkerboard):
    options = {"show_progress": False, "state": "ERROR", "model": "UserKNN", "dataset": checkerboard}
    saved = recbole_sparse_elsa.load(recbole_sparse_elsa.run(options=options)["saved_model_file"])
    assert (saved.model_name, saved.dataset) == ("UserKNN", checkerboard)


def test_a_run_on_two_processes_names_its_model_too(checkerboard):
    code = f"""
import recbole_sparse_elsa
if __name__ == "__main__":
    options = {{**{SMALL!r}, "k": 4, "stage_epochs": 1, "epochs": 4}}
    result = recbole_sparse_elsa.run("SparseELSA", {checkerboard!r}, options=options, nproc=2, port="5681")
    print(recbole_sparse_elsa.load(result["saved_model_file"]).index.n_items)
"""
    with open("program.py", "w") as file:
        file.write(code)
    import subprocess
    import sys

    top = os.path.dirname(os.path.dirname(recbole_sparse_elsa.__file__))
    result = subprocess.run(
        [sys.executable, "program.py"],
        env={**os.environ, "PYTHONPATH": top},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "40"


# Other data than those of the training


def test_a_model_of_the_same_data_in_another_order_of_lines_is_refused(checkpoint, checkerboard):
    file = checkpoint.trainer.saved_model_file
    inter = os.path.join("dataset", checkerboard, f"{checkerboard}.inter")
    with open(inter) as opened:
        header, *lines = opened.read().splitlines()
    with open(inter, "w") as opened:
        opened.write("\n".join([header, *sorted(lines, reverse=True)]) + "\n")
    said = "was trained on other data: it has the users in another order, or others and the items in another order"
    with pytest.raises(CheckpointError, match=said):
        SavedRun(file).make_index()
    for command in (["index", file, "--output", "a.index"], ["segments", file, "--output", "s.json"]):
        with pytest.raises(SystemExit, match=said):
            main(command)
    with pytest.raises(CheckpointError, match=said):
        load_data_and_model(file)
    assert not os.path.exists("a.index") and not os.path.exists("s.json")


def test_the_state_of_an_unfinished_training_is_no_model(checkerboard):
    resume_file = killed_in_epoch(prepare("SparseELSA", checkerboard, **SPARSE), 3)
    best = resume_file.replace("-resume", "")
    with pytest.raises(CheckpointError, match=f"not finished, .*--resume={resume_file}, or use its best .*{best}"):
        SavedRun(resume_file)
    os.remove(best)
    with pytest.raises(CheckpointError, match=f"go on with --resume={resume_file}$"):
        SavedRun(resume_file)


def test_a_training_does_not_go_on_with_other_interactions(checkerboard):
    resume_file = killed_in_epoch(prepare("SparseELSA", checkerboard, **SPARSE), 3)
    inter = os.path.join("dataset", checkerboard, f"{checkerboard}.inter")
    with open(inter, "a") as opened:
        opened.write("u0\ti1\n")
    with pytest.raises(CheckpointError, match=f"{resume_file} was trained on other data: it has other training inter"):
        prepare("SparseELSA", checkerboard, **SPARSE, resume=resume_file)


def test_recboles_own_models_are_refused_other_data_too(checkerboard):
    run = prepare("BPR", checkerboard, epochs=1)
    run.trainer.fit(run.train_data, run.valid_data)
    assert load_data_and_model(run.trainer.saved_model_file)
    inter = os.path.join("dataset", checkerboard, f"{checkerboard}.inter")
    with open(inter) as opened:
        header, *lines = opened.read().splitlines()
    with open(inter, "w") as opened:
        opened.write("\n".join([header, *lines[::-1]]) + "\n")
    with pytest.raises(CheckpointError, match="the checkpoint was trained on other data"):
        load_data_and_model(run.trainer.saved_model_file)
