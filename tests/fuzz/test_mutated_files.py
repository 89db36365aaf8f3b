"""Files of every kind, changed at random: each is read, or refused in one line. A failure prints the file's seed."""

import json
import os
import random

import numpy as np
import pandas
import pytest
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.data.atomic_files import read_atomic_file
from recbole_sparse_elsa.errors import UserError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.leaderboard.results import read_result
from recbole_sparse_elsa.leaderboard.specification import Cell, read_specification
from recbole_sparse_elsa.search import read_search_space
from recbole_sparse_elsa.segments import Segments, segment_catalogue

# By kind of file: how many are tried with -m slow, and in a normal run.
TRIES = {"index": (50_000, 300), "segments": (20_000, 200), "result": (20_000, 200), "per_user": (5_000, 50)}
TRIES |= {"leaderboard": (1_000, 20), "space": (20_000, 200), "atomic": (20_000, 200)}
# What finds more than random bytes.
_PIECES = [b"[" * 3000, b"9" * 400, *(b"{ null -1 1e999 \\ud800 \xff \0 \x1b[2J NaN".split()), b"\n"]


def _rows():
    return csr_matrix(np.eye(6, 8) + 0.25)


def _index():
    SparseIndex(_rows(), list("abcdef"), encoding="int4", popularity=range(6)).save("file")
    return lambda: SparseIndex.load("file")


def _segments():
    segment_catalogue(SparseIndex(_rows(), list("abcdef")).item_embeddings, list("abcdef"), 3, min_size=1).save("file")
    return lambda: list(Segments.load("file"))


_CELL = Cell(".", "label", "model", "data", 1, "", {}, ".", "{}", "0", "0")


def _result():
    numbers = ("train_seconds", "evaluation_seconds", "peak_memory_bytes", "bytes_per_item")
    texts = ("python", "torch", "numpy", "scipy", "pandas", "recbole", "recbole_sparse_elsa")
    result = {"valid": {"a": 1}, "test": {"a": 1.5}, **dict.fromkeys(numbers, 1.5), **dict.fromkeys(texts, "1")}
    with open("result.json", "w") as file:
        json.dump(result, file)
    return lambda: read_result(".", _CELL)


def _per_user():
    _result()
    pandas.DataFrame({"user": ["a", "b"], "a": [1.0, 2.0]}).to_parquet("per_user.parquet")
    return lambda: read_result(".", _CELL)


def _leaderboard():
    os.makedirs("dataset/data")
    with open("dataset/data/data.inter", "w") as file:
        file.write("user_id:token\titem_id:token\nu\ti\n")
    with open("file", "w") as file:
        file.write("datasets: [data]\nmodels: {A: {model: EASE, sizes: {reg_weight: [1, 2]}}}\nbaseline: A\n")
    return lambda: read_specification("file")


def _space():
    with open("file", "w") as file:
        file.write("k: {logint: [1, 64]}\nlearning_rate: {loguniform: [0.001, 0.1]}\nstart: {choice: [a, [1, 2]]}\n")
    return lambda: read_search_space("file")


def _atomic():
    with open("file", "w") as file:
        file.write("user_id:token\titem_id:token\trating:float\ttags:token_seq\nu1\ti1\t4.5\ta b\nu2\ti2\t1\t\n")
    return lambda: read_atomic_file("file")


_MADE = {"result": "result.json", "per_user": "per_user.parquet"}


def mutated(contents, rng):
    """The contents after one to three changes."""
    changed = bytearray(contents)
    for _ in range(rng.randint(1, 3)):
        place, length = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 8, 40))
        match rng.randrange(6):
            case 0 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                changed[place : place + length] = rng.randbytes(length)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place : place + rng.choice((0, length))] = rng.choice(_PIECES)
            case 4:
                start = rng.randrange(len(changed) + 1)
                changed[place:place] = changed[start : start + length]
            case 5 if rng.random() < 0.2:
                del changed[place:]
    return bytes(changed)


def attack(kind, tries):
    read = globals()[f"_{kind}"]()
    name = _MADE.get(kind, "file")
    with open(name, "rb") as file:
        original = file.read()
    n_refused = 0
    read()
    for seed in range(tries):
        with open(name, "wb") as file:
            file.write(mutated(original, random.Random(seed)))
        try:
            n_refused += read() is None
        except UserError as error:
            n_refused += 1
            assert str(error).isprintable() and len(str(error)) < 3000, f"{kind}, seed {seed}"
        except BaseException as error:
            raise AssertionError(f"{kind}, seed {seed}: {type(error).__name__}: {error}") from error
    assert n_refused > tries // 10  # otherwise the changes are no attack


@pytest.mark.parametrize("kind", TRIES)
def test_a_few_mutated_files(kind):
    attack(kind, TRIES[kind][1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRIES)
def test_many_mutated_files(kind):
    attack(kind, TRIES[kind][0])
