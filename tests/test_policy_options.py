"""Options by name, the command line, and what would be complained of late: one line before any long work."""

import os
import sys
from pathlib import Path

import pytest
import recbole
import yaml
from conftest import SMALL, prepare, write_interactions
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR
from recbole.quick_start import run_recbole

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.commands import train
from recbole_sparse_elsa.errors import CheckpointError, DatasetError, OptionError, UserError
from recbole_sparse_elsa.model import PROPERTIES
from recbole_sparse_elsa.plugin.policy_options import FORMER_OPTIONS, require_known_arguments

# Unknown options


@pytest.mark.parametrize(
    "option, value, hint",
    [
        ("embedding_sise", 32, "did you mean embedding_size"),
        ("epoch", 2, "did you mean epochs"),
        ("min_user_inter_num", 5, "use user_inter_num_interval"),
        ("lowest_val", {"rating": 4}, "use val_interval"),
        ("neg_sampling", {"uniform": 1}, "use train_neg_sample_args"),
        ("eval_setting", "RO_RS", "use eval_args"),
        ("xyzzy", 1, "see RecBole's and this package's option tables"),
    ],
)
def test_an_option_that_no_model_has_is_refused_with_what_helps(option, value, hint, monkeypatch):
    monkeypatch.setattr("recbole.data.dataset.dataset.Dataset.__init__", lambda *args: pytest.fail("data were loaded"))
    with pytest.raises(OptionError, match=f"there is no option {option}, which is given as .*{hint}") as error:
        run_recbole(model="BPR", dataset="ml-100k", config_dict={option: value})
    assert "\n" not in str(error.value)


def test_unknown_options_of_files_and_of_the_command_line_are_refused_too(working_folder, monkeypatch):
    (working_folder / "some.yaml").write_text("learning_rat: 0.1\n")
    with pytest.raises(OptionError, match="there is no option learning_rat, .*did you mean learning_rate"):
        Config("BPR", "ml-100k", config_file_list=["some.yaml"])
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", "--model=BPR", "--epoch=2"])
    with pytest.raises(OptionError, match="there is no option epoch, .*did you mean epochs"):
        Config("BPR", "ml-100k")


def test_options_of_other_models_may_stand_in_a_shared_file(working_folder):
    (working_folder / "shared.yaml").write_text("k: 16\nn_layers: 2\nepochs: 3\n")
    assert Config("EASE", "ml-100k", config_file_list=["shared.yaml"])["epochs"] == 3


def test_a_model_of_ones_own_may_read_any_option():
    class Mine(BPR):
        pass

    Mine.__module__ = "some_project.models"
    assert Config(Mine, "ml-100k", config_dict={"my_option": 5})["my_option"] == 5


@pytest.mark.parametrize("option", FORMER_OPTIONS)
def test_every_former_option_is_named_with_its_successor(option):
    with pytest.raises(OptionError, match=f"there is no option {option}.*RecBole has it no more; use "):
        Config("BPR", "ml-100k", config_dict={option: 1})


# The command line


@pytest.mark.parametrize(
    "arguments, options",
    [
        (["--k", "16"], {"k": 16}),
        (["--k=16", "--stage_epochs", "3", "--learner=adam"], {"k": 16, "stage_epochs": 3, "learner": "adam"}),
        (["--wandb_project=a=b"], {"wandb_project": "a=b"}),
        (["--checkpoint_dir", r"it's\="], {"checkpoint_dir": r"it's\="}),
        (["--wandb_project='a=b'"], {"wandb_project": "a=b"}),
        (
            ["--val_interval={'rating': '[4,inf)', 'item_id': ['a=b']}"],
            {"val_interval": {"rating": "[4,inf)", "item_id": ["a=b"]}},
        ),
        (["--topk", "[5,10]"], {"topk": [5, 10]}),
        (["--shuffle", "False", "--worker", "1"], {"shuffle": False, "worker": 1}),
        (["--weight_decay", "-1e-3"], {"weight_decay": -1e-3}),
    ],
)
def test_values_after_a_space_and_values_with_an_equals_sign_count(arguments, options, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *arguments])
    config = Config("SparseELSA", "ml-100k", config_dict={"valid_metric": "MRR@10"})
    assert {name: config[name] for name in options} == options


