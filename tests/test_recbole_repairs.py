"""What a user of RecBole sees of each repair."""

import glob
import json
import logging
import os
import subprocess
import sys
import threading
import types

import numpy as np
import pandas as pd
import pytest
import recbole
import torch
from conftest import prepare, write_interactions
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import BPR, SLIMElastic, slimelastic
from recbole.quick_start import load_data_and_model, objective_function, quick_start, run_recbole
from recbole.trainer import HyperTuning, Trainer
from recbole.utils import get_model, init_logger
from recbole.utils.case_study import full_sort_scores, full_sort_topk
from sklearn.linear_model import ElasticNet

import recbole_sparse_elsa
from recbole_sparse_elsa import recbole_repairs
from recbole_sparse_elsa.checkpoint import read_checkpoint, write_checkpoint
from recbole_sparse_elsa.errors import CheckpointError, DatasetError, OptionError

QUIET = {"show_progress": False, "state": "WARNING"}
# EASE on ml-100k with all of RecBole's defaults (seed 2020), as RecBole 1.2.1 gave on the stack of its time.
EASE_ON_ML_100K = {"recall@10": 0.2805, "mrr@10": 0.5277, "ndcg@10": 0.3295, "hit@10": 0.8197, "precision@10": 0.2206}


@pytest.fixture(autouse=True)
def root_logger():
    """Takes away the log handlers that a test's runs leave behind."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def make_config(dataset, model="BPR", **options):
    return Config(model=model, dataset=dataset, config_dict={**QUIET, **options})


def python(code, *paths, options=()):
    """Run a program in a process of its own, and return what it printed on both outputs."""
    folder = os.path.dirname(os.path.dirname(recbole_sparse_elsa.__file__))
    path = os.pathsep.join([*map(str, paths), folder, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr


# How functions are replaced


def test_applying_again_changes_nothing():
    packages = ("recbole", "torch", "numpy", "pandas", "scipy")
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]
    owners = [*modules, Config, Trainer, Evaluator, Collector, pd.Series]
    before = [dict(vars(owner)) for owner in owners]
    recbole_repairs.apply()
    after = [dict(vars(owner)) for owner in owners]
    for old, new in zip(before, after):
        assert old.keys() == new.keys()
        assert all(old[name] is new[name] for name in old)


def test_another_signature_is_refused(monkeypatch):
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, dataobject, phase: {})
    with pytest.raises(ImportError, match=r"Evaluator.evaluate does not have the parameters \(self, dataobject\)"):
        recbole_repairs.apply()


def test_a_missing_function_is_refused(monkeypatch):
    monkeypatch.delattr(Collector, "get_data_struct")
    with pytest.raises(ImportError, match="Collector.get_data_struct"):
        recbole_repairs.apply()


def test_names_imported_from_recbole_are_replaced_everywhere():
    assert recbole.utils.get_model is recbole.config.configurator.get_model is quick_start.get_model is get_model
    assert recbole.data.create_dataset is recbole.data.utils.create_dataset is quick_start.create_dataset
    assert recbole.quick_start.load_data_and_model is quick_start.load_data_and_model


# A fresh process


def test_ray_is_neither_needed_nor_hidden(tmp_path):
    (tmp_path / "ray" / "tune").mkdir(parents=True)
    (tmp_path / "ray" / "__init__.py").write_text("import builtins\nif not hasattr(builtins, 'fixed'): raise OSError\n")
    (tmp_path / "ray" / "tune" / "__init__.py").write_text("def report(metrics): print('reported', metrics)\n")
    code = """
