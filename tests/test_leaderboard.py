"""``sparse-elsa leaderboard``: its file, its cells, and what a run leaves."""

import csv
import glob
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy
import pandas
import psutil
import pytest
import yaml
from conftest import prepare, write_interactions

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import in_one_line
from recbole_sparse_elsa.evaluation.per_user import evaluate_per_user
from recbole_sparse_elsa.leaderboard import parallel
from recbole_sparse_elsa.leaderboard.read_results import VERSIONS
from recbole_sparse_elsa.leaderboard.results import read_result
from recbole_sparse_elsa.leaderboard.specification import read_specification

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SMALL = {"embedding_size": 16, "stage_epochs": 1, "epochs": 4, "train_batch_size": 16, "embedding_form": "dense"}


def leaderboard(**changes):
    content = {
        "datasets": ["checkerboard"],
        "seeds": [1],
        "options": {"metrics": ["Recall", "NDCG", "ItemCoverage"], "topk": [5, 10], "valid_metric": "NDCG@10"},
        "models": {
            "EASE": {"model": "EASE"},
            "sparse": {"model": "SparseELSA", "options": SMALL, "sizes": {"k": [4]}},
        },
    }
    return {**content, **changes}


def write_yaml(content, file="leaderboard.yaml"):
    with open(file, "w") as opened:
        opened.write(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return file


def cells_of(**changes):
    return read_specification(write_yaml(leaderboard(**changes))).cells


def read_csv(file):
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def models(**changes):
    return {"EASE": {"model": "EASE", **changes}}


@pytest.mark.parametrize(
    "content, error",
    [
        ("a: [", "leaderboard.yaml is not a YAML file: .*"),
        ("- EASE", r"leaderboard.yaml must hold a mapping of keys to values, but holds \['EASE'\]"),
        (
            "models: {EASE: {model: EASE}, EASE: {model: Pop}}",
            "leaderboard.yaml is not a YAML file: the key EASE occurs twice.*",
        ),
        (
            {"model": "EASE"},
            "leaderboard.yaml: there is the unknown key 'model': 'EASE'; allowed are datasets, models .*",
        ),
        ({"datasets": ["checkerboard"]}, "leaderboard.yaml: there is no models; allowed are .*"),
        (leaderboard(datasets=[]), r"leaderboard.yaml: datasets is \[\], but must be a list of at least one value"),
        (
            leaderboard(datasets=[3]),
            r".*: datasets\[0\] is 3, but must be the name of a data set, or a mapping with its name",
        ),
        (
            leaderboard(datasets=[{"name": "checkerboard", "k": 3}]),
            r".*: datasets\[0\] has the unknown key 'k': 3; allowed .*",
        ),
        (leaderboard(datasets=["checkerboard"] * 2), ".*: datasets has 'checkerboard' twice, but each must occur once"),
        (
            leaderboard(datasets=[{"name": "checkerboard", "config_files": ["nowhere.yaml"]}]),
            ".*: nowhere.yaml cannot be read: No such file or directory",
        ),
        (leaderboard(seeds=[-1]), ".*: seeds is -1, but must be a whole number of at least 0"),
        (leaderboard(seeds=[1, 1]), ".*: seeds has 1 twice, but each must occur once"),
        (leaderboard(options={"seed": 3}), ".*: options has seed: 3, which is not allowed here; use seeds"),
        (leaderboard(options={"topc": [5]}), r".*: options has the unknown option topc: \[5\]; did you mean topk.*"),
        (
            leaderboard(options={"metrics": ["NDGC"]}),
            ".*: models.EASE on checkerboard: RecBole does not accept .*'NDGC'",
        ),
        (
            leaderboard(options={"valid_metric": "NDCG@7"}),
            ".*: valid_metric is NDCG@7, but must be one of metrics and topk: recall@10, .*",
        ),
        (leaderboard(models={}), ".*: models is {}, but must have at least one model"),
        (leaderboard(models={"A": "EASE"}), ".*: models.A is 'EASE', but must be a mapping with a model, such as .*"),
        (leaderboard(models={"A": {"options": {}}}), ".*: models.A has no model; allowed are model .required., .*"),
        (
            leaderboard(models={"A": {"model": "EASEE"}}),
            ".*: models.A on checkerboard: there is no model EASEE: did you mean EASE.*",
        ),
        (
            leaderboard(models=models(options=3)),
            ".*: models.EASE.options is 3, but must be a mapping of RecBole's options .*",
        ),
        (
            leaderboard(models=models(options={"reg_wieght": 1})),
            ".*: models.EASE has the unknown option reg_wieght: 1; did you mean reg_weight.*",
        ),
        (
            leaderboard(models=models(options={"reg_weight": float("inf")})),
            ".*: models.EASE.options.reg_weight is inf, but must be .*",
        ),
        (
            leaderboard(models=models(sizes={"reg_weight": []})),
            r".*: models.EASE.sizes.reg_weight is \[\], but must be a list .*",
        ),
        (
            leaderboard(models=models(sizes={"reg_weight": {}})),
            ".*: models.EASE.sizes.reg_weight is {}, but must be .*",
        ),
        (
            leaderboard(models=models(sizes={"reg_weight": {1: {"epoch": 2}}})),
            ".*: models.EASE has the unknown option epoch: 2; did you mean epochs.*",
        ),
        (
            leaderboard(models=models(sizes={"reg_weight": [1], "epochs": [1]})),
            ".*: models.EASE.sizes is .*, but must have exactly one option",
        ),
        (
            leaderboard(models=models(datasets={"ml-1m": {}})),
            ".*: models.EASE.datasets has 'ml-1m', but allowed are .*: checkerboard",
        ),
        (
            leaderboard(models={"S": {"model": "SparseELSA", "options": {"start_k": None}, "sizes": {"k": [4, 5000]}}}),
            ".*: models.S on checkerboard: k is 5000, but must lie in .*",
        ),
        (leaderboard(baseline="Pop"), ".*: baseline is 'Pop', but must be one of the models: EASE, sparse"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_in_one_line_before_any_work(checkerboard, content, error):
    file = write_yaml(content)
    with pytest.raises(SystemExit, match=f"^OptionError: {error}$") as refused:
        main(["leaderboard", file, "--output", "out"])
    assert "\n" not in refused.value.code
    assert sorted(os.listdir()) == ["dataset", "leaderboard.yaml"]


@pytest.mark.parametrize(
    "arguments, error",
    [
        (["nowhere.yaml", "--output", "out"], "OptionError: nowhere.yaml cannot be read: No such file or directory"),
        (["leaderboard.yaml"], "OptionError: the following arguments are required: --output"),
        (
            ["leaderboard.yaml", "--output", "leaderboard.yaml"],
            "OutputError: output: leaderboard.yaml cannot be made a folder",
        ),
        (
            ["leaderboard.yaml", "--output", "out", "--jobs", "0"],
            "OptionError: jobs is 0, but must be a whole number of at least 1",
        ),
        (
            ["leaderboard.yaml", "--output", "out", "--threads", "0"],
            "OptionError: threads is 0, but must be a whole number",
        ),
        (
            ["leaderboard.yaml", "--output", "out", "--backend", "locky"],
            "OptionError: backend is 'locky', but must be loky, dask",
        ),
    ],
)
def test_wrong_options_are_refused(checkerboard, arguments, error):
    write_yaml(leaderboard())
    with pytest.raises(SystemExit, match=f"^{error}"):
        main(["leaderboard", *arguments])


def test_a_missing_data_set_is_named(working_folder):
    write_yaml(leaderboard(datasets=["nothing"], data_path="folder"))
    error = "DatasetError: leaderboard.yaml: models.EASE on nothing: data set nothing not found"
    with pytest.raises(SystemExit, match=error):
        main(["leaderboard", "leaderboard.yaml", "--output", "out"])


@pytest.mark.parametrize("module, backend", [("pyarrow", "loky"), ("dask.distributed", "dask")])
def test_a_missing_library_is_named_with_what_to_install(checkerboard, monkeypatch, module, backend):
    monkeypatch.setitem(sys.modules, module, None)
    write_yaml(leaderboard())
    with pytest.raises(SystemExit, match=r'OptionError: .*pip install "recbole_sparse_elsa\[leaderboard\]"'):
        main(["leaderboard", "leaderboard.yaml", "--output", "out", "--backend", backend])


def test_cells_are_every_model_size_and_seed_on_every_data_set(checkerboard, working_folder):
    write_interactions(working_folder / "dataset", "other", [(f"u{user}", f"i{user % 7}") for user in range(60)])
    planned = cells_of(
        datasets=["checkerboard", "other"],
        seeds=[1, 2],
        models={"EASE": {"model": "EASE"}, "sparse": {"model": "SparseELSA", "sizes": {"k": [8, 4]}}},
    )
    assert [(cell.dataset, cell.label, cell.model, cell.size, cell.seed) for cell in planned] == [
        (dataset, label, model, size, seed)
        for dataset in ("checkerboard", "other")
        for label, model, size in (
            ("EASE", "EASE", ""),
            ("sparse", "SparseELSA", "k=8"),
            ("sparse", "SparseELSA", "k=4"),
        )
        for seed in (1, 2)
    ]
    assert len({cell.id for cell in planned}) == 12


def test_the_more_special_option_wins(checkerboard):
    # From the most general to the most special; each also sets what only it sets.
    write_yaml("model: BPR\nlearning_rate: 2e-2\nepochs: 12\nweight_decay: 1e-4\n", "file.yaml")
    (small, large) = cells_of(
        options={"learning_rate": 0.01, "epochs": 11, "stopping_step": 3, "topk": [10]},
        datasets=[
            {"name": "checkerboard", "config_files": ["file.yaml"], "config": {"epochs": 13, "learning_rate": 0.03}}
        ],
        models={
            "ELSA": {
                "model": "ELSA",
                "options": {"learning_rate": 0.04, "input_dropout": 0.1, "embedding_size": 3},
                "datasets": {"checkerboard": {"input_dropout": 0.2}},
                "sizes": {"embedding_size": [4, 8]},
            }
        },
    )
    expected = {"stopping_step": 3, "weight_decay": 1e-4, "epochs": 13, "learning_rate": 0.04, "input_dropout": 0.2}
    for cell, size in ((small, 4), (large, 8)):
        options = json.loads(cell.config)
        assert {name: options[name] for name in expected} == expected
        assert (options["embedding_size"], cell.size, options["model"]) == (size, f"embedding_size={size}", "ELSA")


def test_a_size_may_have_options_of_its_own_which_win(checkerboard):
    sizes = {"k": {8: {"learning_rate": 0.03}, 4: None}}
    large, small = cells_of(
        models={"S": {"model": "SparseELSA", "options": {**SMALL, "learning_rate": 0.04}, "sizes": sizes}}
    )
    assert [(cell.size, json.loads(cell.config)["learning_rate"]) for cell in (large, small)] == [
        ("k=8", 0.03),
        ("k=4", 0.04),
    ]


def test_a_cell_changes_its_identity_with_what_determines_its_figures_and_with_nothing_else(checkerboard):
    def ids(**changes):
        return [cell.id for cell in cells_of(**changes)]

    ease, sparse = ids()
    models = leaderboard()["models"]
    assert ids() == [ease, sparse]
    assert ids(models=dict(reversed(models.items()))) == [sparse, ease]
    assert ids(models={"another label": models["EASE"]}) == [ease]
    assert ids(models={"EASE": {"model": "EASE", "options": {"reg_weight": 250.0}}}) == [ease], "the default, spelt out"
    same = {"show_progress": True, "state": "WARNING", "use_gpu": False, **leaderboard()["options"]}
    assert ids(options=same) == [ease, sparse]

    assert ids(models={"EASE": {"model": "EASE", "options": {"reg_weight": 251.0}}}) != [ease]
    one, two = cells_of(seeds=[1, 2], models={"EASE": models["EASE"]})
    assert one.id == ease != two.id and one.config_hash == two.config_hash
    with open("dataset/checkerboard/checkerboard.inter", "a") as file:
        file.write("u0\ti1\n")
    assert not {ease, sparse} & set(ids())


def test_the_figures_of_each_user_have_recboles_metrics_as_their_means(checkerboard):
    metrics = ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", "ItemCoverage", "GAUC"]
    pieces = prepare("SparseELSA", checkerboard, metrics=metrics, topk=[3, 10], metric_decimal_place=12)
    pieces.trainer.fit(pieces.train_data, pieces.valid_data)
    expected = pieces.trainer.evaluate(pieces.test_data)
    aggregate, per_user = evaluate_per_user(pieces.trainer, pieces.test_data)
    assert aggregate == expected
    names = [f"{metric.lower()}@{k}" for metric in metrics[:6] for k in (3, 10)]
    assert list(per_user) == ["user", *names]
    for name in names:
        assert per_user[name].mean() == pytest.approx(expected[name], abs=1e-11)
    # One user's hits, counted by hand.
    user, scores = per_user.iloc[17], pieces.model.full_sort_predict
    internal = pieces.dataset.token2id("user_id", user["user"])
    ranked = scores({"user_id": pieces.test_data.uid_list[[17]]}).view(-1)
    ranked[0] = ranked[pieces.test_data.uid2history_item[internal]] = -numpy.inf
    hits = set(ranked.topk(10).indices.tolist()) & set(pieces.test_data.uid2positive_item[internal].tolist())
    assert user["recall@10"] == len(hits) / len(pieces.test_data.uid2positive_item[internal])


def test_held_out_users_have_their_own_token_and_their_fold(working_folder):
    interactions = [(f"a#b#{user}", f"i{item}") for user in range(30) for item in range(user % 2, 40, 2)]
    write_interactions(working_folder / "dataset", "hashes", interactions)
    split = {"split": {"HU": {"test_users": 4, "folds": 3}}}
    pieces = prepare("Pop", "hashes", epochs=1, eval_args=split, valid_metric="MRR@10")
    pieces.trainer.fit(pieces.train_data, pieces.valid_data)
    _, per_user = evaluate_per_user(pieces.trainer, pieces.test_data)
    assert list(per_user)[:2] == ["user", "fold"]
    assert per_user["user"].nunique() == 4 and per_user["user"].str.fullmatch(r"a#b#\d+").all()
    assert list(per_user["fold"]) == [0, 1, 2] * 4
    # RecBole has a user for each pair, in the same order.
    pairs = pieces.test_data.dataset.id2token("user_id", pieces.test_data.uid_list.numpy())
    assert [f"{user}#{fold}" for user, fold in zip(per_user["user"], per_user["fold"])] == list(pairs)


# Whole runs

COLUMNS = [
    *("label", "model", "dataset", "seed", "size", "phase", "metric", "value"),
    *("train_seconds", "evaluation_seconds", "peak_memory_bytes", "bytes_per_item"),
    *("data_checksum", "config_hash", "config", "cell"),
    *("device", "device_name", "threads"),
    *("python", "torch", "numpy", "recbole", "recbole_sparse_elsa", "scipy", "pandas"),
    *("protocol", "recipe", "users", "refit_epochs"),
]
NEEDS_TOO_MUCH = {"model": "ELSA", "options": {"embedding_size": 10**10, "epochs": 1}}


def finished_cells(folder):
    files = glob.glob(f"{folder}/cells/*/result.json")
    return {os.path.basename(os.path.dirname(file)): os.stat(file).st_mtime_ns for file in files}


def figures(folder):
    rows = read_csv(f"{folder}/results.csv")
    return {(row["label"], row["size"], row["phase"], row["metric"]): float(row["value"]) for row in rows}


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """The same leaderboard by loky, with a cell that fails, and by Dask after its first run was killed."""
    folder = tmp_path_factory.mktemp("whole_runs")
    before = os.getcwd()
    os.chdir(folder)
    try:
        interactions = [(f"u{u}", f"i{i}") for u in range(60) for i in range(u % 2, 40, 2) if (i // 2 + u // 2) % 4]
        write_interactions(folder / "dataset", "checkerboard", interactions)
        write_yaml(leaderboard())
        content = leaderboard()
        write_yaml({**content, "models": {"too large": NEEDS_TOO_MUCH, **content["models"]}}, "failing.yaml")
        command = [sys.executable, "-m", "recbole_sparse_elsa", "leaderboard", "leaderboard.yaml", "--output", "dask"]
        environment = {**os.environ, "PYTHONPATH": TOP}
        killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while killed.poll() is None and not finished_cells("dask"):
            time.sleep(0.02)
        # The second cell: its folder is there, but no result.
        while killed.poll() is None and len(os.listdir("dask/cells")) < 2:
            time.sleep(0.02)
        cells = psutil.Process(killed.pid).children(recursive=True)
        killed.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        killed.communicate()
        still_alive = psutil.wait_procs(cells, timeout=60)[1]
        left = finished_cells("dask")
        arguments = [*command[3:], "--backend", "dask", "--jobs", "1"]
        main(arguments)
        after = finished_cells("dask")
        with pytest.raises(SystemExit) as failure:
            main(["leaderboard", "failing.yaml", "--output", "loky", "--jobs", "2"])
        yield {
            "folder": folder,
            "still alive": still_alive,
            "left": left,
            "after": after,
            "failure": failure.value.code,
        }
    finally:
        os.chdir(before)


@pytest.fixture
def runs(whole_runs, monkeypatch):
    monkeypatch.chdir(whole_runs["folder"])
    return whole_runs


def test_a_killed_run_ends_its_cells_and_repeats_no_finished_one(runs):
    assert runs["still alive"] == []
    assert len(runs["left"]) == 1 and len(runs["after"]) == 2
    (first,) = runs["left"]
    assert runs["after"][first] == runs["left"][first]
    assert not os.path.exists(f"dask/cells/{first}/work")


def test_a_finished_leaderboard_trains_nothing(runs, capsys):
    content = open("dask/results.csv").read()
    main(["leaderboard", "leaderboard.yaml", "--output", "dask"])
    assert "2 cells: 2 finished before, 0 to train" in capsys.readouterr().out
    assert finished_cells("dask") == runs["after"]
    assert open("dask/results.csv").read() == content


def test_loky_dask_and_recbole_alone_give_the_same_figures(runs):
    by_loky, by_dask = figures("loky"), figures("dask")
    assert by_loky == by_dask
    with open(os.path.join(TOP, "recbole_sparse_elsa", "model", "properties", "SparseELSA.yaml")) as file:
        shipped = yaml.safe_load(file)  # as run_recbole has them, which prepare makes simpler
    options = {**shipped, **SMALL, **leaderboard()["options"], "k": 4, "seed": 1, "metric_decimal_place": 10}
    pieces = prepare("SparseELSA", "checkerboard", **options)
    _, valid = pieces.trainer.fit(pieces.train_data, pieces.valid_data)
    for phase, expected in (("valid", valid), ("test", pieces.trainer.evaluate(pieces.test_data))):
        got = {metric: value for (label, _, of, metric), value in by_loky.items() if (label, of) == ("sparse", phase)}
        assert got == pytest.approx(expected, abs=1e-6)
        assert got["ndcg@10"] > 0.3


def test_a_failing_cell_is_reported_and_leaves_the_others(runs):
    assert runs["failure"].startswith("TrainingError: 1 of 3 cells failed")
    assert {label for label, *_ in figures("loky")} == {"EASE", "sparse"}
    (log,) = glob.glob("loky/cells/ELSA-*/log.txt")
    text = open(log).read()
    assert "Traceback" in text and "\nThe cell failed: TrainingError: training needs about" in text
    assert os.listdir(os.path.dirname(log)) == ["log.txt"]


def test_f1_has_a_row_for_each_user_and_the_f1_of_means_has_none(checkerboard):
    pieces = prepare("EASE", checkerboard, metrics=["F1", "F1OfMeans"], topk=[3], valid_metric="F1@3")
    pieces.trainer.fit(pieces.train_data, pieces.valid_data)
    metrics, per_user = evaluate_per_user(pieces.trainer, pieces.test_data)
    assert list(metrics) == ["f1@3", "f1ofmeans@3"] and list(per_user) == ["user", "f1@3"]
    assert per_user["f1@3"].mean() == pytest.approx(metrics["f1@3"], abs=1e-4)


@pytest.mark.parametrize(
    "log, reason",
    [
        # What a library prints after the traceback hides nothing.
        ("a\nThe cell failed: KeyError: 'x'\nException ignored in ...\n].\n", "KeyError: 'x'"),
        ("No module named recbole_sparse_elsa\n\n", "No module named recbole_sparse_elsa"),
        ("", "ended with status 1"),
    ],
)
def test_a_failed_cell_is_named_with_the_reason_in_its_log(log, reason, working_folder):
    (working_folder / "log.txt").write_text(log)
    assert parallel._reason(1, "log.txt") == reason


def test_the_reason_is_the_type_of_an_exception_and_its_first_line():
    assert in_one_line(ValueError("\n  shape [3,\n 4\n].")) == "ValueError: shape [3,"
    assert in_one_line(AssertionError()) == "AssertionError"
    assert len(in_one_line(RuntimeError("x" * 10000))) < 600


def test_results_csv_has_a_row_for_each_cell_phase_and_metric(runs):
    rows = read_csv("loky/results.csv")
    assert list(rows[0]) == COLUMNS
    metrics = [f"{metric}@{k}" for metric in ("recall", "ndcg", "itemcoverage") for k in (5, 10)]
    assert [(row["label"], row["size"], row["phase"], row["metric"]) for row in rows] == [
        (label, size, phase, metric)
        for label, size in (("EASE", ""), ("sparse", "k=4"))
        for phase in ("valid", "test")
        for metric in metrics
    ]
    for row in rows:
        assert (row["dataset"], row["seed"], row["recbole"]) == ("checkerboard", "1", "1.2.1")
        # 4 bytes for each of 40 weights, and 8 for each of 4 non-zeros and 2 for the scale.
        assert float(row["bytes_per_item"]) == {"EASE": 160, "sparse": 34}[row["label"]]
        assert 0 < float(row["train_seconds"]) < 600 and 0 < float(row["evaluation_seconds"]) < 600
        assert 10**7 < int(row["peak_memory_bytes"]) < 10**11
        assert json.loads(row["config"])["model"] == row["model"]
        assert row["cell"] in finished_cells("loky")
        assert "split by ratio [0.8, 0.1, 0.1]" in row["protocol"] and "900 interactions are left" in row["protocol"]
        assert row["users"] == "60"
        # Where the data decide, it is said why.
        expected = "" if row["label"] == "EASE" else "item embeddings of width 16, learnt by gradient from a"
        assert row["recipe"].startswith(expected) and bool(row["recipe"]) == bool(expected)
    assert "item embeddings of width 16, learnt by gradient from a" in open("loky/tables.md", encoding="utf-8").read()


def test_the_data_checksum_is_that_of_the_file(runs):
    expected = hashlib.sha256(open("dataset/checkerboard/checkerboard.inter", "rb").read()).hexdigest()
    assert {row["data_checksum"] for row in read_csv("loky/results.csv")} == {expected}


def test_each_cell_has_its_metrics_per_user(runs):
    for row in read_csv("loky/results.csv"):
        per_user = pandas.read_parquet(f"loky/cells/{row['cell']}/per_user.parquet")
        assert list(per_user) == ["user", "recall@5", "recall@10", "ndcg@5", "ndcg@10"]
        assert sorted(per_user["user"]) == sorted(f"u{i}" for i in range(60))
        if row["phase"] == "test" and row["metric"] in per_user:
            assert per_user[row["metric"]].mean() == pytest.approx(float(row["value"]), abs=1e-9)


RESULT = {
    **{"valid": {"ndcg@10": 0.5}, "test": {"ndcg@10": 0.5, "itemcoverage@10": 1}, "train_seconds": 1.0},
    **{"evaluation_seconds": 1, "peak_memory_bytes": None, "bytes_per_item": None},
    **dict.fromkeys(VERSIONS, "1"),
}


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "1", "null", '"test"', "[" * 100_000, "9" * 5000, "\ud800", '{"test": 1e999}'),
        *(json.dumps({key: value for key, value in RESULT.items() if key != left_out}) for left_out in RESULT),
        *(json.dumps({**RESULT, key: value}) for key in RESULT for value in ([], {"a": {}}, True)),
        *(json.dumps({**RESULT, "test": value}) for value in ({}, {"ndcg@10": "0.5"}, {"ndcg@10": None})),
    ],
)
def test_a_damaged_result_is_not_finished_and_said_in_one_line(checkerboard, content, capsys):
    cell = cells_of()[0]
    os.makedirs(f"out/{cell.id}")
    with open(f"out/{cell.id}/result.json", "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(content)
    assert read_result("out", cell) is None
    said = capsys.readouterr().out
    assert said.startswith(f"{cell} is trained again: ") and said.index("\n") == len(said) - 1


def test_damaged_metrics_of_users_are_not_finished_either(checkerboard, capsys):
    cell = cells_of()[0]
    os.makedirs(f"out/{cell.id}")
    file = f"out/{cell.id}/per_user.parquet"
    json.dump(RESULT, open(f"out/{cell.id}/result.json", "w"))
    assert read_result("out", cell) == RESULT
    pandas.DataFrame({"user": ["a"], "ndcg@10": [0.5]}).to_parquet(file)
    assert read_result("out", cell) == RESULT
    assert capsys.readouterr().out == ""
    whole = open(file, "rb").read()
    pandas.DataFrame({"user": ["a"], "ndcg@10": ["x"]}).to_parquet(file)
    wrong = open(file, "rb").read()
    for content in (b"", b"PAR1", whole[:-9], whole[: len(whole) // 2], whole[:9] + whole[40:], wrong):
        with open(file, "wb") as opened:
            opened.write(content)
        assert read_result("out", cell) is None
        assert f"is trained again: {file} is damaged: " in capsys.readouterr().out


@pytest.mark.parametrize("file", sorted(glob.glob(os.path.join(TOP, "configs", "leaderboard", "*.yaml"))))
def test_ready_leaderboards_are_accepted(file):
    with open(file, encoding="utf-8") as opened:
        text = opened.read()
    assert f"sparse-elsa leaderboard configs/leaderboard/{os.path.basename(file)} --output " in text
    content = yaml.safe_load(text)
    for dataset in content["datasets"]:
        name = dataset if isinstance(dataset, str) else dataset["name"]
        os.makedirs(f"dataset/{name}")
        parts = ["train.inter", "test.inter"] if "split" in dataset else ["inter"]
        for part in [*parts, *(["valid.inter"] if name == "movielens1m-m1" else [])]:
            open(f"dataset/{name}/{name}.{part}", "w").close()
    specification = read_specification(file)
    assert specification.baseline in content["models"]
    assert {cell.label for cell in specification.cells} == set(content["models"])
