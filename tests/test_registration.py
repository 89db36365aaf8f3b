"""RecBole's own entry points know our models by name, with the precedence of a built-in model's defaults."""

import os
import subprocess
import sys

import pytest
import recbole.trainer
from conftest import SMALL, prepare
from recbole.config import Config
from recbole.quick_start import load_data_and_model, objective_function, run, run_recbole
from recbole.utils import get_model, get_trainer
from recbole.utils.case_study import full_sort_topk

import recbole_sparse_elsa
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model import PROPERTIES
from recbole_sparse_elsa.plugin import patching
from recbole_sparse_elsa.plugin.features import models
from recbole_sparse_elsa.training.pruning_trainer import PruningTrainer

PACKAGE = os.path.dirname(os.path.dirname(recbole_sparse_elsa.__file__))
SPARSE = {**SMALL, "k": 4, "stage_epochs": 1, "epochs": 4}


def python(code, **environment):
    """Run code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": PACKAGE, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("asked, given", [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_waiting_threads_sleep_unless_asked_otherwise(asked, given, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    # What libgomp prints as torch loads it is what it has understood.
    result = python("import recbole_sparse_elsa, torch", OMP_DISPLAY_ENV="true", **asked)
    assert result.returncode == 0, result.stderr
    assert f"OMP_WAIT_POLICY = '{given.upper()}'" in result.stderr


@pytest.mark.parametrize("name", ["ELSA", "SparseELSA"])
def test_recbole_finds_model_and_trainer_by_name(name):
    model = get_model(name)
    assert model.__name__ == name
    # A checkpoint names this module, so a process that reads one imports this package.
    assert model.__module__.startswith("recbole_sparse_elsa.")
    assert get_trainer(model.type, name) is PruningTrainer


def test_registering_again_changes_nothing():
    before = (Config._set_default_parameters, Config._update_internal_config_dict, dict(vars(recbole.trainer)))
    patching.apply_all()
    assert (Config._set_default_parameters, Config._update_internal_config_dict, dict(vars(recbole.trainer))) == before


def test_a_hook_whose_signature_changed_is_named(monkeypatch):
    monkeypatch.setattr(Config, "_update_internal_config_dict", lambda self, file, other: None)
    with pytest.raises(ImportError, match="Config._update_internal_config_dict"):
        patching.apply_all()


# Makes Python's finders find no RecBole, as where it is not installed.
HIDE_RECBOLE = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "recbole" else super().find_spec(name, path, target)

sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
import recbole_sparse_elsa
"""


@pytest.mark.parametrize(
    "setting, found",
    [
        ("import recbole; recbole.__version__ = '1.2.0'; import recbole_sparse_elsa", "recbole 1.2.0"),
        (HIDE_RECBOLE + "from recbole.quick_start import run", "no recbole"),
        (HIDE_RECBOLE + "import recbole_sparse_elsa.model.elsa", "no recbole"),
        (HIDE_RECBOLE + "recbole_sparse_elsa.SparseELSA", "no recbole"),
    ],
)
def test_another_recbole_version_or_none_is_refused_with_the_command_that_helps(setting, found):
    result = python(setting)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith(
        f'needs RecBole 1.2.1, but {found} is installed; run: pip install --no-deps "recbole==1.2.1"'
    )


def test_importing_the_package_alone_imports_neither_recbole_nor_torch():
    result = python("import sys, recbole_sparse_elsa; print(sorted({'recbole', 'torch', 'numpy'} & set(sys.modules)))")
    assert result.stdout == "[]\n", result.stderr


def test_run_recbole_and_load_data_and_model(checkerboard):
    result = run_recbole(model="SparseELSA", dataset=checkerboard, config_dict=dict(SPARSE))
    (file,) = [name for name in os.listdir("saved") if name.endswith(".pth")]
    config, model, dataset, train_data, valid_data, test_data = load_data_and_model(f"saved/{file}")
    assert (model.item_embedding.nonzeros() == 4).all()
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect(train_data)
    assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]


