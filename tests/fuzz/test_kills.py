"""Trainings and leaderboards are killed at random moments: they go on to the same bits, and nothing is lost."""

import glob
import json
import os
import random
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from . import trainings

QUIET = {"show_progress": False, "state": "ERROR"}
SMALL = {**QUIET, "dataset": "ml-100k", "embedding_size": 16, "k": 4, "train_batch_size": 256}
MODELS = {
    "SparseELSA": {"epochs": 30, "stage_epochs": 3, "start_k": 12, "input_dropout": 0.3},
    "SparseELSA with restarts": {"epochs": 30, "stage_epochs": 3, "start_k": None, "restart": True},
    "ELSASAE": {"epochs": 15, "code_size": 24, "autoencoder_epochs": 40},
    "FineTunedELSASAE": {"epochs": 20, "code_size": 24, "autoencoder_epochs": 20, "dense_epochs": 8},
}
KILLS = 5  # of each model
LEADERBOARD_KILLS = 6


def resume_file_in(folder):
    saved = os.path.join(folder, "saved")
    names = os.listdir(saved) if os.path.isdir(saved) else []
    found = [name for name in names if name.endswith("-resume.safetensors")]
    assert len(found) <= 1
    return os.path.join("saved", found[0]) if found else None


def until_it_can_go_on(process, folder):
    """Wait until a training has written the first file to go on from, or has ended."""
    while process.exitcode is None and resume_file_in(folder) is None:
        time.sleep(0.002)


def killed_until_it_ends(folder, options, seconds, rng):
    """A training that is killed once or twice within so many seconds, and goes on: what came of it."""
    resume = None
    for _ in range(rng.randint(1, 2)):
        process = trainings.start(folder, options, os.path.abspath("done.json"), resume)
        if rng.random() < 0.9:
            until_it_can_go_on(process, folder)
        process.join(rng.uniform(0, 0.9) * seconds)
        process.kill()
        process.join()
        resume = resume_file_in(folder)
        if resume is None:
            break  # too early, or too late: the same command begins again
    if resume is None:
        shutil.rmtree(os.path.join(folder, "saved"), ignore_errors=True)
    done = trainings.finished(folder, options if resume is None else QUIET, os.path.abspath("done.json"), resume)
    return done, resume is not None


@pytest.mark.slow
def test_killed_trainings(attack):
    rng = random.Random(1)
    n_resumed = 0
    with attack("trainings killed, and resumed with the same bits") as begun:
        for name in MODELS:
            options = {**SMALL, **MODELS[name], "model": name.partition(" ")[0]}
            folder = f"whole {name}"
            os.mkdir(folder)
            if not begun.tries:  # the first has to start the process that all are forked from
                state_of(folder, trainings.finished(folder, options, os.path.abspath("done.json")))
                shutil.rmtree(os.path.join(folder, "saved"))
            process = trainings.start(folder, options, os.path.abspath("done.json"))
            until_it_can_go_on(process, folder)
            start = time.monotonic()
            while process.exitcode is None and resume_file_in(folder) is not None:
                time.sleep(0.002)
            seconds = time.monotonic() - start
            whole = trainings.ended(process, os.path.abspath("done.json"))
            expected = state_of(folder, whole)
            for attempt in range(KILLS):
                with begun.one(f"{name}, kill {attempt}"):
                    folder = f"killed {name} {attempt}"
                    os.mkdir(folder)
                    done, is_resumed = killed_until_it_ends(folder, options, seconds, rng)
                    n_resumed += is_resumed
                    assert "result" in done, done
                    assert done["result"] == whole["result"]
                    state = state_of(folder, done)
                    assert state.keys() == expected.keys()
                    assert all(torch.equal(state[key], expected[key]) for key in expected)
                shutil.rmtree(folder)
    print(f"{n_resumed} of {begun.tries} went on from a file")
    assert n_resumed > begun.tries // 3  # otherwise the kills came too early or too late


def state_of(folder, done):
    """The state of the best model, which is the same in both forms, and all that is left."""
    assert "file" in done, done
    file = os.path.join(folder, done["file"])
    model_file = file.replace(".pth", ".safetensors")
    name = os.path.basename(file)
    assert sorted(os.listdir(os.path.dirname(file))) == [name, os.path.basename(model_file)]
    arrays = {key.removeprefix("state_dict."): value for key, value in load_file(model_file).items()}
    pickled = torch.load(file, weights_only=False)["state_dict"]
    assert arrays.keys() == pickled.keys() and all(torch.equal(arrays[key], pickled[key]) for key in arrays)
    return arrays


BOARD = """
datasets: [checkerboard]
data_path: dataset
seeds: [1, 2]
options: {epochs: 5, topk: [5], valid_metric: NDCG@5, metrics: [NDCG]}
models:
  A: {model: EASE}
  B: {model: BPR}
"""


def cells_in(folder):
    """The finished cells: their metrics, and when they were written."""
    cells = {}
    for file in glob.glob(os.path.join(folder, "cells", "*", "result.json")):
        with open(file) as opened:
            result = json.load(opened)
        name = os.path.basename(os.path.dirname(file))
        cells[name] = (result["valid"], result["test"]), os.stat(file).st_mtime_ns
    return cells


def metrics_of(cells):
    return {name: metrics for name, (metrics, _) in cells.items()}


@pytest.mark.slow
def test_killed_leaderboards(attack, checkerboard):
    with open("board.yaml", "w") as file:
        file.write(BOARD)
    command = [sys.executable, "-m", "recbole_sparse_elsa", "leaderboard", "board.yaml", "--output"]

    def run(folder, seconds=None):
        process = subprocess.Popen([*command, folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said, _ = process.communicate(timeout=seconds)
            return process.returncode, said
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, ""

    start = time.monotonic()
    code, said = run("whole")
    assert code == 0, said
    seconds, whole = time.monotonic() - start, cells_in("whole")
    rng = random.Random(0)
    with attack("leaderboards killed, and given again") as begun:
        for attempt in range(LEADERBOARD_KILLS):
            with begun.one(f"kill {attempt}"):
                folder = f"killed{attempt}"
                run(folder, rng.uniform(0.2, 0.95) * seconds)
                before = cells_in(folder)
                time.sleep(2)  # its workers end with it
                code, said = run(folder)
                assert code == 0, said
                after = cells_in(folder)
                assert metrics_of(after) == metrics_of(whole)
                assert all(after[name] == cell for name, cell in before.items())
                assert open(f"{folder}/results.csv").read().count("\n") == open("whole/results.csv").read().count("\n")
