"""``sparse-elsa benchmark``: its figures, its files, and what it refuses."""

import argparse
import csv
import dataclasses
import importlib
import itertools
import os
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
import torch

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.benchmark import scale, step
from recbole_sparse_elsa.commands import benchmark
from recbole_sparse_elsa.core import TopKEmbedding
from recbole_sparse_elsa.errors import OptionError

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEP = ["benchmark", "step", "--output", "out", "--device", "cpu"]
TINY = "--users 16 --items 50 60 --embedding_size 64 --k 4 16 --repeats 3 --interactions-per-user 5".split()
SCALE = ["benchmark", "scale", "--output", "out", "--device", "cpu"]
EVALUATION = ["benchmark", "evaluation", "--output", "out", "--device", "cpu"]
TRAINING = ["benchmark", "training", "--output", "out", "--dataset", "ml-100k", "--device", "cpu"]
ENVIRONMENT = ["device", "device_name", "threads", "python", "torch", "numpy", "recbole", "recbole_sparse_elsa"]


def read_csv(file):
    with open(file, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture(scope="module")
def step_output(tmp_path_factory):
    """The folder that a tiny grid leaves, run as a user would, and what it printed."""
    folder = tmp_path_factory.mktemp("step")
    result = subprocess.run(
        [sys.executable, "-m", "recbole_sparse_elsa", *STEP, *TINY],
        env={**os.environ, "PYTHONPATH": TOP},
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    assert os.listdir(folder) == ["out"]
    return folder / "out", result


def test_step_writes_a_table_csv_files_and_a_plot(step_output):
    folder, result = step_output
    assert sorted(os.listdir(folder)) == [
        *("step.csv", "step.md", "step.pdf", "step.png", "step.svg", "step_summary.csv")
    ]
    assert (folder / "step.png").read_bytes().startswith(b"\x89PNG")
    table = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4
    text, svg = (folder / "step.md").read_text(), (folder / "step.svg").read_text()
    assert "\n".join(table) in text
    for said in (f"torch {torch.__version__}", "recbole 1.2.1", "CPU threads", "seed 2020"):
        assert said in text
    assert not re.search(r"\b20\d\d-\d\d-\d\d", text + svg)
    assert "16 users x 60 items, d 64, k 16: compact, repeat 3" in result.stderr


def test_step_csv_has_a_row_for_each_cell_form_and_repeat(step_output):
    rows = read_csv(step_output[0] / "step.csv")
    assert list(rows[0]) == [
        *("users", "items", "embedding_size", "k", "interactions_per_user", "form", "repeat", "seconds"),
        *("state_bytes", "support_bytes", "peak_bytes", "seed"),
        *ENVIRONMENT,
    ]
    places = [(row["items"], row["k"], row["repeat"], row["form"]) for row in rows]
    assert places == [
        (items, k, repeat, form)
        for items in ("50", "60")
        for k in ("4", "16")
        for repeat in "123"
        for form in ("dense_masked", "compact")
    ]


def test_the_summary_follows_from_the_rows(step_output):
    rows, summaries = (read_csv(step_output[0] / f"{name}.csv") for name in ("step", "step_summary"))
    assert len(summaries) == 4
    for summary in summaries:
        dense, ours = (
            [
                float(row["seconds"])
                for row in rows
                if row["form"] == form and all(row[name] == summary[name] for name in ("items", "k"))
            ]
            for form in ("dense_masked", "compact")
        )
        assert float(summary["dense_masked_seconds"]) == statistics.median(dense)
        assert float(summary["compact_seconds"]) == statistics.median(ours)
        assert float(summary["times_faster"]) == statistics.median(a / b for a, b in zip(dense, ours))


def test_the_bytes_are_those_of_weights_gradients_and_nadams_states(step_output):
    for summary in read_csv(step_output[0] / "step_summary.csv"):
        items, k = int(summary["items"]), int(summary["k"])
        # float32 weight, gradient and two moments, and NAdam's step and product of momenta, one number each.
        assert int(summary["dense_masked_state_bytes"]) == 4 * 4 * items * 64 + 2 * 4
        assert int(summary["compact_state_bytes"]) == 4 * 4 * items * k + 2 * 4
        assert float(summary["state_times_smaller"]) == (16 * items * 64 + 8) / (16 * items * k + 8)
        assert int(summary["dense_masked_support_bytes"]) == items * 64
        # At the least CSR's int32 row pointers and columns.
        assert int(summary["compact_support_bytes"]) > 4 * (items + 1) + 4 * items * k


def test_a_cell_that_does_not_fit_into_memory_is_named_and_left_out(monkeypatch, capsys):
    large = step.Cell(16, 60, 64, 4).estimated_bytes()
    monkeypatch.setattr(step, "available_memory", lambda device: large - 1)
    main([*STEP, *TINY, "--k", "4", "--repeats", "1"])
    left_out = "Left out: 16 users x 60 items, d 64, k 4 needs about "
    assert left_out in capsys.readouterr().out
    assert left_out in open("out/step.md", encoding="utf-8").read()
    assert {row["items"] for row in read_csv("out/step.csv")} == {"50"}

    monkeypatch.setattr(step, "available_memory", lambda device: 10**5)
    with pytest.raises(SystemExit, match="OptionError: no cell of the grid fits into the 0.0001 GB"):
        main([*STEP, *TINY])


def test_without_matplotlib_there_is_no_plot_and_a_line_that_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    main([*STEP, *TINY, "--k", "4", "--items", "50", "--repeats", "1"])
    advice = 'No plot: matplotlib is not installed; run: pip install "recbole_sparse_elsa[plot]"'
    assert advice in capsys.readouterr().out
    assert sorted(os.listdir("out")) == ["step.csv", "step.md", "step_summary.csv"]


def make_steps(n_users=30, n_items=80, embedding_size=64, k=4, interactions=6):
    torch.manual_seed(0)
    histories = step.generate_histories(n_users, n_items, interactions, seed=0)
    layer = TopKEmbedding(n_items, embedding_size)
    layer.prune(k)
    dense = step.DenseMaskedStep(layer, histories, torch.arange(n_users))
    layer.compress()
    return dense, step.CompactStep(layer, histories, torch.arange(n_users))


# Few non-zeros and short histories make many interactions that are orthogonal to the rest of their user's history.
@pytest.mark.parametrize("interactions", [1, 2, 6, 40])
@pytest.mark.parametrize("k", [1, 4, 64])
def test_what_is_timed_computes_the_same(k, interactions):
    step.require_agreement(*make_steps(k=k, interactions=interactions), "a cell")


def test_steps_that_compute_something_else_are_not_timed():
    dense, compact = make_steps()
    with torch.no_grad():
        compact.weight[0] += 0.1
    with pytest.raises(RuntimeError, match="a cell: the loss of the compact step differs from the dense masked one by"):
        step.require_agreement(dense, compact, "a cell")


def test_generated_interactions_are_distinct_and_long_tailed():
    histories = step.generate_histories(500, 100, 10, seed=3)
    assert histories.lengths(torch.arange(500)).tolist() == [10] * 500
    items = histories.item_indices.view(500, 10)
    assert (items.diff(dim=1) > 0).all()
    counts = torch.bincount(items.flatten(), minlength=100).sort(descending=True).values
    assert counts[:10].sum() > 5 * counts[-10:].sum()


def test_training_compares_the_computations_on_each_seed(capsys, monkeypatch):
    # RecBole would take this for an option of its own.
    monkeypatch.setattr(sys, "argv", ["sparse-elsa", "--epochs=1"])
    options = "--embedding_size 32 --k 4 --stage_epochs 1 --seeds 1 2 --rating-at-least 4"
    options = f"{options} --start_k 12 --sparse_stage_epochs 1".split()
    main([*TRAINING, *options])
    assert os.listdir() == ["out"]
    assert sorted(os.listdir("out")) == ["training.csv", "training.md", "training_summary.csv"]
    rows = read_csv("out/training.csv")
    assert list(rows[0]) == [
        *("dataset", "rating_at_least", "embedding_size", "k", "computation", "start_k", "stage_epochs", "epochs"),
        *("enable_amp", "embedding_form", "seed", "seconds", "valid_ndcg@100", "test_ndcg@100"),
        *ENVIRONMENT,
    ]
    paper = "ours, the paper's schedule"
    computations = ["dense masked", paper, f"{paper}, bf16", "ours, sparse start"]
    assert [(row["seed"], row["computation"]) for row in rows] == list(itertools.product("12", computations))
    # One epoch each at 32 and 8 before the target, and a stage at 4; from 12 on, one epoch before.
    assert [(row["epochs"], row["start_k"]) for row in rows] == [*[("3", "")] * 3, ("2", "12")] * 2
    for dense, ours in zip(rows[::4], rows[1::4]):
        for metric in ("valid_ndcg@100", "test_ndcg@100"):
            assert float(ours[metric]) == pytest.approx(float(dense[metric]), abs=1e-3)
            assert 0.1 < float(dense[metric]) < 1
    summaries = read_csv("out/training_summary.csv")
    assert [summary["computation"] for summary in summaries] == computations
    for place, summary in enumerate(summaries):
        pairs = zip(rows[::4], rows[place::4])
        ratio = statistics.median(float(dense["seconds"]) / float(ours["seconds"]) for dense, ours in pairs)
        assert float(summary["times_faster"]) == ratio
    text = open("out/training.md", encoding="utf-8").read()
    assert "ml-100k (ratings of at least 4), d = 32 to k = 4" in text
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert "\n".join(table) in text


def test_rating_at_least_keeps_fewer_interactions():
    options = "--embedding_size 16 --k 4 --stage_epochs 1 --seeds 1".split()
    main([*TRAINING, *options])
    main([*TRAINING, *options, "--rating-at-least", "5", "--output", "fewer"])
    figures = [read_csv(f"{folder}/training.csv")[0]["test_ndcg@100"] for folder in ("out", "fewer")]
    assert figures[0] != figures[1]


def test_scale_measures_each_size_and_its_growth(monkeypatch, capsys):
    # In this process, which saves the start of many others.
    monkeypatch.setattr(scale, "_in_own_process", lambda measure, size, *rest: measure(size, *rest))
    sizes = "--users 300 --items 200 --recbole-users 200 --recbole-items 150 --draws-per-user 20 --doublings 1"
    main([*SCALE, *sizes.split(), "--embedding_size", "32", "--k", "4", "--steps", "2", "--max_output", "150"])
    assert sorted(os.listdir("out")) == ["scale.md", "scale_recbole.csv", "scale_training.csv"]
    training, recbole = read_csv("out/scale_training.csv"), read_csv("out/scale_recbole.csv")
    doubled = [(row["doubled"], row["users"], row["items"], row["draws_per_user"]) for row in training]
    assert doubled == [
        *(("users", "300", "200", "20"), ("users", "600", "200", "20")),
        *(("items", "300", "200", "20"), ("items", "300", "400", "20")),
        *(("draws_per_user", "300", "200", "20"), ("draws_per_user", "300", "200", "40")),
        ("users and items", "600", "400", "20"),
    ]
    for row in training:
        # One step an epoch, of at most 1,024 users.
        assert float(row["epoch_seconds"]) == float(row["step_seconds"]) > 0
        assert int(row["peak_memory_bytes"]) > 1e8
        assert 0.5 < int(row["interactions"]) / (int(row["users"]) * int(row["draws_per_user"])) < 1
    assert len(recbole) == 6
    for row in recbole:
        for stage in ("loading", "splitting", "model", "epoch", "evaluation", "checkpoint"):
            assert float(row[f"{stage}_seconds"]) > 0
    assert "## Through RecBole" in open("out/scale.md", encoding="utf-8").read()
    assert "growth of the epoch" in capsys.readouterr().out


def test_a_size_is_measured_in_a_process_of_its_own():
    options = scale.ScaleBenchmark(output="out", seed=1, embedding_size=16, k=4, batch=64, max_output=50, steps=1)
    figures = scale._in_own_process(scale.measure_training, scale.Size(100, 60, 10), options, "cpu")
    users, _ = scale.generate_interactions(scale.Size(100, 60, 10), 1)
    assert figures["interactions"] == len(users)


def test_generated_pairs_are_distinct_sorted_and_long_tailed():
    users, items = scale.generate_interactions(scale.Size(2000, 500, 10), seed=1)
    pairs = list(zip(users.tolist(), items.tolist()))
    assert pairs == sorted(set(pairs))
    assert (users.min(), users.max(), items.max() < 500) == (0, 1999, True)
    counts = sorted(np.bincount(items, minlength=500))
    assert sum(counts[-50:]) > 5 * sum(counts[:50])


def test_evaluation_is_compared_with_ease(capsys):
    main([*EVALUATION, *"--users 60 --items 50 --draws-per-user 20 --embedding_size 16 --k 4 --repeats 2".split()])
    rows = read_csv("out/evaluation.csv")
    assert [(row["model"], row["repeat"]) for row in rows] == [
        (model, repeat) for repeat in "12" for model in ("EASE", "SparseELSA")
    ]
    seconds = {
        model: [float(row["seconds"]) for row in rows if row["model"] == model] for model in ("EASE", "SparseELSA")
    }
    ratio = statistics.median(ours / ease for ours, ease in zip(seconds["SparseELSA"], seconds["EASE"]))
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert f"{ratio:.2f}" in table[-1]
    assert "\n".join(table) in open("out/evaluation.md", encoding="utf-8").read()


@pytest.mark.parametrize(
    "arguments, error",
    [
        ([*SCALE, "--doublings", "-1"], "doublings is -1, but must be a whole number of at least 0"),
        ([*SCALE, "--k", "1000"], "k is 1000, but must be at most embedding_size, which is 512"),
        ([*EVALUATION, "--repeats", "0"], "repeats is 0, but must be a whole number of at least 1"),
        ([], "the following arguments are required: SUBCOMMAND; see sparse-elsa --help"),
        (
            ["benchmark", "step"],
            "the following arguments are required: --output; see sparse-elsa benchmark step --help",
        ),
        ([*STEP, "--k", "many"], "argument --k: invalid int value: 'many'; see"),
        ([*STEP, "--k", "16", "0"], "k is 0, but must be a whole number of at least 1"),
        ([*STEP, "--repeats", "0"], "repeats is 0, but must be a whole number of at least 1"),
        ([*STEP, "--embedding_size", "64", "4096", "--k", "65"], "k is 65, but must be at most embedding_size, .* 64"),
        ([*STEP, "--items", "1000", "149"], "interactions-per-user is 150, but must be at most .* 149"),
        (
            [*STEP, "--interactions-per-user", "0"],
            "interactions-per-user is 0, but must be a whole number of at least 1",
        ),
        ([*STEP, "--output", "file"], "output: file cannot be made a folder"),
        ([*TRAINING, "--k", "17", "--embedding_size", "16"], r"k is 17, but must lie in \[1, embedding_size\]"),
        ([*TRAINING, "--rating-at-least", "nan"], "rating-at-least is nan, but must be a finite number"),
        ([*TRAINING, "--seeds", "-1"], "seeds is -1, but must be a whole number of at least 0"),
        ([*TRAINING, "--config_files", "nowhere.yaml"], "config_files: nowhere.yaml was not found"),
    ],
)
def test_wrong_options_are_refused_in_one_line_before_any_work(arguments, error):
    open("file", "w").close()
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    # Python prints such a code to stderr and ends with status 1.
    assert re.match(f"(Option|Output)Error: {error}", refused.value.code)
    assert "\n" not in refused.value.code
    assert os.listdir() == ["file"]


def test_cuda_is_refused_where_there_is_none():
    expected = "OptionError: device is cuda, but torch finds no CUDA device: give cpu or auto"
    with pytest.raises(SystemExit, match=expected):
        main([*STEP, "--device", "cuda"])


@pytest.mark.cuda
def test_on_cuda_the_peak_memory_of_a_step_is_reported():
    main([*STEP, *TINY, "--device", "cuda"])
    for row in read_csv("out/step.csv"):
        assert int(row["peak_bytes"]) > int(row["state_bytes"])


def test_a_missing_data_set_is_said_in_one_line():
    with pytest.raises(SystemExit, match="DatasetError: .*nothing"):
        main([*TRAINING, "--dataset", "nothing"])


@pytest.mark.parametrize("name", ["step", "training", "scale", "evaluation", "retrieval", "segments"])
def test_the_command_has_the_parameters_of_the_library_call_with_the_same_defaults(name):
    parser = argparse.ArgumentParser()
    benchmark.add_subcommand(parser.add_subparsers())
    options = vars(parser.parse_args(["benchmark", name, "--output", "out"]))
    assert (options.pop("run"), options.pop("benchmark")) == (benchmark.run, name)
    module = importlib.import_module(f"recbole_sparse_elsa.benchmark.{name}")
    call = getattr(module, f"{name.capitalize()}Benchmark")
    options = {option: tuple(value) if isinstance(value, list) else value for option, value in options.items()}
    assert options == dataclasses.asdict(call(output="out"))


def test_the_command_line_is_made_without_torch_and_recbole():
    code = (
        "import argparse, sys; from recbole_sparse_elsa.commands import benchmark; "
        "benchmark.add_subcommand(argparse.ArgumentParser().add_subparsers()); "
        "assert not {'torch', 'recbole', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": TOP}, check=True, timeout=60)


def test_a_device_that_there_is_not_is_refused():
    with pytest.raises(OptionError, match="device is 'tpu', but must be auto, cpu or cuda"):
        step.StepBenchmark(output="out", device="tpu").run()
    assert os.listdir() == []