import sys, recbole.utils, recbole_sparse_elsa   # in this order, as in a program that imports the plug-in late
from recbole.quick_start import quick_start
assert recbole.utils.get_model is quick_start.get_model
assert not [name for name in sys.modules if name.partition(".")[0] == "ray"]
quick_start.tune.report(recall=0.5)
import builtins
builtins.fixed = True
import ray.tune
assert ray.tune.report.__module__ == "ray.tune"
quick_start.tune.report(recall=0.25)
"""
    output, _ = python(code, tmp_path)
    assert output.split("\n") == ["reported {'recall': 0.25}", ""]


def test_ray_that_takes_keywords(monkeypatch):
    reported = []
    tune = types.SimpleNamespace(report=lambda _metric=None, **metrics: reported.append(metrics))
    monkeypatch.setitem(sys.modules, "ray.tune", tune)
    quick_start.tune.report(**{"recall@10": 0.5})
    assert reported == [{"recall@10": 0.5}]


def test_a_process_that_only_loads_a_checkpoint(checkerboard):
    expected = run_recbole(model="BPR", dataset=checkerboard, config_dict={**QUIET, "epochs": 2})["test_result"]
    (checkpoint,) = glob.glob("saved/*.pth")
    code = f"""
import json, recbole_sparse_elsa
from recbole.quick_start import load_data_and_model
from recbole.trainer import Trainer
config, model, _, _, _, test_data = load_data_and_model("{checkpoint}")
print(json.dumps(Trainer(config, model).evaluate(test_data, load_best_model=False)))
"""
    output, errors = python(code)
    assert json.loads(output.splitlines()[-1]) == expected
    assert "Warning" not in errors


def test_no_warnings_from_recbole():
    code = """
