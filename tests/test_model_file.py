"""Model files: saved models and states of trainings that cannot run code."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SMALL, prepare
from recbole.quick_start import load_data_and_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix
from test_trainer import CODES, SPARSE, killed_in_epoch

import recbole_sparse_elsa
from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import CheckpointError, OptionError, OutputError
from recbole_sparse_elsa.runs import SavedRun
from recbole_sparse_elsa.training.checkpoint import model_file, read_checkpoint
from recbole_sparse_elsa.training.checkpoint.model_file import read_model_file, write_model_file

MODELS = {
    "ELSA": {"embedding_size": 8, "epochs": 3},
    "SparseELSA": {**SPARSE, "popularity_scale": 0.25},
    "SparseSLIM": {"k": 4},
    "ELSASAE": {"k": 4, "code_size": 24, "autoencoder_epochs": 3, "epochs": 3},
    "FineTunedELSASAE": {**CODES, "epochs": 4},
    "PrunedEASE": {"k": 6},
    "UserKNN": {"k": 5},
    "ImplicitALS": {"embedding_size": 4, "iterations": 2},
}


def trained(model, dataset, **options):
    if model == "ImplicitALS":
        pytest.importorskip("implicit")
    run = prepare(model, dataset, **options)
    run.trainer.fit(run.train_data, run.valid_data)
    return run


def safe(run):
    return run.trainer.saved_model_file.replace(".pth", ".safetensors")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return {}


def once(kept, name, make):
    """What a run leaves in the working folder, and the name of its file; the run takes place in the first test."""
    if name not in kept:
        kept[name] = make(), {}
        for folder, _, files in os.walk("."):
            for file in (os.path.join(folder, file) for file in files):
                with open(file, "rb") as opened:
                    kept[name][1][file] = opened.read()
    file, files = kept[name]
    for path, contents in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as opened:
            opened.write(contents)
    return file


@pytest.fixture
def saved(kept, random_dataset):
    return once(kept, "saved", lambda: safe(trained("SparseELSA", random_dataset, **SPARSE)))


@pytest.fixture
def resume_file(kept, random_dataset):
    return once(kept, "resume", lambda: killed_in_epoch(prepare("SparseELSA", random_dataset, **SPARSE), 4))


def refused(call, *said):
    with pytest.raises(CheckpointError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000
    for part in said:
        assert part in message


@pytest.mark.parametrize("model", MODELS)
def test_a_model_file_and_the_pickle_beside_it_give_the_same_scores(model, random_dataset):
    run = trained(model, random_dataset, **MODELS[model])
    users = {"user_id": torch.arange(51)}
    by_pickle, by_file = SavedRun(run.trainer.saved_model_file), SavedRun(safe(run))
    scores = by_pickle.model.full_sort_predict(users)
    assert scores.std() > 0 and torch.equal(by_file.model.full_sort_predict(users), scores)
    assert torch.equal(load_data_and_model(safe(run))[1].full_sort_predict(users), scores)
    own = ("save_dataset", "save_dataloaders", "dataset_save_path", "dataloaders_save_path")
    options, expected = (
        {name: value for name, value in of.config.final_config_dict.items() if name not in own}
        for of in (by_file, by_pickle)
    )
    assert options == expected and list(map(type, options.values())) == list(map(type, expected.values()))


def test_the_library_reads_the_arrays_as_they_are_in_the_model(saved):
    state = read_checkpoint(saved.replace(".safetensors", ".pth"))["state_dict"]
    arrays = load_file(saved)
    assert {f"state_dict.{name}" for name in state} == arrays.keys()
    for name, value in state.items():
        assert torch.equal(arrays[f"state_dict.{name}"], value)


def test_the_model_file_needs_less_than_the_pickle(saved):
    assert os.path.getsize(saved) < os.path.getsize(saved.replace(".safetensors", ".pth"))


def test_values_of_every_kind_come_back_as_they_were(saved):
    values = {
        **{"a": None, "b": True, "c": -(2**70), "d": 0.1, "e": "é\ud800\n$x", "f": [1, (2, [3.5])], "g": ()},
        **{"h": float("-inf"), "i": {0: {"x": 1}, (1, 2): 2}, "j": {"$tensor": 1}, "k": {}},
        **{"l": torch.device("cuda:1")},
    }
    arrays = {
        "half": torch.tensor([[0.1, -2]], dtype=torch.bfloat16),
        "zero": torch.tensor(3.0, dtype=torch.float64),
        "none": torch.zeros(0, 3, dtype=torch.bool),
        "view": torch.arange(6).reshape(2, 3).T,
        "seed": np.arange(4, dtype=np.uint32),
        "big": np.arange(3, dtype=">i4"),
        "rows": csr_matrix(np.eye(3, 4, dtype=np.float32)),
    }
    checkpoint = {**read_checkpoint(saved), "other_parameter": {**values, **arrays}}
    write_model_file(checkpoint, "copy.safetensors")
    found = read_model_file("copy.safetensors")["other_parameter"]
    assert {name: found[name] for name in values} == values
    for name in ("half", "zero", "none", "view"):
        assert torch.equal(found[name], arrays[name]) and found[name].dtype == arrays[name].dtype
    assert (found["seed"] == arrays["seed"]).all() and found["seed"].dtype == np.uint32
    assert found["big"].tolist() == [0, 1, 2]
    assert (found["rows"] != arrays["rows"]).nnz == 0 and found["rows"].shape == (3, 4)


@pytest.mark.parametrize("command", ["index", "segments", "homepage", "explore", "recommend", "export"])
def test_every_command_takes_a_model_file(command, saved, capsys):
    if command == "export":
        pytest.importorskip("pyarrow")
    main(["segments", saved, "--min_size", "2", "--output", "s.json"])
    arguments = {
        "index": ["--output", "an.index"],
        "segments": ["--output", "more.json"],
        "homepage": ["s.json", "--user", "u1"],
        "explore": ["--export", "page", "--users", "2"],
        "recommend": ["i1", "i2"],
        "export": ["--output", "rows.parquet"],
    }
    main([command, saved, *arguments[command]])
    assert "trust" not in capsys.readouterr().err


def test_a_run_goes_on_from_a_model_file_by_the_command_line_too(random_dataset):
    options = {**SMALL, **SPARSE, "checkpoint_dir": "elsewhere", "state": "ERROR"}
    expected = recbole_sparse_elsa.run("SparseELSA", random_dataset, options=options)
    resume_file = killed_in_epoch(prepare("SparseELSA", random_dataset, checkpoint_dir="elsewhere", **SPARSE), 4)
    assert resume_file.endswith("-resume.safetensors")
    result = recbole_sparse_elsa.run(resume=resume_file)
    assert result["saved_model_file"] == resume_file.replace("-resume.safetensors", ".pth")
    assert result["test_result"].keys() == expected["test_result"].keys() and not os.path.exists(resume_file)


def test_the_option_that_no_file_can_hold_is_named_before_training(random_dataset):
    run = prepare("SparseELSA", random_dataset, **SPARSE)
    run.config["wandb_project"] = {1, 2}
    with pytest.raises(OptionError, match=r"wandb_project is \{1, 2\}, which cannot be saved with a model"):
        run.trainer.fit(run.train_data, run.valid_data)
    assert os.listdir("saved") == []


# What strangers may write


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def resealed(file, change, arrays=None, checksum=None):
    """A model file with other contents, and the checksum of these."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    content = json.loads(metadata["content"])
    arrays = {**load_file(file), **(arrays or {})}
    content = change(content) or content
    text = json.dumps(content)
    metadata |= {"content": text, "sha256": checksum or model_file._checksum(text, arrays)}
    save_file(arrays, "changed.safetensors", metadata=metadata)
    return "changed.safetensors"


