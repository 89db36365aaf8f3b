"""A model of a user's own beside the others: in a run, a leaderboard and a search, and read from its checkpoint."""

import csv
import json
import os
import pickle
import re
import shlex
import subprocess
import sys

import pandas
import pytest
import yaml
from conftest import check_one_line
from recbole.config import Config
from recbole.quick_start import run_recbole
from recbole.utils import get_model

import recbole_sparse_elsa
from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.commands import train
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.leaderboard.specification import read_specification
from recbole_sparse_elsa.plugin import own_models

PACKAGE = os.path.dirname(os.path.dirname(recbole_sparse_elsa.__file__))
CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUIET = {"show_progress": False, "state": "WARNING"}

POPULAR = '''
import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType
from powers import power


class Popular(GeneralRecommender):
    input_type, type = InputType.POINTWISE, ModelType.TRADITIONAL

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        counts = torch.as_tensor(dataset.inter_matrix().sum(0), dtype=torch.float32).flatten()
        self.scores = torch.nn.Parameter(power(counts, config["exponent"]))

    def calculate_loss(self, interaction):
        return 0 * self.scores.sum()

    def predict(self, interaction):
        return self.scores.detach()[interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction):
        return self.scores.detach().repeat(len(interaction[self.USER_ID]))

    def bytes_per_item(self):
        return 4
'''


@pytest.fixture
def popular(working_folder, monkeypatch):
    """A model in a folder whose name has a space, with options and a module beside it."""
    monkeypatch.setattr(own_models, "_registry", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = working_folder / "my models"
    folder.mkdir()
    (folder / "popular.py").write_text(POPULAR)
    (folder / "powers.py").write_text("def power(counts, exponent):\n    return counts**exponent\n")
    (folder / "Popular.yaml").write_text("exponent: 1.0\n")
    yield "my models/popular.py:Popular"
    sys.modules.pop("powers", None)


def python(code):
    """What a process of its own prints last, or its complaint."""
    environment = {**os.environ, "PYTHONPATH": PACKAGE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    return done.stdout.splitlines()[-1] if done.returncode == 0 else done.stderr


def test_it_runs_from_the_command_line_with_its_own_options(popular, checkerboard, monkeypatch):
    # As a script: RecBole reads the command line, too.
    arguments = [f"--model={popular}", "--dataset=checkerboard", "--exponent", "0.5", "--show_progress=False"]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *arguments])
    train.main("", arguments)
    monkeypatch.setattr(sys, "argv", ["run_recbole.py"])
    by_popularity = run_recbole("Pop", checkerboard, config_dict={**QUIET, "epochs": 1})["test_result"]
    assert run_recbole(popular, checkerboard, config_dict=dict(QUIET))["test_result"] == by_popularity
    assert [name for name in os.listdir("saved") if name.startswith("Popular-")]
    with pytest.raises(SystemExit) as end:
        monkeypatch.setattr(sys, "argv", ["run_recbole.py", f"--model={popular}", "--exponnt=2"])
        train.main("", sys.argv[1:])
    assert str(end.value).startswith("OptionError: there is no option --exponnt; did you mean exponent")


def test_its_checkpoint_is_read_by_a_process_that_never_saw_it(popular, checkerboard):
    result = run_recbole(popular, checkerboard, config_dict={**QUIET, "exponent": 2.0})
    code = f"""
import recbole_sparse_elsa
from recbole.quick_start import load_data_and_model
file = {result.saved_model_file!r}
saved = recbole_sparse_elsa.load(file)
print(saved.model_name, float(saved.model.scores.max()) == float(load_data_and_model(file)[1].scores.max()))
"""
    assert python(code) == "Popular True"
    os.rename("my models/popular.py", "my models/moved.py")
    assert "but there is no file" in python(code)


def test_code_that_has_changed_since_the_training_is_said(popular, checkerboard, caplog):
    config = Config(popular, checkerboard, config_dict=dict(QUIET))
    saved = pickle.dumps(config)
    assert pickle.loads(saved).model_class is config.model_class and not caplog.messages
    with open("my models/powers.py", "a") as file:
        file.write("# changed\n")
    own_models._compared.clear()
    pickle.loads(saved)
    assert "has changed since Popular was trained" in caplog.text


