"""``sparse-elsa search``: search spaces, and searches that find, go on, fail in part, and leave the test data alone."""

import csv
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import time

import optuna
import pytest
import yaml
from conftest import write_interactions
from optuna.trial import TrialState
from recbole.config import Config
from recbole.trainer import Trainer

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.search import study as study_module
from recbole_sparse_elsa.search.search_space import Choice, Range, read_search_space, require_searchable

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SPACES = os.path.join(TOP, "configs", "search")

LEADERBOARD = {
    "datasets": ["checkerboard"],
    "seeds": [1, 2],
    "options": {"metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5"},
    "models": {
        "Dense": {"model": "ELSA", "options": {"embedding_size": 8, "epochs": 4, "train_batch_size": 16}},
        "Sparse": {
            "model": "SparseELSA",
            "sizes": {"k": [4, 2]},
            "options": {"embedding_size": 8, "epochs": 6, "stage_epochs": 1, "train_batch_size": 16},
        },
        "EASE": {"model": "EASE"},
    },
}
FAST_OR_STUCK = {"learning_rate": {"choice": [1e-9, 0.1]}}


def write_yaml(file, content):
    with open(file, "w", encoding="utf-8") as opened:
        yaml.safe_dump(content, opened, sort_keys=False)


def search(space, *options, model="Dense", trials=4, output="found", leaderboard=LEADERBOARD):
    """Run a search in this process; the rows of its trials.csv."""
    write_yaml("board.yaml", leaderboard)
    write_yaml("space.yaml", space)
    given = ["--space", "space.yaml", "--trials", str(trials), "--output", output]
    main(["search", "board.yaml", "--model", model, *given, *options])
    return read_trials(output)