def test_a_pickle_with_the_name_of_a_model_file_is_not_read(saved):
    with open("evil.safetensors", "wb") as file:
        pickle.dump(Evil(), file)
    for call in (SavedRun, load_data_and_model, read_checkpoint, lambda file: recbole_sparse_elsa.run(resume=file)):
        refused(lambda call=call: call("evil.safetensors"), "evil.safetensors is no safetensors file")
    assert not os.path.exists("ran")


def test_a_model_file_of_any_name_is_read_as_one(saved):
    os.rename(saved, "model.pth")
    assert SavedRun("model.pth").index.n_items == 30


def test_no_option_of_a_strangers_file_runs_code_or_leads_to_a_pickle(random_dataset, resume_file):
    best = resume_file.replace("-resume", "")
    with open("data.pth", "wb") as file:
        pickle.dump(Evil(), file)
    for folder in ("saved", "theirs"):
        os.makedirs(folder, exist_ok=True)
        for name in (f"{random_dataset}-Dataset.pth", f"{random_dataset}-for-SparseELSA-dataloader.pth"):
            with open(os.path.join(folder, name), "wb") as file:
                pickle.dump(Evil(), file)
    with open(best.replace(".safetensors", ".pth"), "wb") as file:
        pickle.dump(Evil(), file)

    def change(content):
        theirs = {"dataset_save_path": "data.pth", "dataloaders_save_path": "data.pth", "checkpoint_dir": "theirs"}
        for options in content["config"].values():
            options.update(theirs)
        content["config"]["given"]["train_batch_size"] = "__import__('os').mkdir('ran') or 16"

    os.rename(resealed(best, change), best)
    assert SavedRun(best).index.n_items == 30 and load_data_and_model(best)
    os.rename(resealed(resume_file, change), resume_file)
    with pytest.raises(CheckpointError, match="with train_batch_size 16, but train_batch_size is __import__"):
        recbole_sparse_elsa.run(resume=resume_file)

    def only_the_places(content):
        change(content)
        content["config"]["given"]["train_batch_size"] = content["config"]["options"]["train_batch_size"]

    os.rename(resealed(resume_file, only_the_places), resume_file)
    assert recbole_sparse_elsa.run(resume=resume_file)["test_result"]
    assert not os.path.exists("ran")


