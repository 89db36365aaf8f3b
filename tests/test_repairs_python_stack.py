"""RecBole on today's Python stack, and in a process of its own."""

import glob
import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from conftest import QUIET, make_config, prepare
from recbole.quick_start import objective_function, quick_start, run_recbole
from recbole.trainer import HyperTuning

import recbole_sparse_elsa

pytestmark = pytest.mark.usefixtures("root_logger")


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
