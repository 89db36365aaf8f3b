"""Runs on several processes, which are to end as a run on one does."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from conftest import SMALL, write_interactions
from recbole.quick_start import load_data_and_model, run
from recbole.utils import get_trainer

import recbole_sparse_elsa

PACKAGE = os.path.dirname(os.path.dirname(recbole_sparse_elsa.__file__))
# 73 users with RecBole's padding user make three batches of 24 and one of 1, of which one process gets nothing.
SPARSE = {
    **SMALL,
    "k": 4,
    "stage_epochs": 2,
    "epochs": 6,
    "train_batch_size": 24,
    "learning_rate": 0.01,
    "input_dropout": 0.0,
    "metrics": ["Recall", "NDCG", "GAUC", "ItemCoverage", "GiniIndex", "TailPercentage"],
    "valid_metric": "NDCG@10",
}

SCRIPT = """
import json, os
import recbole_sparse_elsa
from recbole.quick_start import run
from recbole.trainer import Trainer

model, dataset, options, how, killed_in_epoch = json.loads(os.environ["RUN"])
if killed_in_epoch is not None:
    train_epoch = Trainer._train_epoch

    def dying(trainer, train_data, epoch_idx, *args, **kwargs):
        loss = train_epoch(trainer, train_data, epoch_idx, *args, **kwargs)
        if epoch_idx == killed_in_epoch:
            os._exit(1)
        return loss

if __name__ == "__main__":
    print("RESULT", json.dumps(run(model, dataset, config_dict=options, **how)))
elif killed_in_epoch is not None:
    Trainer._train_epoch = dying
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return str(listener.getsockname()[1])


def start(model, dataset, options, folder, killed_in_epoch=None, **how):
    """Start RecBole's ``run`` in a process of its own, which starts the others."""
    os.makedirs(folder, exist_ok=True)
    with open("several.py", "w") as file:
        file.write(SCRIPT)
    return subprocess.Popen(
        [sys.executable, os.path.abspath("several.py")],
        env={
            **os.environ,
            "PYTHONPATH": PACKAGE,
            "RUN": json.dumps([model, dataset, {**options, "checkpoint_dir": folder}, how, killed_in_epoch]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    (line,) = [line for line in output.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


def on_one(model, dataset, options):
    """The result of one process, as JSON gives it back."""
    return json.loads(json.dumps(run(model, dataset, config_dict={**options, "checkpoint_dir": "one"})))


def on_two(model, dataset, options, folder="two"):
    """The result of two processes."""
    options = {**options, "checkpoint_dir": folder}
    return json.loads(json.dumps(run(model, dataset, config_dict=options, nproc=2, port=free_port())))


def checkpoint(folder):
    """The best model of the only run that was in the folder, which has left its model file, and nothing else there."""
    file, model_file = sorted(os.listdir(folder))
    assert model_file == file.replace(".pth", ".safetensors")
    return torch.load(os.path.join(folder, file), weights_only=False)


def assert_same_model(folder, other):
    state, expected = (checkpoint(name)["state_dict"] for name in (folder, other))
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-4)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """As many threads in all as there are processes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def long_tailed(working_folder):
    """72 users of a long-tailed catalogue, whose histories differ."""
    generator = torch.Generator().manual_seed(0)
    popularity = torch.arange(1, 41).float().reciprocal()
    interactions = [
        (f"u{user}", f"i{item}")
        for user in range(72)
        for item in torch.multinomial(popularity, 10 + user % 7, generator=generator).tolist()
    ]
    write_interactions(working_folder / "dataset", "long_tailed", interactions)
    return "long_tailed"


def test_two_processes_end_with_the_weights_and_the_metrics_of_one(long_tailed):
    options = {**SPARSE, "embedding_form": "dense", "restart": True}
    assert on_two("SparseELSA", long_tailed, options) == on_one("SparseELSA", long_tailed, options)
    assert_same_model("two", "one")


def test_so_do_two_machines_with_a_process_each(long_tailed):
    options = {**SPARSE, "embedding_form": "compact", "restart": False}
    how = {"nproc": 1, "world_size": 2, "ip": "localhost", "port": free_port()}
    machines = [
        start("SparseELSA", long_tailed, options, f"machine{offset}", group_offset=offset, **how)
        for offset in range(2)
    ]
    expected = on_one("SparseELSA", long_tailed, options)
    assert [result_of(machine) for machine in machines] == [expected, expected]
    assert os.listdir("machine0") == os.listdir("machine1")
    assert checkpoint("one")["state_dict"]["item_embedding.weight"].dim() == 1
    assert_same_model("machine0", "one")
    assert_same_model("machine1", "one")


def test_codes_of_an_autoencoder_are_the_same_on_every_process(long_tailed):
    # A dense start, whose embeddings give way to codes of another width in the second epoch.
    options = {"k": 4, "embedding_size": 16, "code_size": 24, "dense_epochs": 1, "autoencoder_epochs": 3, "epochs": 4}
    options |= {"input_dropout": 0.0, "train_batch_size": 16}
    assert on_two("FineTunedELSASAE", long_tailed, options) == on_one("FineTunedELSASAE", long_tailed, options)
    assert checkpoint("two")["state_dict"]["item_embedding.shape"].tolist() == [40, 24]
    assert_same_model("two", "one")


def test_a_killed_run_goes_on_with_the_same_weights(long_tailed):
    # Every process draws its own dropout, and has to go on with it.
    options = {**SPARSE, "embedding_form": "auto", "embedding_size": 64, "input_dropout": 0.5, "epochs": 9}
    how = {"nproc": 2, "port": free_port()}
    killed = start("SparseELSA", long_tailed, options, "killed", killed_in_epoch=7, **how)
    expected = on_two("SparseELSA", long_tailed, options, "whole")
    killed.communicate(timeout=120)
    assert killed.returncode != 0
    (resume_file,) = [name for name in os.listdir("killed") if name.endswith("-resume.safetensors")]
    options = {**options, "resume": os.path.join("killed", resume_file)}
    assert on_two("SparseELSA", long_tailed, options, "killed") == expected
    state, whole = checkpoint("killed")["state_dict"], checkpoint("whole")["state_dict"]
    assert state["item_embedding.weight"].dim() == 1
    assert all(torch.equal(state[name], whole[name]) for name in whole)


@pytest.mark.parametrize("model", ["EASE", "BPR"])
def test_recboles_own_models(long_tailed, model):
    options = {name: SPARSE[name] for name in ("metrics", "valid_metric", "show_progress", "state")}
    two = on_two(model, long_tailed, {**options, "epochs": 2})
    if model == "EASE":  # BPR draws other negatives on each process
        assert two == on_one(model, long_tailed, {**options, "epochs": 2})
    # The figures are those that one process finds for the same model.
    (file,) = os.listdir("two")
    config, trained, _, train_data, _, test_data = load_data_and_model(os.path.join("two", file))
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, trained)
    trainer.eval_collector.data_collect(train_data)
    assert trainer.evaluate(test_data, load_best_model=False) == two["test_result"]