def write_leaderboard(model, **more):
    content = {
        "datasets": ["checkerboard"],
        "options": {"metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5"},
        "models": {"EASE": {"model": "EASE"}, "mine": {"model": model, "options": {"exponent": 2}, **more}},
        "baseline": "EASE",
    }
    with open("leaderboard.yaml", "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    return "leaderboard.yaml"


def test_it_stands_in_a_leaderboard_beside_the_others(popular, checkerboard, capsys):
    main(["leaderboard", write_leaderboard(popular), "--output", "results", "--jobs", "2"])
    with open("results/results.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "mine"]
    assert {(row["model"], float(row["bytes_per_item"])) for row in rows} == {("Popular", 4)}
    assert json.loads(rows[0]["config"])["exponent"] == 2
    assert rows[0]["recipe"].startswith("Popular of popular.py, a model of the user's own, SHA-256 of its code")
    per_user = pandas.read_parquet(f"results/cells/{rows[0]['cell']}/per_user.parquet")
    assert len(per_user) == 60 and per_user["ndcg@5"].mean() == pytest.approx(float(rows[1]["value"]))
    with open("results/significance.csv", encoding="utf-8") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["mine"]


def test_a_cell_is_finished_with_the_code_that_it_was_trained_with(popular, checkerboard, monkeypatch, working_folder):
    def cell():
        return read_specification(write_leaderboard(popular)).cells[1]

    first = cell()
    assert first.source == f"{working_folder}/my models/popular.py:Popular" and first.model == "Popular"
    assert cell().id == first.id
    for changed in ("powers.py", "popular.py", "Popular.yaml"):
        with open(f"my models/{changed}", "a") as file:
            file.write("\nother: 1\n" if changed.endswith("yaml") else "\n# changed\n")
        assert cell().id != first.id
        first = cell()
    # Where it lies does not matter.
    os.rename("my models", "elsewhere")
    monkeypatch.setattr(own_models, "_registry", {})
    moved = read_specification(write_leaderboard("elsewhere/popular.py:Popular")).cells[1]
    assert moved.id == first.id and moved.config == first.config


def test_a_search_finds_its_options_and_keeps_to_one_code(popular, checkerboard):
    from recbole_sparse_elsa.search import search

    with open("space.yaml", "w") as file:
        file.write("exponent: {choice: [0.5, 1.0]}\n")
    search(write_leaderboard(popular), "mine", "space.yaml", 2, "found")
    with open("found/trials.csv", encoding="utf-8") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["complete"] * 2
    with open("my models/powers.py", "a") as file:
        file.write("# changed\n")
    with pytest.raises(OptionError, match="begun with other code"):
        search(write_leaderboard(popular), "mine", "space.yaml", 3, "found")


def test_a_module_of_a_package_is_given_by_its_name(popular, working_folder, monkeypatch):
    package = working_folder / "own_package"
    os.rename("my models", package)
    (package / "__init__.py").touch()
    (package / "popular.py").write_text(POPULAR.replace("from powers", "from .powers"))
    try:
        config = Config("own_package.popular:Popular", "ml-100k", config_dict=dict(QUIET))
        assert config["model"] == "Popular" and config["exponent"] == 1.0
        assert config["own_model"] == f"{package / 'popular.py'}:Popular"
        assert config.model_class.__module__ == "own_package.popular"
        assert get_model("Popular") is config.model_class
        before = config["own_model_checksum"]
        with open(package / "powers.py", "a") as file:
            file.write("# changed\n")
        again = Config("own_package.popular:Popular", "ml-100k", config_dict=dict(QUIET))
        assert again["own_model_checksum"] != before
    finally:
        for name in [name for name in sys.modules if name.startswith("own_package")]:
            del sys.modules[name]


def test_the_how_to_does_what_it_says(checkerboard, working_folder, monkeypatch):
    monkeypatch.setattr(own_models, "_registry", {})
    with open(os.path.join(CHECKOUT, "docs", "own-model.md"), encoding="utf-8") as file:
        text = file.read().replace("```yaml\nmodels", "```models\nmodels")
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", text, re.S))
    (working_folder / "my_models").mkdir()
    (working_folder / "my_models" / "dot_product.py").write_text(blocks["python"])
    (working_folder / "my_models" / "DotProduct.yaml").write_text(blocks["yaml"])
    program, script, *arguments = shlex.split(blocks["bash"])
    assert (program, script) == ("python", "run_recbole.py")
    arguments += ["--dataset=checkerboard", "--show_progress=False", "--epochs=5"]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    train.main("", arguments)
    (file,) = os.listdir("saved")
    assert recbole_sparse_elsa.load(f"saved/{file}").model.items.weight.shape == (41, 64)
    with open("leaderboard.yaml", "w") as file:
        file.write(f"datasets: [checkerboard]\n{blocks['models']}")
    cell, _ = read_specification("leaderboard.yaml").cells
    assert cell.label == "mine" and cell.options["width"] == 16 and json.loads(cell.config)["epochs"] == 20


def test_it_may_bring_its_own_trainer(popular):
    with open("my models/popular.py", "a") as file:
        file.write("\nfrom recbole.trainer import TraditionalTrainer\nclass PopularTrainer(TraditionalTrainer): pass\n")
    from recbole.utils import get_trainer

    config = Config(popular, "ml-100k", config_dict=dict(QUIET))
    assert get_trainer(config["MODEL_TYPE"], "Popular").__name__ == "PopularTrainer"


@pytest.mark.parametrize(
    "model, content, message",
    [
        ("none.py:X", None, "there is no file"),
        ("no_such_package.module:X", "", "looking for no_such_package.module fails: ModuleNotFoundError"),
        ("no_such_module:X", "", "there is no module no_such_module, installed or in"),
        ("own.py:", "", "must be a name, path/to/file.py:Class or package.module:Class"),
        ("own.py:X", "class Y: pass", "the file has no X: its classes are Y"),
        ("own.py:X", "class X: pass", "X is no recommender of RecBole's: derive it from GeneralRecommender"),
        ("own.py:X", "X = 3", "X is no recommender of RecBole's"),
        (
            "own.py:X",
            "from recbole.model.abstract_recommender import GeneralRecommender\nclass X(GeneralRecommender): pass",
            "X has no calculate_loss and no predict",
        ),
        (
            "own.py:GeneralRecommender",
            "from recbole.model.abstract_recommender import GeneralRecommender",
            "GeneralRecommender is only imported there",
        ),
        ("own.py:X", "from recbole.model.general_recommender.bpr import BPR as X", "X is only imported there"),
        ("own.py:Ease", "class Ease: pass", "EASE is a model of RecBole's or of this package's: give"),
        ("own.py:KG", "", "RecBole would use its own KGTrainer for it: give the class another name"),
        ("own.py:SparseELSA", "", "SparseELSA is a model of RecBole's or of this package's"),
        ("own.py:X", "x = 1\ny = x / 0", "importing the file fails at line 2 of"),
        ("own.py:X", "raise SystemExit('no')", "SystemExit: no"),
        ("own.py:X", "def f(:", "importing the file fails: SyntaxError"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(model, content, message, working_folder, monkeypatch):
    monkeypatch.setattr(own_models, "_registry", {})
    if content is not None:
        (working_folder / "own.py").write_text(content)
    with pytest.raises(OptionError) as caught:
        Config(model, "ml-100k", config_dict=dict(QUIET))
    check_one_line(caught, message)


def test_two_models_of_one_name_are_refused(popular, working_folder):
    (working_folder / "other.py").write_text(POPULAR)
    Config(popular, "ml-100k", config_dict=dict(QUIET))
    with pytest.raises(OptionError) as caught:
        Config("other.py:Popular", "ml-100k", config_dict=dict(QUIET))
    check_one_line(caught, "Popular is also the class of", "give one of the two another name")


@pytest.mark.parametrize("content", ["- a\n", "a: [\n", "3: 4\n"])
def test_options_that_cannot_be_read_are_refused_in_one_line(popular, content, working_folder):
    (working_folder / "my models" / "Popular.yaml").write_text(content)
    with pytest.raises(OptionError) as caught:
        Config(popular, "ml-100k", config_dict=dict(QUIET))
    check_one_line(caught, "Popular.yaml")


def test_an_option_that_it_does_not_have_is_refused(popular):
    with pytest.raises(OptionError) as caught:
        Config(popular, "ml-100k", config_dict={**QUIET, "exponnt": 2})
    check_one_line(caught, "there is no option exponnt", "did you mean exponent", "Popular.yaml beside")


def test_a_name_that_is_no_model_says_how_one_of_ones_own_is_given():
    with pytest.raises(OptionError) as caught:
        Config("my models/popular.py", "ml-100k", config_dict=dict(QUIET))
    check_one_line(caught, "path/to/file.py:Class or package.module:Class")