def read_trials(output):
    with open(os.path.join(output, "trials.csv"), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def refusal(*args, **kwargs):
    """The line with which a search is refused."""
    with pytest.raises(SystemExit) as caught:
        search(*args, **kwargs)
    assert "\n" not in caught.value.code
    return caught.value.code


# Search spaces


@pytest.mark.parametrize(
    "text, expected",
    [
        ("uniform: [0, 1.5]", Range(0, 1.5, integer=False, log=False)),
        ("loguniform: [1e-4, 0.1]", Range(1e-4, 0.1, integer=False, log=True)),
        ("int: [0, 3]", Range(0, 3, integer=True, log=False)),
        ("logint: [1, 1000]", Range(1, 1000, integer=True, log=True)),
        ("choice: [[600], [600, 200], null, true, a]", Choice(([600], [600, 200], None, True, "a"))),
    ],
)
def test_kinds_of_values(working_folder, text, expected):
    (working_folder / "space.yaml").write_text(f"some_option: {{{text}}}\n")
    assert read_search_space("space.yaml") == {"some_option": expected}


def test_drawn_values_are_those_asked_for():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    draws = [
        {
            "real": Range(0.1, 0.2, integer=False, log=True).suggest(trial, "real"),
            "whole": Range(2, 4, integer=True, log=False).suggest(trial, "whole"),
            "list": Choice(([600], [600, 200], None)).suggest(trial, "list"),
        }
        for trial in (study.ask() for _ in range(40))
    ]
    assert all(0.1 <= draw["real"] <= 0.2 for draw in draws)
    assert {draw["whole"] for draw in draws} == {2, 3, 4}
    for value in ([600], [600, 200], None):
        assert value in [draw["list"] for draw in draws]


@pytest.mark.parametrize(
    "text, allowed",
    [
        ("[1, 2]", "one of uniform, loguniform, int, logint or choice"),
        ("{}", "one of uniform, loguniform, int, logint or choice"),
        ("{normal: [0, 1]}", "not normal"),
        ("{uniform: [0, 1], int: [0, 1]}", "one of uniform"),
        ("{uniform: [1]}", "low below high"),
        ("{uniform: [2, 1]}", "low below high"),
        ("{uniform: [0, .inf]}", "finite numbers"),
        ("{uniform: [0, a]}", "finite numbers"),
        ("{loguniform: [0, 1]}", "low above 0"),
        ("{int: [1, 2.5]}", "whole numbers"),
        ("{logint: [0, 5]}", "low at least 1"),
        ("{choice: []}", "a list of different values"),
        ("{choice: [1, 1]}", "a list of different values"),
        ("{choice: 3}", "a list of different values"),
    ],
)
def test_a_wrong_range_is_named_with_its_file_option_and_value(working_folder, text, allowed):
    (working_folder / "space.yaml").write_text(f"alpha: {text}\n")
    with pytest.raises(OptionError, match=r"^space\.yaml: alpha is .*, but must be .*") as caught:
        read_search_space("space.yaml")
    assert allowed in str(caught.value)


@pytest.mark.parametrize("name", sorted(os.listdir(SPACES)))
def test_ready_search_spaces_hold_options_of_their_model_with_values_that_it_takes(name):
    file, model = os.path.join(SPACES, name), name.removesuffix(".yaml")
    space = read_search_space(file)
    require_searchable(space, file, Config(model, "ml-100k"), fixed=())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for trial in (study.ask() for _ in range(5)):
        drawn = {option: values.suggest(trial, option) for option, values in space.items()}
        config = Config(model, "ml-100k", config_dict=dict(drawn))
        assert {option: config[option] for option in drawn} == drawn


# Refusals, before any training


@pytest.mark.parametrize(
    "space, options, error",
    [
        ({"topk": {"choice": [5, 10]}}, {}, "searches topk, but only options of a model and of its training"),
        ({"seed": {"int": [1, 9]}}, {}, "searches seed, but only"),
        ({"learning_rat": {"uniform": [0, 1]}}, {}, "searches learning_rat, which is not an option of ELSA"),
        ({}, {}, "searches no option"),
        ({"k": {"int": [1, 8]}}, {"model": "Sparse", "size": "k=4"}, "searches k, which the size fixes"),
        (FAST_OR_STUCK, {"model": "Other"}, "model is 'Other', but must be one of board.yaml: Dense, Sparse, EASE"),
        (FAST_OR_STUCK, {"dataset": "other"}, "dataset is 'other', but must be one of board.yaml: checkerboard"),
        (FAST_OR_STUCK, {"model": "Sparse"}, "size is not given, but must be one of k=4, k=2"),
        (FAST_OR_STUCK, {"model": "Sparse", "size": "k=3"}, "size is 'k=3', but must be one of board.yaml: k=4, k=2"),
        (FAST_OR_STUCK, {"trials": 0}, "trials is 0, but must be a whole number of at least 1"),
        (FAST_OR_STUCK, {"jobs": 0}, "jobs is 0, but must be a whole number of at least 1"),
        (FAST_OR_STUCK, {"median-stopping": -1}, "median_stopping is -1, but must be a whole number of at least 0"),
        (FAST_OR_STUCK, {"seeds": -1}, "seeds is -1, but must be a whole number of at least 0"),
        (FAST_OR_STUCK, {"storage": "nonsense"}, "storage is nonsense, which cannot be opened"),
        (FAST_OR_STUCK, {"storage": "mysql://me:secret@host/db"}, "storage is host/db, which cannot be opened"),
    ],
)
def test_refusals(checkerboard, monkeypatch, space, options, error):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("something was trained"))
    given = {name: value for name, value in options.items() if name not in ("model", "trials")}
    line = refusal(
        space,
        *(f"--{name}={value}" for name, value in given.items()),
        model=options.get("model", "Dense"),
        trials=options.get("trials", 2),
    )
    assert error in line and "secret" not in line
    assert not os.path.exists("found/trials.csv")