def put(content, path, value):
    *path, last = path.split("/")
    for name in path:
        content = content[name]
    content[last] = value


@pytest.mark.parametrize(
    "path, value",
    [
        ("config/options/model", "NeuMF"),
        ("config/options/model", "os.path"),
        ("config/options/model", "NoSuchModel"),
        ("config/options/model", 3),
        ("config/options/data_path", None),
        ("config/options/ITEM_ID_FIELD", {}),
        ("config/options/MODEL_TYPE", {"$enum": ["os", "system"]}),
        ("config/options/MODEL_TYPE", {"$enum": "ab"}),
        ("config/options/device", {"$device": "nowhere"}),
        ("config/options", []),
        ("config", None),
        ("state_dict", []),
        ("state_dict/item_embedding.weight", 1),
        ("state_dict/item_embedding.weight", {"$tensor": "nothing"}),
        ("state_dict/item_embedding.shape", {"$array": "state_dict.item_embedding.shape"}),
        ("other_parameter", 5),
        ("other_parameter/data_fingerprint", {"users": 1}),
        ("other_parameter/data_fingerprint", 5),
        ("other_parameter/recipe", {"embedding_size": []}),
        ("other_parameter/recipe", 5),
        ("other_parameter/x", {"$csr": [[2**40, 2], 1, 2, 3]}),
        ("other_parameter/x", {"$float": 5}),
        ("other_parameter/x", {"$items": [[[], 1]]}),
        ("other_parameter/x", {"$unknown": 1}),
        ("other_parameter/x", {"$tuple": 1, "more": 2}),
    ],
)
def test_contents_that_are_none_are_refused_in_one_line(path, value, saved):
    changed = resealed(saved, lambda content: put(content, path, value))
    refused(lambda: SavedRun(changed).model and SavedRun(changed).make_index())


def sparse_layer():
    return {
        "row_pointers": torch.arange(31, dtype=torch.int32),
        "column_indices": torch.zeros(30, dtype=torch.int32),
        "weight": torch.ones(30),
        "shape": torch.tensor([30, 16]),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"column_indices": torch.full((30,), 2**31 - 1, dtype=torch.int32)},
        {"column_indices": torch.full((30,), -1, dtype=torch.int32)},
        {"column_indices": torch.zeros(29, dtype=torch.int32)},
        {"column_indices": torch.zeros(30, dtype=torch.float32)},
        {"row_pointers": torch.arange(30, -1, -1, dtype=torch.int32)},
        {"row_pointers": torch.arange(31, dtype=torch.int32) + 1},
        {"row_pointers": torch.arange(30, dtype=torch.int32)},
        {"shape": torch.tensor([2**62, 16])},
        {"shape": torch.tensor([-30, 16])},
        {"shape": torch.tensor([30, 16, 1])},
        {"weight": torch.full((30,), float("nan"))},
        {"weight": torch.ones(30, 1)},
        {"weight": torch.ones(31)},
    ],
)
def test_item_embeddings_whose_parts_do_not_fit_are_refused(changes, saved):
    layer = sparse_layer()

    def change(content):
        content["state_dict"] = {
            f"item_embedding.{name}": {"$tensor": f"state_dict.item_embedding.{name}"} for name in layer
        }

    def file_of(layer):
        with safe_open(saved, "pt") as opened:
            metadata = opened.metadata()
        content = json.loads(metadata["content"])
        change(content)
        arrays = {f"state_dict.item_embedding.{name}": value for name, value in layer.items()}
        text = json.dumps(content)
        save_file(arrays, "x.safetensors", {**metadata, "content": text, "sha256": model_file._checksum(text, arrays)})
        return "x.safetensors"

    assert read_model_file(file_of(layer))["state_dict"].keys()
    refused(lambda: read_model_file(file_of({**layer, **changes})), "it is damaged")


