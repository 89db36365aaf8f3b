"""Files of every kind, changed at random: each is read, or refused in one line. A failure prints the file's seed."""

import hashlib
import json
import os
import random
import shutil

import numpy as np
import pandas
import pytest
import torch
from conftest import prepare
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.data.atomic_files import read_atomic_file
from recbole_sparse_elsa.errors import UserError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.leaderboard.read_results import read_results
from recbole_sparse_elsa.leaderboard.results import read_result
from recbole_sparse_elsa.leaderboard.specification import Cell, read_specification
from recbole_sparse_elsa.runs import SavedRun
from recbole_sparse_elsa.search import read_search_space
from recbole_sparse_elsa.segments import Segments, segment_catalogue
from recbole_sparse_elsa.training.checkpoint import model_file

# By kind of file: how many are tried with -m slow, and in a normal run.
TRIES = {"index": (50_000, 300), "segments": (20_000, 200), "result": (20_000, 200), "per_user": (5_000, 50)}
TRIES |= {"leaderboard": (1_000, 20), "space": (20_000, 200), "atomic": (20_000, 200), "results": (5_000, 50)}
TRIES |= {"model": (20_000, 200), "training": (5_000, 50), "sealed_index": (20_000, 200)}
# The same of a model's or a training's content, with a checksum that is right: whoever means harm would see to that.
SEALED_TRIES = {"model": (2_000, 15), "training": (1_000, 8)}
# What finds more than random bytes.
_PIECES = [b"[" * 3000, b"9" * 400, *(b"{ null -1 1e999 \\ud800 \xff \0 \x1b[2J NaN".split()), b"\n"]


def _rows():
    return csr_matrix(np.eye(6, 8) + 0.25)


def _index():
    SparseIndex(_rows(), list("abcdef"), encoding="int4", popularity=range(6)).save("file")
    return lambda: SparseIndex.load("file")


def _sealed_index():
    SparseIndex(_rows(), list("abcdef"), popularity=range(6), item_scale=np.full(6, 0.5, np.float16)).save("file")

    def use():
        index = SparseIndex.load("file")
        return index.recommend(index.item_tokens[:2].tolist(), 1, mask_history=False)

    return use


def _resealed(contents):
    """The same with the checksum that it should have."""
    start = contents.find(b'"sha256": "') + len(b'"sha256": "')
    contents = contents[:start] + b"0" * 64 + contents[start + 64 :]
    return contents[:start] + hashlib.sha256(contents).hexdigest().encode() + contents[start + 64 :]


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


def _results():
    row = dict.fromkeys("label model dataset size data_checksum cell python torch numpy scipy pandas".split(), "x")
    row |= {"recbole": "x", "recbole_sparse_elsa": "x", "phase": "test", "metric": "ndcg@10", "config": '{"k": 4}'}
    row |= {"protocol": "p", "bytes_per_item": 4.0, "users": 5}
    rows = [{**row, "seed": seed, "value": 0.5 + seed / 10} for seed in (1, 2)]
    pandas.DataFrame(rows).to_csv("file", index=False)
    return lambda: read_results("file")


SMALL_RUN = {"embedding_size": 8, "epochs": 3, "stage_epochs": 1, "k": 2}


def _train():
    shutil.rmtree("dataset", ignore_errors=True)
    os.makedirs("dataset/data")
    with open("dataset/data/data.inter", "w") as file:
        pairs = (f"u{user}\ti{item}\n" for user in range(12) for item in range(20) if (user * 7 + item * 5) % 3)
        file.writelines(["user_id:token\titem_id:token\n", *pairs])
    run = prepare("SparseELSA", "data", **SMALL_RUN)
    run.trainer.fit(run.train_data, run.valid_data)
    run.trainer.tensorboard.close()
    return run.trainer.saved_model_file.removesuffix(".pth")


def _model():
    os.rename(f"{_train()}.safetensors", "file")
    return lambda: model_file.read_model_file("file")


def _training():
    os.rename(f"{_train()}-resume.safetensors", "file")
    return lambda: model_file.read_model_file("file")


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


def attacked(attack, kind, tries):
    read = globals()[f"_{kind}"]()
    name = _MADE.get(kind, "file")
    with open(name, "rb") as file:
        original = file.read()
    n_refused = 0
    read()
    with attack(f"files changed at random: {kind}") as begun:
        for seed in range(tries):
            with open(name, "wb") as file:
                contents = mutated(original, random.Random(seed))
                file.write(_resealed(contents) if kind == "sealed_index" else contents)
            with begun.one(f"{kind}, seed {seed}"):
                n_refused += is_refused(read)
    assert n_refused > tries // 10  # otherwise the changes are no attack