def test_without_optuna_the_line_says_what_to_install(checkerboard, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "optuna" else find(name))
    assert 'pip install "recbole_sparse_elsa[search]"' in refusal(FAST_OR_STUCK)


# Searches


def test_the_better_value_is_found_and_told(checkerboard, capsys):
    trials = search(FAST_OR_STUCK, trials=5)
    mean_of = {row["learning_rate"]: float(row["valid_mean"]) for row in trials}
    assert mean_of["0.1"] > mean_of["1e-09"] + 0.05
    assert [row["state"] for row in trials] == ["complete"] * 5
    assert {(row["label"], row["model"], row["metric"], row["seeds"]) for row in trials} == {
        ("Dense", "ELSA", "ndcg@5", "1 2")
    }
    with open("found/best.yaml", encoding="utf-8") as file:
        assert yaml.safe_load(file) == {"learning_rate": 0.1}
    first_row = capsys.readouterr().out.split("|\n")[2]
    assert f"{mean_of['0.1']:.4f}" in first_row


def test_best_options_give_their_validation_metric_in_the_leaderboard(checkerboard):
    space = {"learning_rate": {"loguniform": [0.01, 0.5]}, "nadam_epsilon": {"loguniform": [1e-6, 1e-2]}}
    trials = search(space, "--size", "k=4", "--seeds=1", model="Sparse", trials=3)
    with open("found/best.yaml", encoding="utf-8") as file:
        best = yaml.safe_load(file)
    sparse = LEADERBOARD["models"]["Sparse"]
    tuned = {"model": "SparseELSA", "sizes": {"k": [4]}, "options": {**sparse["options"], **best}}
    write_yaml("tuned.yaml", {**LEADERBOARD, "seeds": [1], "models": {"Tuned": tuned}})
    main(["leaderboard", "tuned.yaml", "--output", "board"])
    with open("board/results.csv", encoding="utf-8", newline="") as file:
        (valid,) = (row for row in csv.DictReader(file) if row["phase"] == "valid" and row["metric"] == "ndcg@5")
    assert float(valid["value"]) == pytest.approx(max(float(row["valid_mean"]) for row in trials), abs=1e-9)


def drawn_and_found(trials):
    return [(row["learning_rate"], row["valid_mean"]) for row in trials if row["state"] == "complete"]


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(checkerboard, monkeypatch):
    space = {"learning_rate": {"loguniform": [1e-4, 0.5]}}
    whole = search(space, trials=5, output="whole")
    assert len(set(drawn_and_found(whole))) == 5
    fit, fits = Trainer.fit, []

    def interrupted_fit(self, *args, **kwargs):
        fits.append(self)
        if len(fits) == 6:  # the second seed of the third trial
            raise KeyboardInterrupt
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "fit", interrupted_fit)
    with pytest.raises(SystemExit, match="130"):
        search(space, trials=5)
    assert len(read_trials("found")) == 2
    again = search(space, trials=5)
    assert [row["state"] for row in again] == ["complete"] * 2 + ["interrupted"] + ["complete"] * 3
    assert drawn_and_found(again) == drawn_and_found(whole)
    assert len(fits) == 12  # two seeds for each of five trials, and the interrupted one
    assert len(search(space, trials=7)) == 8


