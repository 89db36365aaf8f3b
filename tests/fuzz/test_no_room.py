"""Full disks, and folders that may only be read: one line with the path and the reason, and nothing half-written."""

import contextlib
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import QUIET, prepare
from scipy.sparse import csr_matrix

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import UserError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.runs import SavedRun, run
from recbole_sparse_elsa.segments import Segments, segment_catalogue

# Sizes of the disk: in a normal run, and with -m slow.
DISKS = {"files": (20, 400), "trainings": (2, 40)}
NOBODY = 65534


@contextlib.contextmanager
def small_disk(kilobytes):
    """The working folder is a file system of this size meanwhile."""
    before = os.getcwd()
    os.makedirs("disk", exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", "disk"]
    try:
        subprocess.run(mounting, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here: only root may, and not in every container")
    try:
        os.chdir("disk")
        yield
    finally:
        os.chdir(before)
        subprocess.run(["umount", "--lazy", "disk"], check=True)


def is_said_in_one_line(call):
    """Whether a call is refused, in one line that gives the reason."""
    try:
        call()
    except UserError as error:
        assert str(error).isprintable() and ("No space left on device" in str(error) or "MB free" in str(error)), error
        return True
    return False


def write_files():
    rows = csr_matrix(np.random.default_rng(0).random((300, 20)))
    index = SparseIndex(rows, [f"item {item}" for item in range(300)])
    index.save("an.index")
    segment_catalogue(rows, list(map(str, range(300))), 5, min_size=1).save("segments.json")
    output.write_csv("table.csv", [{"a": number, "b": "x" * 40} for number in range(500)])


def require_whole_files():
    for name in os.listdir():
        assert name in ("an.index", "segments.json", "table.csv"), f"{name} is left"
    if os.path.exists("an.index"):
        assert SparseIndex.load("an.index").n_items == 300
    if os.path.exists("segments.json"):
        assert len(Segments.load("segments.json").tree.item_tokens) == 300
    if os.path.exists("table.csv"):
        with open("table.csv") as file:
            assert len(file.readlines()) == 501


def attack_files(attack, tries):
    n_refused = 0
    with attack("files written to a full disk") as begun:
        for seed in range(tries):
            with begun.one(f"seed {seed}"), small_disk(4 * random.Random(seed).randint(1, 30)):
                n_refused += is_said_in_one_line(write_files)
                require_whole_files()
    assert n_refused > tries // 4


def attack_trainings(attack, dataset, tries):
    n_refused = 0
    data_path = os.path.abspath("dataset")
    options = {**QUIET, "state": "ERROR", "embedding_size": 128, "k": 8, "stage_epochs": 1, "epochs": 6}
    options |= {"data_path": data_path, "start_k": None}
    with attack("trainings on a full disk") as begun:
        for seed in range(tries):
            rng = random.Random(seed)
            model = rng.choice(["SparseELSA", "ELSA", "PrunedEASE", "SparseSLIM", "BPR", "UserKNN"])
            own = {"k": 8} if model in ("PrunedEASE", "SparseSLIM", "UserKNN") else options
            if model in ("BPR", "ELSA"):
                own = {name: value for name, value in options.items() if name not in ("k", "stage_epochs", "start_k")}
            own = {**QUIET, "state": "ERROR", "data_path": data_path, **own, **rng.choice([{}, {"save_dataset": True}])}
            with begun.one(f"seed {seed}, {model}"), small_disk(4 * rng.randint(1, 40)):
                n_refused += is_said_in_one_line(lambda model=model, own=own: run(model, dataset, options=own))
                for name in os.listdir("saved") if os.path.isdir("saved") else ():
                    assert name.endswith((".pth", ".safetensors")), f"{name} is left"
                    if name.endswith(".safetensors") and "-resume" not in name:
                        assert SavedRun(os.path.join("saved", name))
    assert n_refused > tries // 4


def test_a_few_files_on_a_full_disk(attack):
    attack_files(attack, DISKS["files"][0])


@pytest.mark.slow
def test_many_files_on_a_full_disk(attack):
    attack_files(attack, DISKS["files"][1])


def test_a_few_trainings_on_a_full_disk(attack, checkerboard):
    attack_trainings(attack, checkerboard, DISKS["trainings"][0])


@pytest.mark.slow
def test_many_trainings_on_a_full_disk(attack, checkerboard):
    attack_trainings(attack, checkerboard, DISKS["trainings"][1])


# Folders that may only be read


def as_nobody(*arguments):
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable, *arguments]
    environment = {**os.environ, "HOME": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.slow
def test_commands_in_a_folder_that_may_only_be_read(attack, checkerboard):
    if shutil.which("setpriv") is None or as_nobody("-c", "import recbole_sparse_elsa, torch").returncode:
        pytest.skip("no other user can run this: only root may become one, and the other needs to read the package")
    trained = prepare("SparseELSA", checkerboard, k=4, epochs=5, stage_epochs=1)
    trained.trainer.fit(trained.train_data, trained.valid_data)
    model = trained.trainer.saved_model_file.replace(".pth", ".safetensors")
    with open("ratings.csv", "w") as file:
        file.write("userId,movieId,rating,timestamp\n1,2,3.0,4\n")
    with open("board.yaml", "w") as file:
        file.write("datasets: [checkerboard]\nmodels: {A: {model: EASE}}\n")
    SavedRun(model).index.save("an.index")
    folder = os.getcwd()
    while os.stat(folder).st_mode & 0o005 != 0o005:  # the temporary folders of pytest are its user's own
        os.chmod(folder, 0o755)
        folder = os.path.dirname(folder)
    kept = sorted(os.listdir())
    commands = [
        ["train", "--model=EASE", "--dataset=checkerboard"],
        ["index", model, "--output", "new.index"],
        ["recommend", "an.index", "i1", "--output", "table.csv"],
        ["export", "an.index", "--output", "rows.parquet"],
        ["segments", "an.index", "--output", "segments.json"],
        ["explore", model, "--export", "page"],
        ["convert", "ratings.csv", "--output", "mine"],
        ["leaderboard", "board.yaml", "--output", "out"],
        ["benchmark", "step", "--output", "bench"],
    ]
    with attack("commands in a folder that may only be read") as begun:
        for arguments in commands:
            with begun.one(" ".join(arguments)):
                ended = as_nobody("-m", "recbole_sparse_elsa", *arguments)
                said = ended.stderr.splitlines()
                assert ended.returncode == 1 and "Permission denied" in said[-1], said
                assert "Traceback" not in ended.stderr, said
                assert sorted(os.listdir()) == kept