def is_refused(read):
    """Whether a file is refused, in one line; or is as good as one that is not there."""
    try:
        return read() is None
    except UserError as error:
        assert str(error).isprintable() and len(str(error)) < 3000
        return True


@pytest.mark.parametrize("kind", TRIES)
def test_a_few_mutated_files(kind, attack):
    attacked(attack, kind, TRIES[kind][1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRIES)
def test_many_mutated_files(kind, attack):
    attacked(attack, kind, TRIES[kind][0])


def changed_content(value, rng):
    """JSON data with one thing changed, wherever it is."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        copied = value.copy()
        match rng.randrange(8):
            case 0:
                del copied[key]
            case 1 if isinstance(value, dict):
                copied[rng.choice(["$tensor", "$csr", "$enum", "$device", "\ud800", "__class__"])] = copied.pop(key)
            case _:
                copied[key] = changed_content(value[key], rng)
        return copied
    others = [None, True, -1, 2**70, 1e308, "", "\x1b[2J\ud800", "__import__('os')", [], {}, [[]], "nn", "../../x"]
    others += [{"$float": "nan"}, {"$tuple": [1]}, {"$items": [[1, 2]]}]
    others += [{"$tensor": "state_dict.item_embedding.weight"}]
    return rng.choice(others)


def changed_array(array, rng):
    """A tensor with some of its bytes, its shape or its type changed."""
    match rng.randrange(4):
        case 0:
            return array.flatten()[: rng.randrange(array.numel() + 1)].clone()
        case 1:
            return array.to(rng.choice([array.dtype, array.long().dtype, array.half().dtype, array.bool().dtype]))
        case _:
            raw = bytearray(array.contiguous().flatten().numpy().tobytes())
            for _ in range(rng.randint(1, 4)):
                if raw:
                    place = rng.randrange(len(raw))
                    raw[place : place + 1] = rng.choice([b"\xff", b"\0", b"\x7f", rng.randbytes(1)])
            made = np.frombuffer(bytes(raw), dtype=array.numpy().dtype).reshape(tuple(array.shape)).copy()
            return torch.from_numpy(made)


def sealed_attack(attack, kind, tries):
    globals()[f"_{kind}"]()
    with safe_open("file", "pt") as opened:
        metadata = opened.metadata()
    arrays, content = load_file("file"), json.loads(metadata["content"])
    best = content.get("best_model_file", "")
    n_refused = 0

    def use():
        if kind == "model":
            saved = SavedRun("changed.safetensors")
            return saved.index and saved.model
        run = prepare("SparseELSA", "data", **SMALL_RUN, resume="saved/changed.safetensors")
        run.trainer.fit(run.train_data, run.valid_data)
        run.trainer.tensorboard.close()
        return run

    kept = {name: open(f"saved/{name}", "rb").read() for name in os.listdir("saved")} if best else {}
    with attack(f"sealed files changed at random: {kind}") as begun:
        for seed in range(tries):
            rng = random.Random(seed)
            new_content, new_arrays = content, dict(arrays)
            if rng.random() < 0.6:
                new_content = changed_content(content, rng)
            else:
                name = rng.choice(list(arrays))
                new_arrays[name] = changed_array(arrays[name], rng)
            text = json.dumps(new_content)
            sealed = {**metadata, "content": text, "sha256": model_file._checksum(text, new_arrays)}
            for name, contents in kept.items():
                with open(f"saved/{name}", "wb") as file:
                    file.write(contents)
            save_file(new_arrays, "saved/changed.safetensors" if best else "changed.safetensors", sealed)
            with begun.one(f"{kind}, seed {seed}"):
                n_refused += is_refused(use)
            assert not os.path.exists("x")
    assert n_refused > tries // 10


@pytest.mark.parametrize("kind", SEALED_TRIES)
def test_a_few_mutated_contents_with_the_right_checksum(kind, attack):
    sealed_attack(attack, kind, SEALED_TRIES[kind][1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEALED_TRIES)
def test_many_mutated_contents_with_the_right_checksum(kind, attack):
    sealed_attack(attack, kind, SEALED_TRIES[kind][0])