import recbole_sparse_elsa
from recbole.quick_start import run_recbole
run_recbole(model="BPR", dataset="ml-100k", config_dict={"load_col": None, "epochs": 1, "show_progress": False})
"""
    _, errors = python(code, options=["-Wdefault"])
    assert not [line for line in errors.splitlines() if "Warning: " in line and "/recbole/" in line]


# numpy, scipy, torch


def test_numpy_names_that_exist_are_kept(monkeypatch, checkerboard):
    monkeypatch.setattr(np, "long", "numpy's own", raising=False)
    make_config(checkerboard)
    assert np.long == "numpy's own"


def test_lightgcn_adjacency_is_right(checkerboard):
    run = prepare("LightGCN", checkerboard)
    users, items = run.model.n_users, run.model.n_items
    adjacency = np.zeros((users + items, users + items))
    for user, item in zip(run.train_data.dataset.inter_feat["user_id"], run.train_data.dataset.inter_feat["item_id"]):
        adjacency[user, users + item] = adjacency[users + item, user] = 1
    degree = np.maximum(adjacency.sum(axis=1), 1e-7)
    expected = adjacency / np.sqrt(np.outer(degree, degree))
    assert expected.sum() > 0
    np.testing.assert_allclose(run.model.norm_adj_matrix.to_dense().cpu().numpy(), expected, atol=1e-6)


def test_torch_load_is_the_usual_one_for_everybody_else(checkerboard, monkeypatch):
    run_recbole(model="BPR", dataset=checkerboard, config_dict={**QUIET, "epochs": 1})
    (checkpoint,) = glob.glob("saved/*.pth")
    torch_load, seen = torch.load, []

    def read_elsewhere():
        try:
            seen.append(torch.load(checkpoint, weights_only=True))
        except Exception as error:
            seen.append(type(error).__name__)

    def read_and_read_elsewhere(path, map_location=None):
        # Another thread begins to read the same file, just before RecBole does.
        state = read_checkpoint(path, map_location)
        thread = threading.Thread(target=read_elsewhere)
        thread.start()
        thread.join()
        return state

    def look(config):
        seen.append(torch.load is torch_load)
        return create_dataset(config)

    monkeypatch.setattr(recbole_repairs, "read_checkpoint", read_and_read_elsewhere)
    monkeypatch.setattr(quick_start, "create_dataset", look)
    load_data_and_model(checkpoint)
    assert seen == ["UnpicklingError", True]
    assert torch.load is torch_load


def test_another_thread_and_another_file_are_read_as_usual(tmp_path):
    torch.save(torch.ones(1), tmp_path / "other.pth")
    torch_load, read, ours = torch.load, [], str(tmp_path / "our.pth")
    with recbole_repairs._hand_to_torch_load("ours", ours):
        assert torch.load(tmp_path / "other.pth").item() == 1

        def missing():
            with pytest.raises(FileNotFoundError):
                torch.load(ours)
            read.append(True)

        thread = threading.Thread(target=missing)
        thread.start()
        thread.join()
        assert torch.load(ours) == "ours" and torch.load is torch_load
    assert read == [True] and torch.load is torch_load


def test_a_checkpoint_that_cannot_be_read_leaves_torch_load_alone(tmp_path):
    torch_load = torch.load
    with pytest.raises(CheckpointError, match="none.pth does not exist"):
        load_data_and_model(str(tmp_path / "none.pth"))
    assert torch.load is torch_load


@pytest.mark.parametrize("options, device", [({}, "cuda"), ({"use_gpu": False}, "cpu"), ({"gpu_id": ""}, "cpu")])
def test_a_gpu_is_used_unless_it_is_not_wanted(checkerboard, monkeypatch, options, device):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Config("BPR", checkerboard, config_dict=options)["device"].type == device


def test_the_gpu_is_the_one_of_gpu_id_or_else_of_the_environment(checkerboard, monkeypatch):
    def visible(**options):
        Config("BPR", checkerboard, config_dict=options)
        return os.environ["CUDA_VISIBLE_DEVICES"]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert [visible(), visible(gpu_id=1), visible()] == ["3", "1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [visible(), visible(gpu_id="0"), visible()] == ["2,5", "0", "2,5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [visible(), visible()] == ["0", "0"]


def test_a_checkpoint_of_several_gpus_loads_without_any(checkerboard):
    run_recbole(model="BPR", dataset=checkerboard, config_dict={**QUIET, "epochs": 1})
    (checkpoint,) = glob.glob("saved/*.pth")
    state = read_checkpoint(checkpoint)
    state["config"].final_config_dict.update(device=torch.device("cuda", 1), single_spec=False, local_rank=1)
    write_checkpoint(state, checkpoint)
    config, model, *_ = load_data_and_model(checkpoint)
    assert config["device"] == torch.device("cpu") and config["single_spec"]
    assert next(model.parameters()).device == torch.device("cpu")


def test_pretrained_weights_are_read(checkerboard):
    options = {"mf_embedding_size": 4, "mlp_embedding_size": 4, "mlp_hidden_size": [4]}
    for path, part in {"mf.pth": {"mlp_train": False}, "mlp.pth": {"mf_train": False}}.items():
        run = prepare("NeuMF", checkerboard, **options, **part)
        write_checkpoint({"config": run.config, "state_dict": run.model.state_dict()}, path)
    pretrained = prepare(
        "NeuMF", checkerboard, **options, use_pretrain=True, mf_pretrain_path="mf.pth", mlp_pretrain_path="mlp.pth"
    )
    expected = read_checkpoint("mf.pth")["state_dict"]["user_mf_embedding.weight"]
    assert torch.equal(pretrained.model.user_mf_embedding.weight, expected)


# pandas. The expected values are those of RecBole 1.2.1, unrepaired, with pandas 2.3.3.

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


def check_features(found, *expected):
    assert len(found) == len(expected)
    for table, expected_table in zip(found, expected):
        assert table.keys() == expected_table.keys()
        for field in table:
            np.testing.assert_allclose(table[field], expected_table[field], atol=1e-6, err_msg=field)


TOY_INTERACTIONS = {
    "user_id": [1, 1, 2, 2, 3, 3],
    "item_id": [1, 2, 1, 3, 2, 4],
    "rating": [4, 3, 2, 5, 3, 1],
    "place": [1, 2, 0, 1, 0, 2],
    "tags": [[1, 2, 0], [0, 0, 0], [2, 0, 0], [3, 1, 2], [0, 0, 0], [1, 0, 0]],
    "weights": [[0.5, 1, 0], [2, 0, 0], [0, 0, 0], [1, 2, 3], [0, 0, 0], [4, 0.5, 0]],
}
TOY_USERS = {
    "user_id": [0, 1, 2, 3],
    "age": [40, 30, 40, 50],
    "city": [0, 1, 0, 2],
    "hobbies": [[0, 0], [1, 2], [0, 0], [1, 0]],
    "vector": [[0, 0], [1, 2], [0, 0], [3, 0]],
}
TOY_ITEMS = {
    "item_id": [0, 1, 2, 3, 4],
    "price": [23.333334, 23.333334, 10, 20, 40],
    "brand": [0, 2, 1, 1, 0],
    "genre": [[0, 0], [2, 0], [1, 2], [3, 0], [0, 0]],
    "embedding": [[0, 0], [0, 0], [0.1, 0.2], [0.3, 0.6], [0.4, 0]],
}


def test_gaps_in_fields_of_every_type(toy):
    check_features(features(make_config(toy, load_col=None)), TOY_INTERACTIONS, TOY_USERS, TOY_ITEMS)


def test_gaps_with_normalisation(toy):
    check_features(
        features(make_config(toy, load_col=None, normalize_all=True)),
        {
            **TOY_INTERACTIONS,
            "rating": [0.75, 0.5, 0.25, 1, 0.5, 0],
            "weights": [
                [0, 0.142857, 0],
                [0.428571, 0, 0],
                [0, 0, 0],
                [0.142857, 0.428571, 0.714286],
                [0, 0, 0],
                [1, 0, 0],
            ],
        },
        {**TOY_USERS, "age": [0.5, 0, 0.5, 1], "vector": [[0, 0], [0, 0.5], [0, 0], [1, 0]]},
        {
            **TOY_ITEMS,
            "price": [0.444444, 0.444444, 0, 0.333333, 1],
            "embedding": [[0, 0], [0, 0], [0, 0.2], [0.4, 1], [0.6, 0]],
        },
    )


def test_gaps_with_discretisation(toy):
    options = {"numerical_features": ["rating", "weights"]}
    options["discretization"] = {"rating": {"method": "ED", "bucket": 2}}
    found = features(make_config(toy, load_col=None, **options))
    expected = {
        **TOY_INTERACTIONS,
        "rating": [[1, 2], [1, 1], [1, 1], [1, 2], [1, 1], [1, 1]],
        "weights": [
            [[0.5, 1], [1, 1], [0, 0]],
            [[2, 1], [0, 0], [0, 0]],
            [[0, 0], [0, 0], [0, 0]],
            [[1, 1], [2, 1], [3, 1]],
            [[0, 0], [0, 0], [0, 0]],
            [[4, 1], [0.5, 1], [0, 0]],
        ],
    }
    check_features(found, expected, TOY_USERS, TOY_ITEMS)


def test_users_and_items_without_a_row(working_folder):
    files = {
        name: "\n".join(
            line for line in text.splitlines() if name == "toy.inter" or line.split()[:1] not in (["u3"], ["i2"])
        )
        for name, text in TOY.items()
    }
    write_files(working_folder / "dataset" / "toy", files)
    check_features(
        features(make_config("toy", load_col=None, filter_inter_by_user_or_item=False)),
        TOY_INTERACTIONS,
        {
            "user_id": [0, 1, 2, 3],
            "age": [30, 30, 30, 30],
            "city": [0, 1, 0, 0],
            "hobbies": [[0, 0], [1, 2], [0, 0], [0, 0]],
            "vector": [[0, 0], [1, 2], [0, 0], [0, 0]],
        },
        {
            "item_id": [0, 1, 2, 3, 4],
            "price": [30, 30, 30, 20, 40],
            "brand": [0, 1, 0, 2, 0],
            "genre": [[0], [1], [0], [2], [0]],
            "embedding": [[0, 0], [0, 0], [0, 0], [0.3, 0.6], [0.4, 0]],
        },
    )


def test_sequences_in_files_of_train_valid_and_test(working_folder):
    head = "user_id:token item_id_list:token_seq item_id:token\n"
    files = {
        "seq.train.inter": head + "u1 i1 i2\nu1 i1_i2 i3\nu2 i3_i1_i2 i4\n",
        "seq.valid.inter": head + "u1 i1_i2_i3 i4\n",
        "seq.test.inter": head + "u1 i1_i2_i3_i4 i2\n",
    }
    write_files(working_folder / "dataset" / "seq", files)
    config = make_config(
        "seq",
        "GRU4Rec",
        load_col=None,
        alias_of_item_id=["item_id_list"],
        benchmark_filename=["train", "valid", "test"],
        train_neg_sample_args=None,
    )
    (found,) = features(config)
    assert found == {
        "user_id": [1, 1, 2, 1, 1],
        "item_id_list": [[4, 0, 0, 0], [4, 1, 0, 0], [2, 4, 1, 0], [4, 1, 2, 0], [4, 1, 2, 3]],
        "item_id": [1, 2, 3, 3, 1],
        "item_length": [1, 2, 3, 3, 4],
    }


def test_sequences_of_items_with_a_knowledge_graph(working_folder):
    files = {
        "kg.inter": "user_id:token item_id:token seen:token_seq\nu1 i1 i2\nu1 i2 i1_i3\nu2 i3 _\n",
        "kg.kg": "head_id:token relation_id:token tail_id:token\ne1 r1 e2\ne3 r2 e1\n",
        "kg.link": "item_id:token entity_id:token\ni1 e1\ni2 e2\ni3 e3\n",
    }
    write_files(working_folder / "dataset" / "kg", files)
    interactions, graph = features(make_config("kg", "CFKG", load_col=None, alias_of_item_id=["seen"]))
    assert interactions == {"user_id": [1, 1, 2], "item_id": [1, 2, 3], "seen": [[2, 0], [1, 3], [0, 0]]}
    assert graph == {"head_id": [1, 3], "relation_id": [1, 2], "tail_id": [2, 1]}


def test_pandas_is_the_usual_one_for_everybody_else():
    series = pd.Series([[1, 2], [3]])
    usual = getattr(pd.Series.agg, "__wrapped__", pd.Series.agg)
    assert np.array_equal(series.agg(len), usual(series, len))
    assert pd.Series([1.0, 3.0]).agg("mean") == 2
    assert pd.Series([1.0, 3.0]).agg(["min", "max"]).tolist() == [1, 3]


# Options


def check_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_unknown_learner_is_refused(checkerboard):
    with pytest.raises(OptionError) as caught:
        make_config(checkerboard, learner="nadam")
    check_one_line(caught, "learner is nadam", "adam, adamw, sgd, adagrad, rmsprop, sparse_adam", "BPR")


@pytest.mark.parametrize("learner", [*recbole_repairs.RECBOLE_LEARNERS, "Adam", "AdamW"])
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


def test_missing_dataset_of_a_checkpoint(checkerboard):
    run_recbole(model="BPR", dataset=checkerboard, config_dict={**QUIET, "epochs": 1})
    (checkpoint,) = glob.glob("saved/*.pth")
    os.rename("dataset", "elsewhere")
    with pytest.raises(DatasetError, match="checkerboard not found"):
        load_data_and_model(checkpoint)


@pytest.mark.parametrize(
    "options, filters",
    [
        ({"val_interval": {"rating": "[6,inf)"}}, "val_interval: {'rating': '[6,inf)'}"),
        ({"user_inter_num_interval": "[3,inf)"}, "user_inter_num_interval: [3,inf)"),
        ({"item_inter_num_interval": "(2,inf)"}, "item_inter_num_interval: (2,inf)"),
    ],
)
@pytest.mark.parametrize("load_col", [None, {"inter": ["user_id", "item_id", "rating"]}])
def test_filters_that_leave_nothing(toy, options, filters, load_col):
    with pytest.raises(DatasetError) as caught:
        create_dataset(make_config(toy, load_col=load_col, **options))
    check_one_line(caught, "no interactions of data set toy are left", filters)
    assert ("filter_inter_by_user_or_item: True" in str(caught.value)) == (load_col is None)


def test_filters_that_leave_no_items(toy):
    with pytest.raises(DatasetError, match="no interactions|no items"):
        create_dataset(make_config(toy, load_col=None, val_interval={"price": "[100,inf)"}))


def test_interactions_of_items_that_are_not_listed(working_folder):
    write_files(working_folder / "dataset" / "toy", {**TOY, "toy.item": "item_id:token price:float\ni9 1\n"})
    with pytest.raises(DatasetError, match="filter_inter_by_user_or_item: True"):
        create_dataset(make_config("toy", load_col=None))


# Models by name


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
    names = set(recbole_repairs.known_models()) - {"lightgbm", "xgboost"}  # these two are not always installed
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


# Checkpoints


def test_trainers_made_in_the_same_second_have_their_own_checkpoints(checkerboard, monkeypatch):
    monkeypatch.setattr("recbole.trainer.trainer.get_local_time", lambda: "Jan-01-2030_00-00-00")
    run = prepare("BPR", checkerboard)
    paths = {Trainer(run.config, run.model).saved_model_file for _ in range(5)}
    assert len(paths) == 5
    for path in paths:
        folder, name = os.path.split(path)
        assert folder == "saved" and name.startswith("BPR-Jan-01-2030_00-00-00-") and name.endswith(".pth")


def _name_checkpoint(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)

    def original(self, config, model):
        self.saved_model_file = f"saved/BPR-{rank}.pth"

    trainer = types.SimpleNamespace()
    recbole_repairs._make_trainer_init(original)(trainer, {"single_spec": False}, None)
    with open(f"{folder}/{rank}", "w") as file:
        file.write(trainer.saved_model_file)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_of_one_run_agree_on_the_checkpoint(tmp_path):
    torch.multiprocessing.spawn(_name_checkpoint, (str(tmp_path),), nprocs=2)
    first, second = (tmp_path / "0").read_text(), (tmp_path / "1").read_text()
    assert first == second and first.startswith("saved/BPR-0-")


def test_a_failed_save_keeps_the_best_model(checkerboard, monkeypatch):
    run = prepare("BPR", checkerboard)
    run.trainer._save_checkpoint(3)

    def fail_half_way(state, file, **kwargs):
        with open(file, "wb") as stream:
            stream.write(b"half of")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail_half_way)
        with pytest.raises(OSError, match="No space"):
            run.trainer._save_checkpoint(4)
    assert glob.glob("saved/*") == [run.trainer.saved_model_file]
    assert read_checkpoint(run.trainer.saved_model_file)["epoch"] == 3


def test_evaluating_a_cut_off_checkpoint(checkerboard):
    run = prepare("BPR", checkerboard)
    with open("cut.pth", "wb") as file:
        file.write(b"PK")
    with pytest.raises(CheckpointError, match="cut.pth cannot be read"):
        run.trainer.evaluate(run.test_data, model_file="cut.pth")
    with pytest.raises(CheckpointError, match="cut.pth cannot be read"):
        run.trainer.resume_checkpoint("cut.pth")


# Saved data


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


# Models


def slim_objective(interactions, weights, alpha, l1_ratio):
    """What SLIMElastic minimises for each item, as scikit-learn documents it."""
    errors = ((interactions - interactions @ weights) ** 2).sum(axis=0) / (2 * len(interactions))
    penalty = l1_ratio * abs(weights).sum(axis=0) + (1 - l1_ratio) / 2 * (weights**2).sum(axis=0)
    return errors + alpha * penalty


@pytest.mark.parametrize("alpha, l1_ratio", [(0.05, 0.01), (0.05, 0.5), (1.0, 0.9)])
def test_slim_finds_what_it_would_on_the_whole_catalogue(working_folder, monkeypatch, alpha, l1_ratio):
    generator = np.random.default_rng(0)
    # Items 15 to 29 share no user with the others.
    places = [(user, item) for user in range(60) for item in range(15) if generator.random() < 1 / (1 + item)]
    pairs = [(user, item + 15 * (user % 2)) for user, item in places]
    write_interactions(working_folder / "dataset", "long-tail", pairs)
    run = prepare("SLIMElastic", "long-tail", alpha=alpha, l1_ratio=l1_ratio)
    model = run.trainer.model
    widest = 0

    class WatchedElasticNet(ElasticNet):
        def fit(self, X, y):
            nonlocal widest
            widest = max(widest, X.shape[1])
            return super().fit(X, y)

    monkeypatch.setattr(slimelastic, "ElasticNet", WatchedElasticNet)
    SLIMElastic(run.config, run.train_data.dataset)
    assert widest < 15
    unrepaired = SLIMElastic.__new__(SLIMElastic)
    SLIMElastic.__init__.__wrapped__(unrepaired, run.config, run.train_data.dataset)
    assert widest == run.dataset.item_num
    interactions = model.interaction_matrix.toarray().astype(float)
    weights, expected = (slim.item_similarity.toarray() for slim in (model, unrepaired))
    assert weights == pytest.approx(expected, abs=0.02)
    assert slim_objective(interactions, weights, alpha, l1_ratio) == pytest.approx(
        slim_objective(interactions, expected, alpha, l1_ratio), abs=1e-4
    )
    assert (weights.diagonal() == 0).all() and (alpha == 1.0) == (not weights.any())
    interaction = Interaction({"user_id": torch.arange(1, 5), "item_id": torch.arange(3, 7)})
    for method in ("predict", "full_sort_predict"):
        assert torch.allclose(
            getattr(model, method)(interaction).double(), getattr(unrepaired, method)(interaction).double(), atol=0.1
        )


@pytest.mark.parametrize("option", ["positive_only", "hide_item"])
def test_slim_with_negative_weights_or_the_item_itself_is_recbole_s(checkerboard, monkeypatch, option):
    monkeypatch.setattr(recbole_repairs, "_slim_weights", lambda *_: pytest.fail("items were left out"))
    assert prepare("SLIMElastic", "checkerboard", **{option: False}).trainer.model.item_similarity.shape[0] > 1


# Evaluation


def test_ease_gives_the_known_figures_whatever_the_batches():
    results = []
    for options in ({}, {"eval_batch_size": 4096}):
        result = run_recbole(model="EASE", dataset="ml-100k", config_dict={**QUIET, **options}, saved=False)
        results.append(dict(result["test_result"]))
    assert results[0] == results[1]
    assert results[0] == pytest.approx(EASE_ON_ML_100K, abs=1e-9)


@pytest.mark.parametrize("model", ["EASE", "PrunedEASE"])
def test_a_model_of_one_epoch_is_validated_whatever_the_eval_step(checkerboard, model):
    results = [
        run_recbole(model=model, dataset=checkerboard, config_dict={**QUIET, "eval_step": eval_step})
        for eval_step in (1, 5)
    ]
    assert results[0] == results[1]
    assert results[1]["best_valid_score"] > 0


def test_figures_are_plain_floats(checkerboard):
    result = run_recbole(model="Pop", dataset=checkerboard, config_dict=QUIET, saved=False)
    for figures in (result["best_valid_result"], result["test_result"]):
        assert {type(value) for value in figures.values()} == {float}
        assert "np." not in repr(figures)


def test_figures_beyond_accuracy(checkerboard):
    metrics = ["ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage", "ShannonEntropy", "Recall"]
    run = prepare("Pop", checkerboard, metrics=metrics, topk=[5], valid_metric="Recall@5", tail_ratio=0.1)
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    found = run.trainer.evaluate(run.test_data, load_best_model=False)
    again = run.trainer.evaluate(run.test_data, load_best_model=False)
    assert found == again

    _, recommended = full_sort_topk(run.test_data.uid_list, run.model, run.test_data, 5)
    counts = np.bincount(run.train_data.dataset.inter_feat["item_id"], minlength=41)
    times_recommended = np.sort(np.bincount(recommended.flatten(), minlength=41))
    gini = sum((2 * rank - 41 - 1) * times for rank, times in enumerate(times_recommended, 1))
    assert found["itemcoverage@5"] == pytest.approx(len(np.unique(recommended)) / 41, abs=1e-4)
    assert found["averagepopularity@5"] == pytest.approx(counts[recommended].mean(), abs=1e-4)
    assert found["giniindex@5"] == pytest.approx(gini / 41 / recommended.numel(), abs=1e-4)


@given(st.integers(1, 10**6), st.integers(1, 10**8))
@settings(deadline=None)
def test_users_per_batch(n_users, n_items):
    users = recbole_repairs._users_per_batch(n_users, n_items, torch.device("cpu"))
    assert 1 <= users <= n_users
    assert users == 1 or users * n_items <= 2**24


def test_users_per_batch_follow_the_memory(monkeypatch):
    memory = types.SimpleNamespace(available=8 * 24 * 1000)
    monkeypatch.setattr(recbole_repairs.psutil, "virtual_memory", lambda: memory)
    assert recbole_repairs._users_per_batch(500, 10, torch.device("cpu")) == 100
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 24 * 70, 8 * 24 * 10**9))
    assert recbole_repairs._users_per_batch(500, 10, torch.device("cuda")) == 7


@pytest.mark.parametrize(
    "model, options, users",
    [
        ("EASE", {}, 60),
        ("EASE", {"eval_batch_size": 4096}, 4096 // 41),
        ("EASE", {"eval_batch_size": 82}, 2),
        ("EASE", {"eval_batch_size": 1}, 1),
        ("NeuMF", {}, 4096 // 41),  # scores each pair of user and item alone
        ("ENMF", {"train_neg_sample_args": None}, 4096 // 41),
    ],
)
def test_users_evaluated_at_a_time(checkerboard, caplog, model, options, users):
    with caplog.at_level(logging.INFO):
        config = make_config(checkerboard, model, **options)
        test_data = data_preparation(config, create_dataset(config))[2]
    assert test_data.step == users
    assert config["eval_batch_size"] == options.get("eval_batch_size", 4096)
    assert ("Evaluating 60 users at a time" in caplog.text) == (users == 60)


class _NoSuchOperation(BPR):
    def full_sort_predict(self, interaction):
        raise NotImplementedError("Could not run 'aten::topk' with arguments from the 'SparseCsrCPU' backend")


class _PredictOnly(BPR):
    full_sort_predict = GeneralRecommender.full_sort_predict


def with_class(run, model_class):
    run.model.__class__ = model_class
    return run


def test_a_missing_operation_is_not_taken_for_a_missing_method(checkerboard):
    run = with_class(prepare("BPR", checkerboard), _NoSuchOperation)
    with pytest.raises(RuntimeError, match="_NoSuchOperation.full_sort_predict .*aten::topk") as caught:
        run.trainer.evaluate(run.test_data, load_best_model=False)
    assert isinstance(caught.value.__cause__, NotImplementedError)
    with pytest.raises(RuntimeError, match="aten::topk"):
        full_sort_scores([1], run.model, run.test_data)
    assert "full_sort_predict" not in vars(run.model)


def test_a_model_without_full_sort_predict_is_still_evaluated(checkerboard):
    run = prepare("BPR", checkerboard)
    expected = run.trainer.evaluate(run.test_data, load_best_model=False)
    with_class(run, _PredictOnly)
    assert run.trainer.evaluate(run.test_data, load_best_model=False) == expected


def test_case_study_of_a_user_without_test_interactions(working_folder):
    pairs = [(user, item) for user in range(10) for item in range(12) if item % 10 != user] + [("lonely", 1)]
    write_interactions(working_folder / "dataset", "few", pairs)
    run = prepare("BPR", "few")
    lonely = run.dataset.token2id("user_id", "lonely")
    scores = full_sort_scores(run.test_data.uid_list.numpy(), run.model, run.test_data)
    assert scores.shape == (10, run.dataset.item_num)
    with pytest.raises(DatasetError) as caught:
        full_sort_topk([run.test_data.uid_list[0], lonely, 10**6], run.model, run.test_data, 3)
    check_one_line(caught, f"users {lonely}, 1000000 ")


def test_exhaustive_search(checkerboard):
    with open("fixed.yaml", "w") as file:
        file.write(f"model: EASE\ndataset: {checkerboard}\nshow_progress: False\nstate: ERROR\n")
    space = {"choice": {"reg_weight": [1.0, 250.0]}}
    search = HyperTuning(objective_function, params_dict=space, fixed_config_file_list=["fixed.yaml"])
    search.run()
    assert sorted(search.params2result) == ["reg_weight:1.0", "reg_weight:250.0"]
    expected = run_recbole(
        model="EASE", dataset=checkerboard, config_dict={**QUIET, "reg_weight": 250.0}, saved=False
    )
    assert search.params2result["reg_weight:250.0"]["test_result"] == expected["test_result"]


# Logs


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
