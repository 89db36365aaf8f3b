"""Data sets and data loaders that an earlier run saved."""

import os

import pytest
import recbole
import torch
from conftest import features, make_config, write_interactions
from recbole.data import create_dataset, data_preparation

from recbole_sparse_elsa.errors import OutputError

pytestmark = pytest.mark.usefixtures("root_logger")


def sizes(config):
    dataset = create_dataset(config)
    return [len(loader.dataset) for loader in data_preparation(config, dataset)]


def test_a_saved_dataset_is_split_as_this_run_asks():
    assert sizes(make_config("ml-100k", save_dataset=True)) == [80808, 9596, 9596]
    leave_one_out = {"split": {"LS": "valid_and_test"}}
    assert sizes(make_config("ml-100k", eval_args=leave_one_out)) == [98114, 943, 943]


def test_a_saved_dataset_of_other_files_is_not_used(working_folder, checkerboard):
    first = create_dataset(make_config(checkerboard, save_dataset=True))
    write_interactions(working_folder / "other", checkerboard, [(user, item) for user in "ab" for item in "cde"])
    other = create_dataset(make_config(checkerboard, data_path="other", save_dataset=True))
    assert (first.user_num, other.user_num, other.inter_num) == (61, 3, 6)
    config = make_config(checkerboard, data_path="other")
    assert create_dataset(config).inter_num == 6
    os.remove("other/checkerboard/checkerboard.inter")
    again = create_dataset(make_config(checkerboard, data_path="other"))  # now it can only be the saved one
    assert again.inter_num == 6


def test_a_saved_dataset_taken_along_without_its_files(checkerboard):
    create_dataset(make_config(checkerboard, save_dataset=True))
    os.rename("saved", "taken")
    os.rename("dataset", "gone")
    path = "taken/checkerboard-Dataset.pth"
    config = make_config(checkerboard, data_path="none", dataset_save_path=path)
    dataset = create_dataset(config)
    assert dataset.user_num == 61 and dataset.config is config


@pytest.mark.parametrize("option, value", [("numerical_features", ["rating"]), ("encoding", "latin-1")])
def test_a_saved_dataset_with_other_options_is_not_used(toy, option, value):
    create_dataset(make_config(toy, load_col=None, save_dataset=True))
    changed = make_config(toy, load_col=None, **{option: value})
    fresh = features(changed)
    os.remove("saved/toy-Dataset.pth")
    assert fresh == features(changed)


@pytest.mark.parametrize("option", ["train_batch_size", "eval_batch_size"])
def test_saved_data_loaders_have_this_run_s_batches(checkerboard, option):
    options = {"train_batch_size": 100, "eval_batch_size": 410}
    for value in (100, 200):
        config = make_config(checkerboard, **{**options, option: value}, save_dataloaders=True)
        train_data, _, test_data = data_preparation(config, create_dataset(config))
        found = train_data.batch_size if option == "train_batch_size" else test_data.batch_size
        assert found == (value if option == "train_batch_size" else value // 41)


def test_saved_data_loaders_are_used_where_nothing_changed(checkerboard):
    config = make_config(checkerboard, save_dataloaders=True)
    saved, _, _ = data_preparation(config, create_dataset(config))
    again = make_config(checkerboard)
    loaded, _, _ = recbole.data.load_split_dataloaders(again)
    assert torch.equal(loaded.dataset.inter_feat["item_id"], saved.dataset.inter_feat["item_id"])
    assert loaded.config is loaded.dataset.config is again


def test_saved_data_that_find_no_room_end_in_one_line_and_leave_the_old_ones(checkerboard, monkeypatch):
    create_dataset(make_config(checkerboard, save_dataset=True))
    before = open(f"saved/{checkerboard}-Dataset.pth", "rb").read()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pickle.dump", full)
    for option in ("save_dataset", "save_dataloaders"):
        config = make_config(checkerboard, train_batch_size=7, val_interval=None, **{option: True})
        config["seed"] = 5
        with pytest.raises(OutputError, match=r"saved/checkerboard-.*\.pth cannot be written: No space left on device"):
            data_preparation(config, create_dataset(config))
    assert os.listdir("saved") == [f"{checkerboard}-Dataset.pth"]
    assert open(f"saved/{checkerboard}-Dataset.pth", "rb").read() == before
