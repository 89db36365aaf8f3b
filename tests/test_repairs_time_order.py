"""The order of time, in the precision of the file. What each split makes of it is in the audit."""

import numpy as np
import pytest
import torch
from conftest import make_config, prepare
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.quick_start import run_recbole

from recbole_sparse_elsa.errors import DatasetError

pytestmark = pytest.mark.usefixtures("root_logger")
BY_TIME = {"order": "TO", "split": {"LS": "valid_and_test"}, "group_by": "user"}


@pytest.fixture
def a_second_apart(working_folder):
    """20 users with 10 items each, one second apart, the newest line first: i9 is each one's last; and another item."""
    folder = working_folder / "dataset" / "seconds"
    folder.mkdir(parents=True)
    lines = [f"u{u}\ti{i}\t{1_600_000_000 + 10 * u + i}\n" for u in range(20) for i in range(10)]
    lines.insert(0, "u20\ti10\t1500000000\n")
    (folder / "seconds.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(lines[::-1]))
    return "seconds"


def items_of(dataset, part):
    return dataset.id2token("item_id", part.inter_feat["item_id"].numpy()).tolist()


@pytest.mark.parametrize("options", [{}, {"load_col": None}, {"load_col": None, "normalize_all": True}])
def test_the_last_item_is_tested(a_second_apart, options):
    dataset = create_dataset(make_config(a_second_apart, eval_args=BY_TIME, **options))
    parts = dataset.build()
    assert items_of(dataset, parts[2]) == ["i9"] * 20
    assert items_of(dataset, parts[1]) == ["i8"] * 20


def test_times_stay_float64_and_are_not_read_into_batches_otherwise(a_second_apart):
    dataset = create_dataset(make_config(a_second_apart, load_col=None, eval_args=BY_TIME))
    train, *_ = dataset.build()
    assert train.inter_feat["timestamp"].dtype == torch.float64
    assert train.inter_feat["timestamp"].max() == 1_600_000_000 + 10 * 19 + 7
    assert list(vars(train.inter_feat)) == list(vars(Interaction({"x": torch.zeros(1)})))
    dataset = create_dataset(make_config(a_second_apart, eval_args=BY_TIME))
    assert list(dataset.build()[0].inter_feat) == ["user_id", "item_id"]


def test_a_saved_dataset_without_times_is_made_again(a_second_apart):
    create_dataset(make_config(a_second_apart, save_dataset=True))
    dataset = create_dataset(make_config(a_second_apart, eval_args=BY_TIME))
    assert items_of(dataset, dataset.build()[2]) == ["i9"] * 20


def test_a_dataset_that_is_made_again_replaces_the_saved_one_if_asked_for(a_second_apart, working_folder):
    create_dataset(make_config(a_second_apart, save_dataset=True))
    (saved,) = (working_folder / "saved").glob("*Dataset.pth")
    without_times = saved.read_bytes()
    create_dataset(make_config(a_second_apart, eval_args=BY_TIME))
    assert saved.read_bytes() == without_times
    create_dataset(make_config(a_second_apart, eval_args=BY_TIME, save_dataset=True))
    assert b"times_of_the_file" in saved.read_bytes()


def test_a_saved_dataset_whose_files_are_gone_has_times_or_is_refused(a_second_apart, working_folder):
    config = make_config(a_second_apart, eval_args=BY_TIME)
    dataset = create_dataset(make_config(a_second_apart))
    dataset.config = config
    with pytest.raises(DatasetError, match="has no field timestamp, which order TO of eval_args needs"):
        dataset._change_feat_format()


def test_weights_by_time_see_the_order_of_the_file(a_second_apart):
    model = prepare("DiffRec", a_second_apart, epochs=1, eval_args=BY_TIME, **{"time-aware": True}).model
    weights = model.history_item_value.numpy()[1:21, :8]  # in the order of time
    assert (np.diff(weights, axis=1) > 0).all()
    dataset = prepare("EASE", a_second_apart, eval_args=BY_TIME).dataset
    items = dataset.id2token("item_id", model.history_item_id[1:21, :8])
    assert items.tolist() == [[f"i{place}" for place in range(8)]] * 20


@pytest.mark.parametrize(
    "model, options",
    [
        ("BPR", {"load_col": None}),
        ("SASRec", {"load_col": None, "normalize_all": True, "train_neg_sample_args": None}),
        ("GRU4Rec", {"train_neg_sample_args": None}),
    ],
)
def test_models_run_with_times_and_without(a_second_apart, model, options):
    config = {"epochs": 1, "show_progress": False, "state": "WARNING", "eval_args": BY_TIME, "topk": [3]}
    config["valid_metric"] = "MRR@3"
    result = run_recbole(model=model, dataset=a_second_apart, config_dict={**config, **options}, saved=False)
    assert "recall@3" in result["test_result"]


@pytest.mark.parametrize("more", [{}, {"discretization": {"timestamp": {"method": "ED", "bucket": 3}}}])
def test_times_as_a_feature_keep_the_order_of_the_file(a_second_apart, more):
    options = {"numerical_features": ["timestamp"], "eval_args": {**BY_TIME, "mode": "full"}, **more}
    options.update(metrics=["Recall"], valid_metric="Recall@10", load_col=None)
    dataset = create_dataset(make_config(a_second_apart, "FM", **options))
    parts = dataset.build()
    assert items_of(dataset, parts[2]) == ["i9"] * 20
    assert parts[0].inter_feat["timestamp"].shape[1] == 2