def test_a_changed_array_is_noticed_by_its_checksum(saved):
    whole = open(saved, "rb").read()
    with open(saved, "wb") as file:
        file.write(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(lambda: SavedRun(saved), "its checksum (SHA-256) is not that of its contents")


@pytest.mark.parametrize("version", ["2", "0", "x", ""])
def test_another_version_of_the_format_is_named(version, saved):
    with safe_open(saved, "pt") as opened:
        metadata = opened.metadata()
    save_file(load_file(saved), "other.safetensors", {**metadata, "format_version": version})
    refused(lambda: read_model_file("other.safetensors"), f"wrote it in version {version} of the format", "reads 1")


def test_an_index_file_is_no_model_file(saved):
    main(["index", saved, "--output", "an.safetensors"])
    main(["recommend", "an.safetensors", "i1"])
    refused(lambda: SavedRun("an.safetensors"), "it is not a model file")


def test_deep_content_is_refused(saved):
    def deep(content):
        value = []
        for _ in range(900):
            value = [value]
        content["other_parameter"]["x"] = value

    changed = resealed(saved, deep)
    refused(lambda: read_model_file(changed), "its content is nested too deep")


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": -5},
        {"epoch": "1"},
        {"best_valid_score": "high"},
        {"best_valid_result": [1]},
        {"best_model_file": "../x.pth"},
        {"best_model_file": "x"},
        {"optimizer": {}},
        {"optimizer": {"state": {"$items": [[0, {"step": 1}]]}}},
        {"random_states": []},
        {"random_states": [{}]},
    ],
)
def test_a_state_that_no_training_can_go_on_from_is_refused(changes, random_dataset, resume_file):
    with safe_open(resume_file, "pt") as opened:
        metadata = opened.metadata()
    content = json.loads(metadata["content"]) | changes
    arrays = load_file(resume_file)
    named = json.dumps(content)
    arrays = {name: value for name, value in arrays.items() if json.dumps(name) in named}
    save_file(arrays, resume_file, {**metadata, "content": named, "sha256": model_file._checksum(named, arrays)})

    def go_on():
        run = prepare("SparseELSA", random_dataset, **SPARSE, resume=resume_file)
        run.trainer.fit(run.train_data, run.valid_data)

    refused(go_on, "-resume.safetensors")


# Two runs, and room for them


def test_two_runs_do_not_go_on_from_the_same_file(random_dataset, resume_file):
    script = "import sys, time; from recbole_sparse_elsa.output import reserve_file\n"
    script += "with reserve_file(sys.argv[1]):\n    print('held', flush=True); time.sleep(300)"
    holder = subprocess.Popen([sys.executable, "-c", script, resume_file], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=f"resume: {resume_file} is in use by process {holder.pid} on "):
            prepare("SparseELSA", random_dataset, **SPARSE, resume=resume_file)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    run = prepare("SparseELSA", random_dataset, **SPARSE, resume=resume_file)
    run.trainer.fit(run.train_data, run.valid_data)


@pytest.mark.parametrize("model", ["SparseELSA", "PrunedEASE", "SparseSLIM", "UserKNN"])
def test_a_disk_without_room_is_said_before_training(model, random_dataset, monkeypatch):
    run = prepare(model, random_dataset, **MODELS[model])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(OutputError, match=r"saved has 0.0 MB free, but what is saved there needs at least 0.0 MB"):
        run.trainer.fit(run.train_data, run.valid_data)
    assert os.listdir("saved") == []