def test_every_option_of_the_files_of_defaults_is_known():
    files = [*(Path(recbole.__file__).parent / "properties").rglob("*.yaml"), *Path(PROPERTIES).glob("*.yaml")]
    names = {str(name) for file in files for name in yaml.safe_load(file.read_text(encoding="utf-8")) or ()}
    assert {"worker", "shuffle", "enable_amp", "mlp_hidden_size", "k"} <= names
    require_known_arguments([f"--{name}=1" for name in names])


@pytest.mark.parametrize("arguments", [["--k"], ["--k", "--epochs=3"]])
def test_an_option_without_a_value_is_refused(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *arguments])
    with pytest.raises(OptionError, match="option --k has no value; give --k=value"):
        Config("SparseELSA", "ml-100k")


def test_arguments_of_another_program_are_left_to_it(monkeypatch):
    arguments = ["--verbose", "--input", "some.csv", "--k", "16", "--dry-run"]
    monkeypatch.setattr(sys, "argv", ["program.py", *arguments])
    config = Config("SparseELSA", "ml-100k")
    assert config["k"] == 16 and config["input"] is None
    assert sys.argv == ["program.py", "--verbose", "--input", "some.csv", "--k=16", "--dry-run"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--epoch", "2"], "there is no option --epoch; did you mean epochs"),
        (["--embedding_sise=32"], "there is no option --embedding_sise; did you mean embedding_size"),
        (["--fast"], "there is no option --fast; "),
        (["epochs=2"], "there is no option epochs; "),
        (["-k", "3"], "there is no option -k; "),
        (["--min_user_inter_num", "5"], "there is no option --min_user_inter_num; RecBole has it no more; use user"),
        (["--k"], "option --k has no value; give --k=value"),
    ],
)
@pytest.mark.parametrize("program", ["run_recbole.py", "sparse-elsa"])
def test_the_command_refuses_every_argument_that_it_does_not_know(program, arguments, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, *["train"] * (program == "sparse-elsa"), *arguments])
    with pytest.raises(SystemExit) as ended:
        train.main("") if program == "run_recbole.py" else main()
    assert str(ended.value).startswith(f"OptionError: {message}") and "\n" not in str(ended.value)


# What RecBole complains of late, or in a traceback


