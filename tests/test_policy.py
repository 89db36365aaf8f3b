"""What is refused before any data are read."""

import sys
import types

import pytest
from conftest import check_one_line, make_config
from recbole.model.general_recommender import BPR
from recbole.quick_start import run_recbole
from recbole.trainer import Trainer
from recbole.utils import get_model

from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.plugin.policy import RECBOLE_LEARNERS, known_models

pytestmark = pytest.mark.usefixtures("root_logger")


def test_unknown_learner_is_refused(checkerboard):
    with pytest.raises(OptionError) as caught:
        make_config(checkerboard, learner="nadam")
    check_one_line(caught, "learner is nadam", "adam, adamw, sgd, adagrad, rmsprop, sparse_adam", "BPR")


@pytest.mark.parametrize("learner", [*RECBOLE_LEARNERS, "Adam", "AdamW"])
def test_recbole_learners_are_allowed(checkerboard, learner):
    assert make_config(checkerboard, learner=learner)["learner"] == learner


def test_learner_that_the_trainer_adds_is_allowed(checkerboard, monkeypatch):
    monkeypatch.setattr(Trainer, "additional_learners", ("lion",), raising=False)
    assert make_config(checkerboard, learner="lion")["learner"] == "lion"
    with pytest.raises(OptionError, match="lion"):
        make_config(checkerboard, learner="tiger")


@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), float("inf"), "fast", True, [0.1]])
def test_learning_rate_must_be_positive(checkerboard, rate):
    with pytest.raises(OptionError) as caught:
        make_config(checkerboard, learning_rate=rate)
    check_one_line(caught, f"learning_rate is {rate}", "above 0")


def test_clipping_scaled_gradients_is_refused(checkerboard):
    with pytest.raises(OptionError) as caught:
        make_config(checkerboard, clip_grad_norm={"max_norm": 1}, enable_scaler=True)
    check_one_line(caught, "clip_grad_norm is {'max_norm': 1}", "enable_scaler is True")
    make_config(checkerboard, clip_grad_norm={"max_norm": 1})
    make_config(checkerboard, enable_scaler=True)


@pytest.mark.parametrize("model", ["BPR", "EASE"])
def test_threshold_is_refused_where_it_does_nothing(model):
    with pytest.raises(OptionError) as caught:
        make_config("ml-100k", model, threshold={"rating": 4})
    check_one_line(caught, "threshold is {'rating': 4}", 'val_interval: {rating: "[4,inf)"}')


def test_threshold_is_allowed_where_it_counts():
    make_config("ml-100k", threshold={"rating": 4}, metrics=["AUC"], valid_metric="AUC", eval_args={"mode": "labeled"})
    make_config("ml-100k", "FM", threshold={"rating": 4})


@pytest.mark.parametrize(
    "options, missing",
    [
        ({}, "none.inter"),
        ({"benchmark_filename": ["train", "test"]}, "none.train.inter"),
    ],
)
def test_missing_dataset(working_folder, checkerboard, options, missing):
    with pytest.raises(DatasetError) as caught:
        make_config("none", **options)
    check_one_line(
        caught,
        "data set none not found",
        str(working_folder / "dataset" / "none" / missing),
        f"data sets in {working_folder / 'dataset'} (option data_path): checkerboard;",
        "ml-100k comes with RecBole",
        "#2218",
    )


def test_missing_file_of_a_dataset(working_folder, checkerboard):
    (working_folder / "dataset" / "half").mkdir()
    (working_folder / "dataset" / "half" / "half.train.inter").write_text("user_id:token\titem_id:token\n")
    with pytest.raises(DatasetError) as caught:
        make_config("half", benchmark_filename=["train", "valid", "test"])
    check_one_line(caught, "half.valid.inter", "half.test.inter")
    assert "half.train.inter" not in str(caught.value)


def test_missing_data_path():
    with pytest.raises(DatasetError, match=r"nowhere/none/none\.inter.*: none;"):
        make_config("none", data_path="nowhere")


@pytest.mark.parametrize(
    "name, suggestion",
    [("ease", "did you mean EASE"), ("LightGNC", "did you mean LightGCN"), ("ELSAA", "did you mean "), ("?", "")],
)
def test_unknown_model(name, suggestion):
    with pytest.raises(OptionError) as caught:
        get_model(name)
    check_one_line(caught, f"there is no model {name}", suggestion, "ADMMSLIM, AFM", "xgboost")
    assert "lightgbm" not in sys.modules


def test_unknown_model_of_a_run(checkerboard):
    with pytest.raises(OptionError, match="did you mean LightGCN"):
        run_recbole(model="lightgcn", dataset=checkerboard)


def test_every_known_model_is_found():
    names = set(known_models()) - {"lightgbm", "xgboost"}  # these two are not always installed
    assert {"BPR", "EASE", "Random", "SASRec", "CKE", "DeepFM"} <= names
    for name in names:
        assert get_model(name).__name__ == name


def test_a_user_s_own_model_is_found(monkeypatch):
    module = types.ModuleType("mine")
    module.Mine = type("Mine", (BPR,), {})
    module.__spec__ = types.SimpleNamespace(name="mine")
    monkeypatch.setitem(sys.modules, "recbole.model.general_recommender.mine", module)
    assert get_model("Mine") is module.Mine
    with pytest.raises(OptionError, match="there is no model MINE"):
        get_model("MINE")