def test_load_data_and_model_in_a_process_that_never_imported_us(checkerboard):
    run_recbole(model="SparseELSA", dataset=checkerboard, config_dict=dict(SPARSE))
    (file,) = [name for name in os.listdir("saved") if name.endswith(".pth")]
    # What an older stack would have: ray, and a torch.load that reads pickles.
    code = f"""
import sys, types
ray = types.ModuleType("ray"); ray.tune = types.ModuleType("ray.tune")
sys.modules.update({{"ray": ray, "ray.tune": ray.tune}})
from recbole.quick_start import load_data_and_model
assert not any(name.startswith("recbole_sparse_elsa") for name in sys.modules)
model = load_data_and_model("saved/{file}")[1]
print(type(model).__name__, int(model.item_embedding.nonzeros().max()))
"""
    result = python(code, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1")
    assert result.stdout.splitlines()[-1:] == ["SparseELSA 4"], result.stderr


def test_run_with_one_process(checkerboard):
    assert run("SparseELSA", checkerboard, config_dict=dict(SPARSE))["test_result"]["recall@10"] > 0.9


def test_workers_of_run_know_our_models(checkerboard):
    """A worker that never imported this package itself trains and evaluates; see test_distributed.py too."""
    code = f"""
import recbole_sparse_elsa
from recbole.quick_start import run
if __name__ == "__main__":
    result = run("SparseELSA", {checkerboard!r}, config_dict={SPARSE!r}, nproc=2, port="5679")
    print(result["test_result"]["recall@10"])
"""
    with open("workers.py", "w") as script:
        script.write(code)
    result = subprocess.run(
        [sys.executable, "workers.py"],
        env={**os.environ, "PYTHONPATH": PACKAGE},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.splitlines()[-1]) > 0.9


def test_objective_function(checkerboard):
    result = objective_function(config_dict={**SPARSE, "model": "SparseELSA", "dataset": checkerboard})
    assert result["model"] == "SparseELSA" and result["test_result"]["recall@10"] > 0.9


def test_hyper_tuning(checkerboard):
    from recbole.trainer import HyperTuning

    with open("space.hyper", "w") as file:
        file.write("k choice [2,4]\n")
    with open("fixed.yaml", "w") as file:
        file.writelines(f"{name}: {value}\n" for name, value in SPARSE.items() if name != "k")
        file.write(f"model: SparseELSA\ndataset: {checkerboard}\n")
    tuning = HyperTuning(
        objective_function, params_file="space.hyper", fixed_config_file_list=["fixed.yaml"], algo="exhaustive"
    )
    tuning.run()
    assert len(tuning.params2result) == 2
    assert tuning.best_params["k"] in (2, 4)


def test_case_study(checkerboard):
    prepared = prepare("SparseELSA", checkerboard)
    prepared.trainer.fit(prepared.train_data, prepared.valid_data)
    user = prepared.dataset.token2id("user_id", "u4")
    _, items = full_sort_topk([user], prepared.model, prepared.test_data, k=3)
    tokens = prepared.dataset.id2token("item_id", items[0].tolist())
    assert all(int(token[1:]) % 2 == 0 for token in tokens)


def test_defaults_have_a_built_in_models_precedence(checkerboard, working_folder, monkeypatch):
    """overall.yaml < model < data set < file < dict < command line."""
    assert Config("SparseELSA", checkerboard)["learning_rate"] == 0.01  # overall.yaml says 0.001
    assert Config("SparseELSA", checkerboard)["stopping_step"] == Config("BPR", checkerboard)["stopping_step"]

    # ml-100k.yaml of RecBole's data sets beats the model.
    properties = working_folder / "properties"
    properties.mkdir()
    for name in ("ELSA", "SparseELSA"):
        text = open(os.path.join(PROPERTIES, f"{name}.yaml")).read()
        (properties / f"{name}.yaml").write_text(text + "\nload_col: from the model\n")
    monkeypatch.setattr(models, "PROPERTIES", str(properties))
    assert isinstance(Config("ELSA", "ml-100k")["load_col"], dict)

    (working_folder / "file.yaml").write_text("learning_rate: 0.2\nk: 5\n")
    config = Config("SparseELSA", checkerboard, config_file_list=["file.yaml"])
    assert (config["learning_rate"], config["k"]) == (0.2, 5)
    config = Config("SparseELSA", checkerboard, config_file_list=["file.yaml"], config_dict={"learning_rate": 0.3})
    assert (config["learning_rate"], config["k"]) == (0.3, 5)
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", "--learning_rate=0.4"])
    config = Config("SparseELSA", checkerboard, config_file_list=["file.yaml"], config_dict={"learning_rate": 0.3})
    assert (config["learning_rate"], config["k"]) == (0.4, 5)


def test_built_in_models_keep_their_defaults(checkerboard):
    assert Config("BPR", checkerboard)["nadam_epsilon"] is None
    assert Config("BPR", checkerboard)["train_batch_size"] == 2048


@pytest.mark.parametrize(
    "options, message",
    [
        ({"k": 0}, "k is 0, but must be a whole number of at least 1"),
        ({"k": 5000, "start_k": None}, r"k is 5000, but must lie in \[1, embedding_size\], and embedding_size is 4096"),
        ({"k": 70, "embedding_size": 64}, r"k is 70, but must lie in \[1, embedding_size\], and embedding_size is 64"),
        ({"noise_variance": -0.1}, "noise_variance is -0.1, but must be"),
        ({"pruning_schedule": "cubic"}, "pruning_schedule is 'cubic', but must be one of exponential"),
        ({"pruning_schedule": "stepwise", "stepwise_k": [16, 64]}, "stepwise_k is .* must not rise"),
        ({"pruning_schedule": "stepwise", "stepwise_k": [16, 8]}, "first value must be at least k, the target"),
        ({"stage_epochs": 0}, "stage_epochs is 0, but must be a whole number of at least 1"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1, but must be"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but must be"),
        ({"learning_rate": float("inf")}, "learning_rate is inf, but must be"),
        ({"input_dropout": 1.0}, "input_dropout is 1.0, but must be a finite number at least 0 and below 1"),
        ({"input_dropout": -0.1}, "input_dropout is -0.1"),
        ({"nadam_epsilon": 0}, "nadam_epsilon is 0, but must be a finite number above 0"),
        ({"restart": "maybe"}, "restart is 'maybe', but must be True or False"),
        ({"save_step": -1}, "save_step is -1, but must be a whole number of at least 0"),
        ({"epochs": 2}, "epochs is 2, but must be at least 3: the pruning schedule reaches k = 32 after 2 epochs"),
        ({"start_k": "big"}, "start_k is 'big', but must be a whole number in .*, none or auto"),
        ({"start": "regression"}, "start is 'regression', but .*SparseSLIM is what start: regression was"),
        ({"start": "spectral"}, "start is 'spectral', but SparseELSA has no such option"),
        ({"scale_input": False}, "scale_input is False, but SparseELSA has no such option: only SparseSLIM"),
        ({"reg_weight": 10}, "reg_weight is 10, but SparseELSA has no such option: the model SparseSLIM"),
        ({"code_size": 512}, "code_size is 512, but SparseELSA has no such option: the model FineTunedELSASAE"),
        ({"min_k": 1}, "min_k is 1, but SparseELSA has no such option: an item keeps at least 2"),
        ({"length_exponent": -2}, "length_exponent is -2, but must be a finite number at least -1"),
        ({"value_dtype": "int2"}, "value_dtype is 'int2', but must be one of float32, float16, int8, int4"),
        ({"learner": "lion"}, "learner is lion, but must be one of adam, .*nadam for SparseELSA"),
    ],
)
def test_options_that_are_not_allowed_are_refused_before_any_data_are_loaded(options, message, monkeypatch):
    monkeypatch.setattr("recbole.data.dataset.dataset.Dataset.__init__", lambda *args: pytest.fail("data were loaded"))
    with pytest.raises(OptionError, match=message) as error:
        run_recbole(model="SparseELSA", dataset="ml-100k", config_dict=options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "model, options, message",
    [
        ("SparseSLIM", {"k": 0}, "k is 0, but must be a whole number of at least 1"),
        ("SparseSLIM", {"reg_weight": 0}, "reg_weight is 0, but must be a finite number above 0"),
        ("SparseSLIM", {"l1_weight": -0.1}, "l1_weight is -0.1, but must be a finite number at least 0"),
        ("SparseSLIM", {"own_weight": "big"}, "own_weight is 'big', but must be auto or a number above 0"),
        ("SparseSLIM", {"own_weight": 0}, "own_weight is 0, but must be a finite number above 0"),
        ("FineTunedELSASAE", {"code_size": 255}, "code_size is 255, but must be at least embedding_size, which is 256"),
        ("FineTunedELSASAE", {"k": 256}, "k is 256, but must be below embedding_size, which is 256"),
        ("FineTunedELSASAE", {"dense_epochs": 0}, "dense_epochs is 0, but must be a whole number of at least 1"),
        ("FineTunedELSASAE", {"epochs": 20}, "epochs is 20, but must be at least 21"),
        ("FineTunedELSASAE", {"autoencoder_epochs": 0}, "autoencoder_epochs is 0, but must be"),
    ],
)
def test_options_of_other_models_are_refused_alike(model, options, message, monkeypatch):
    monkeypatch.setattr("recbole.data.dataset.dataset.Dataset.__init__", lambda *args: pytest.fail("data were loaded"))
    with pytest.raises(OptionError, match=message) as error:
        run_recbole(model=model, dataset="ml-100k", config_dict=options)
    assert "\n" not in str(error.value)


def test_a_preset_gives_defaults_that_what_is_given_beside_it_wins_over(working_folder):
    config = Config("SparseELSA", "ml-100k", config_dict={"preset": "paper", "stage_epochs": 5})
    expected = {"embedding_size": 4096, "k": 16, "train_batch_size": 1024, "input_dropout": 0.0, "stage_epochs": 5}
    assert {name: config[name] for name in expected} == expected
    (working_folder / "preset.yaml").write_text("preset: paper\n")
    assert Config("ELSA", "ml-100k", config_file_list=["preset.yaml"])["embedding_size"] == 800


@pytest.mark.parametrize("model, allowed", [("SparseELSA", "paper"), ("PrunedEASE", "none")])
def test_an_unknown_preset_is_refused(model, allowed):
    with pytest.raises(OptionError, match=f"preset is 'best', but {model} has {allowed}"):
        Config(model, "ml-100k", config_dict={"preset": "best"})