@pytest.mark.parametrize(
    "options, message",
    [
        ({"metrics": ["Recall"], "topk": [20]}, "valid_metric is MRR@10, but must be one of .*: recall@20$"),
        ({"valid_metric": "NDCG@20"}, "valid_metric is NDCG@20, but must be one of .*ndcg@10"),
        ({"valid_metric": "NDCG"}, "valid_metric is NDCG, but must be one of"),
        ({"metrics": ["NoSuchMetric"]}, "There is no metric named"),
        ({"topk": 0}, "topk must be a positive integer"),
        ({"topk": "ten"}, "RecBole does not accept the options"),
        ({"eval_args": "RO"}, "RecBole does not accept the options"),
        ({"valid_metric": 5}, "RecBole does not accept the options"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(options, message):
    with pytest.raises(OptionError, match=message) as error:
        Config("BPR", "ml-100k", config_dict=options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", [["train"], "ab", [], ["a", "b", "b"], ["a", "a"], ["train", "a", "b", "test"]])
def test_fixed_files_are_three_or_two(names, working_folder):
    folder = working_folder / "dataset" / "fixed"
    folder.mkdir(parents=True)
    for name in ("train", "test", "a", "b"):
        (folder / f"fixed.{name}.inter").write_text("user_id:token\titem_id:token\nu\ti\n")
    with pytest.raises(OptionError, match=r"benchmark_filename is .*, but must be a list of three parts of file names"):
        Config("BPR", "fixed", config_dict={"benchmark_filename": names})


@pytest.mark.parametrize("metrics, valid", [(["Recall", "GAUC"], "GAUC"), (["GiniIndex", "MAP"], "giniindex@10")])
def test_metrics_that_are_computed_are_taken(metrics, valid):
    options = {"metrics": metrics, "valid_metric": valid, "eval_args": {"mode": "full"}}
    assert Config("BPR", "ml-100k", config_dict=options)["valid_metric"] == valid


def load(model, dataset, **options):
    config = Config(model, dataset, config_dict={**SMALL, **options})
    return data_preparation(config, create_dataset(config))


def test_what_recbole_has_against_the_data_is_one_line(checkerboard):
    for options in ({"eval_args": {"split": {"RS": "all"}}}, {"eval_args": {"order": "by name"}}):
        with pytest.raises(UserError) as error:
            load("BPR", checkerboard, **options)
        assert "\n" not in str(error.value)


def test_a_cutoff_beyond_the_catalogue_is_refused_before_training(checkerboard):
    with pytest.raises(OptionError, match=r"topk is \[42\], but data set checkerboard has 40 items"):
        load("BPR", checkerboard, topk=[42], valid_metric="MRR@42")
    assert load("BPR", checkerboard, topk=[40], valid_metric="MRR@40")


def test_data_of_which_nothing_is_left_to_test_on_are_refused(working_folder):
    write_interactions(working_folder / "dataset", "single", [(f"u{user}", f"i{user % 12}") for user in range(30)])
    for split in ({"RS": [0.8, 0.1, 0.1]}, {"LS": "valid_and_test"}, {"LS": "test_only"}):
        with pytest.raises(DatasetError, match="no interaction of data set single is left to test on"):
            load("BPR", "single", eval_args={"split": split})
    assert load("BPR", "single", eval_args={"split": {"LS": "valid_only"}})


def test_ml_100k_is_taken_from_data_path_where_it_lies_there(working_folder):
    shipped = Config("Pop", "ml-100k")["data_path"]
    assert Config("Pop", "ml-100k", config_dict={"data_path": "mine"})["data_path"] == shipped
    write_interactions(working_folder / "mine", "ml-100k", [("u", "i")])
    path = Config("Pop", "ml-100k", config_dict={"data_path": "mine"})["data_path"]
    assert path == os.path.join("mine", "ml-100k")


# Resuming with other options


def test_a_run_is_resumed_with_the_options_that_it_began_with(checkerboard):
    from test_trainer import SPARSE, killed_in_epoch

    resume_file = killed_in_epoch(prepare("SparseELSA", checkerboard, **SPARSE), 3)
    for option, value in (("k", 2), ("seed", 7), ("learning_rate", 0.2), ("input_dropout", 0.1)):
        with pytest.raises(CheckpointError, match=f"saved with {option} .*, but {option} is {value}: a run goes on"):
            prepare("SparseELSA", checkerboard, **{**SPARSE, option: value}, resume=resume_file)
    longer = prepare("SparseELSA", checkerboard, **{**SPARSE, "epochs": 17}, resume=resume_file)
    assert longer.trainer.epochs == 17


def test_labels_are_predicted_from_features_alone(working_folder):
    (working_folder / "dataset" / "clicks").mkdir(parents=True)
    lines = [f"{'ab'[i % 2]}\t{i % 5}\t{i % 2}" for i in range(200)]
    header = "banner:token\thour:token\tlabel:float"
    (working_folder / "dataset" / "clicks" / "clicks.inter").write_text("\n".join([header, *lines]) + "\n")
    result = run_recbole(
        "FM",
        "clicks",
        config_dict={
            **{"USER_ID_FIELD": None, "ITEM_ID_FIELD": None, "LABEL_FIELD": "label", "load_col": None},
            **{"eval_args": {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"}},
            **{"metrics": ["AUC"], "valid_metric": "AUC", "epochs": 20, "train_neg_sample_args": None, **SMALL},
        },
    )
    assert result["test_result"]["auc"] == 1  # the banner tells the label