def test_a_killed_search_goes_on(checkerboard):
    write_yaml("board.yaml", LEADERBOARD)
    write_yaml("space.yaml", {"learning_rate": {"loguniform": [1e-4, 0.5]}})
    command = ["search", "board.yaml", "--model", "Dense", "--space", "space.yaml", "--output", "found", "--trials"]
    environment = {**os.environ, "PYTHONPATH": TOP}
    process = subprocess.Popen(
        [sys.executable, "-m", "recbole_sparse_elsa", *command, "1000"], env=environment, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (os.path.exists("found/trials.csv") and len(read_trials("found")) >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait()
    before = read_trials("found")
    main([*command, str(len(before) + 2)])
    after = read_trials("found")
    assert after[: len(before)] == before
    assert sum(row["state"] == "complete" for row in after) == len(before) + 2
    assert "running" not in [row["state"] for row in after]


def epoch_of_median_stopping(number, trials, first_epoch):
    """The epoch, from 0, in which the median stopping rule ends the trial ``number``; None if it does not."""
    done = [trial for trial in trials[:number] if trial.state == TrialState.COMPLETE]
    metrics = trials[number].intermediate_values
    for epoch in range(first_epoch, len(metrics)):
        if len(done) >= 5:
            median = statistics.median(trial.intermediate_values[epoch] for trial in done)
            if max(metrics[earlier] for earlier in range(epoch + 1)) < median:
                return epoch
    return None


@pytest.mark.parametrize("first_epoch", [0, 2])
def test_median_stopping_ends_trials_that_fall_behind_and_changes_no_other(checkerboard, capsys, first_epoch):
    space = {"learning_rate": {"loguniform": [1e-9, 0.5]}}
    rows = search(space, f"--median-stopping={first_epoch}", trials=12)
    study = optuna.load_study(study_name="Dense on checkerboard", storage="sqlite:///found/study.db")
    trials = study.get_trials()
    ends = [epoch_of_median_stopping(number, trials, first_epoch) for number in range(12)]
    for row, trial, end in zip(rows, trials, ends, strict=True):
        assert row["state"] == ("complete" if end is None else "stopped")
        assert len(trial.intermediate_values) == (4 if end is None else end + 1)
        assert (row["valid_mean"] == "") == (row["state"] == "stopped")
    n_stopped = sum(end is not None for end in ends)
    assert 0 < n_stopped < 12
    said = f"the best of {12 - n_stopped} complete trials and {n_stopped} stopped early"
    assert said in capsys.readouterr().out
    with open("found/best.yaml", encoding="utf-8") as file:
        text = file.read()
    assert said in " ".join(text.replace("#", " ").split())
    best = max((row for row in rows if row["state"] == "complete"), key=lambda row: float(row["valid_mean"]))
    assert yaml.safe_load(text) == {"learning_rate": float(best["learning_rate"])}
    # What was trained to its end is what a search of its values alone finds.
    same = {"learning_rate": {"choice": [float(best["learning_rate"])]}}
    (alone,) = search(same, trials=1, output="alone")
    assert alone["valid_mean"] == best["valid_mean"]


def test_median_stopping_in_several_processes(checkerboard):
    space = {"learning_rate": {"loguniform": [1e-9, 0.5]}}
    rows = search(space, "--median-stopping=0", "--jobs=2", trials=14)
    assert {row["state"] for row in rows} == {"complete", "stopped"}
    assert not any(row["error"] for row in rows)


def test_failed_trials_are_recorded_and_stop_nothing(checkerboard):
    space = {"embedding_size": {"choice": [1, 8]}}  # k = 4 needs a width of at least 4
    trials = search(space, "--size", "k=4", model="Sparse", trials=6)
    assert {(row["embedding_size"], row["state"]) for row in trials} == {("1", "failed"), ("8", "complete")}
    for row in trials:
        assert ("OptionError: k is 4, but must" in row["error"]) == (row["state"] == "failed")
    line = refusal(
        {"embedding_size": {"choice": [1, 2]}}, "--size=k=4", model="Sparse", trials=2, output="none"
    )
    assert line.startswith("TrainingError: no trial of Sparse k=4 on checkerboard was completed") and "k is 4" in line
    assert len(read_trials("none")) == 2 and not os.path.exists("none/best.yaml")


def test_a_folder_goes_on_with_its_own_search_only(checkerboard):
    search(FAST_OR_STUCK, trials=1)
    wider = {"learning_rate": {"choice": [1e-9, 0.1, 0.2]}}
    assert "was begun with other search space" in refusal(wider, trials=2)
    assert "was begun with other seeds" in refusal(FAST_OR_STUCK, "--seeds=7", trials=2)
    ease = {"reg_weight": {"uniform": [1, 2]}}
    assert "holds the search Dense on checkerboard" in refusal(ease, model="EASE", trials=2)
    assert len(read_trials("found")) == 1


def test_a_storage_is_shared_by_searches_with_folders_of_their_own(checkerboard, working_folder):
    storage = f"--storage=sqlite:///{working_folder}/shared.db"
    first = search(FAST_OR_STUCK, storage, trials=2, output="one")
    second = search(FAST_OR_STUCK, storage, trials=3, output="two")
    assert second[:2] == first and len(second) == 3
    assert not os.path.exists("one/study.db")
    search({"reg_weight": {"uniform": [1, 2]}}, storage, model="EASE", trials=1, output="three")


def test_several_trials_at_a_time(checkerboard):
    only = {"learning_rate": {"choice": [0.1]}}
    (alone,) = search(only, trials=1, output="alone")
    trials = search(only, "--jobs=2", trials=3)
    assert [(row["trial"], row["state"]) for row in trials] == [(str(number), "complete") for number in range(3)]
    assert {row["valid_mean"] for row in trials} == {alone["valid_mean"]}


def end_this_process(*_):
    os._exit(1)


def test_a_trial_whose_process_is_killed_has_failed(checkerboard, monkeypatch):
    monkeypatch.setattr(study_module, "_validation_metrics", end_this_process)
    line = refusal(FAST_OR_STUCK, "--jobs=2", trials=2)
    assert "killed" in line
    assert [row["state"] for row in read_trials("found")] == ["failed"] * 2


# The test data


def write_split(folder, name, test):
    """A data set whose split into training, validation and test data is given."""
    train, valid = [], []
    for user in range(40):
        liked = [item for item in range(user % 2, 24, 2) if item != 2 * (user % 12) + user % 2]
        train += [(f"u{user}", f"i{item}") for item in liked[:-2]]
        valid += [(f"u{user}", f"i{item}") for item in liked[-2:]]
    parts = {"train": train, "valid": valid, "test": test}
    write_interactions(folder, name, [])
    for part, interactions in parts.items():
        lines = ["user_id:token\titem_id:token", *(f"{user}\t{item}" for user, item in interactions)]
        (folder / name / f"{name}.{part}.inter").write_text("\n".join(lines) + "\n")


def test_other_test_data_change_nothing(working_folder):
    found = []
    for name, test in {
        "liked": [(f"u{user}", f"i{2 * (user % 12) + user % 2}") for user in range(40)],
        "disliked": [(f"u{user}", f"i{(user + 1) % 2}") for user in range(40)],
    }.items():
        write_split(working_folder / "dataset", name, test)
        options = {**LEADERBOARD["options"], "benchmark_filename": ["train", "valid", "test"]}
        for model, space in {
            "Dense": {"learning_rate": {"loguniform": [1e-4, 0.5]}},
            "EASE": {"reg_weight": {"loguniform": [0.1, 1000]}},
        }.items():
            board = {**LEADERBOARD, "datasets": [name], "options": options}
            found.append([
                {key: value for key, value in row.items() if key not in ("dataset", "seconds")}
                for row in search(space, model=model, trials=2, output=f"{name}-{model}", leaderboard=board)
            ])
    assert found[0] == found[2] and found[1] == found[3]


def test_only_validation_data_are_evaluated(checkerboard, monkeypatch):
    evaluate, phases = Trainer.evaluate, []

    def watched_evaluate(self, eval_data, *args, **kwargs):
        phases.append(eval_data._sampler.phase)
        return evaluate(self, eval_data, *args, **kwargs)

    monkeypatch.setattr(Trainer, "evaluate", watched_evaluate)
    search(FAST_OR_STUCK, trials=2)
    assert set(phases) == {"valid"}
