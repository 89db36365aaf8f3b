"""Reading and writing RecBole's checkpoints."""

import glob
import os
import threading
import types

import pytest
import torch
from conftest import QUIET, prepare
from recbole.data import create_dataset
from recbole.quick_start import load_data_and_model, quick_start, run_recbole
from recbole.trainer import Trainer

from recbole_sparse_elsa.errors import CheckpointError, OutputError
from recbole_sparse_elsa.plugin.repairs import checkpoints
from recbole_sparse_elsa.training.checkpoint import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("root_logger")


def test_torch_load_is_the_usual_one_for_everybody_else(checkerboard, monkeypatch):
    run_recbole(model="BPR", dataset=checkerboard, config_dict={**QUIET, "epochs": 1})
    (checkpoint,) = glob.glob("saved/*.pth")
    torch_load, seen = torch.load, []

    def read_elsewhere():
        try:
            seen.append(torch.load(checkpoint, weights_only=True))
        except Exception as error:
            seen.append(type(error).__name__)

    def read_and_read_elsewhere(path, map_location=None):
        # Another thread begins to read the same file, just before RecBole does.
        state = read_checkpoint(path, map_location)
        thread = threading.Thread(target=read_elsewhere)
        thread.start()
        thread.join()
        return state

    def look(config):
        seen.append(torch.load is torch_load)
        return create_dataset(config)

    monkeypatch.setattr(checkpoints, "read_checkpoint", read_and_read_elsewhere)
    monkeypatch.setattr(quick_start, "create_dataset", look)
    load_data_and_model(checkpoint)
    assert seen == ["UnpicklingError", True]
    assert torch.load is torch_load


def test_another_thread_and_another_file_are_read_as_usual(tmp_path):
    torch.save(torch.ones(1), tmp_path / "other.pth")
    torch_load, read, ours = torch.load, [], str(tmp_path / "our.pth")
    with checkpoints._hand_to_torch_load("ours", ours):
        assert torch.load(tmp_path / "other.pth").item() == 1

        def missing():
            with pytest.raises(FileNotFoundError):
                torch.load(ours)
            read.append(True)

        thread = threading.Thread(target=missing)
        thread.start()
        thread.join()
        assert torch.load(ours) == "ours" and torch.load is torch_load
    assert read == [True] and torch.load is torch_load


def test_a_checkpoint_that_cannot_be_read_leaves_torch_load_alone(tmp_path):
    torch_load = torch.load
    with pytest.raises(CheckpointError, match="none.pth does not exist"):
        load_data_and_model(str(tmp_path / "none.pth"))
    assert torch.load is torch_load


def test_a_checkpoint_of_several_gpus_loads_without_any(checkerboard):
    run_recbole(model="BPR", dataset=checkerboard, config_dict={**QUIET, "epochs": 1})
    (checkpoint,) = glob.glob("saved/*.pth")
    state = read_checkpoint(checkpoint)
    state["config"].final_config_dict.update(device=torch.device("cuda", 1), single_spec=False, local_rank=1)
    write_checkpoint(state, checkpoint)
    config, model, *_ = load_data_and_model(checkpoint)
    assert config["device"] == torch.device("cpu") and config["single_spec"]
    assert next(model.parameters()).device == torch.device("cpu")


def test_pretrained_weights_are_read(checkerboard):
    options = {"mf_embedding_size": 4, "mlp_embedding_size": 4, "mlp_hidden_size": [4]}
    for path, part in {"mf.pth": {"mlp_train": False}, "mlp.pth": {"mf_train": False}}.items():
        run = prepare("NeuMF", checkerboard, **options, **part)
        write_checkpoint({"config": run.config, "state_dict": run.model.state_dict()}, path)
    pretrained = prepare(
        "NeuMF", checkerboard, **options, use_pretrain=True, mf_pretrain_path="mf.pth", mlp_pretrain_path="mlp.pth"
    )
    expected = read_checkpoint("mf.pth")["state_dict"]["user_mf_embedding.weight"]
    assert torch.equal(pretrained.model.user_mf_embedding.weight, expected)


def test_trainers_made_in_the_same_second_have_their_own_checkpoints(checkerboard, monkeypatch):
    monkeypatch.setattr("recbole.trainer.trainer.get_local_time", lambda: "Jan-01-2030_00-00-00")
    run = prepare("BPR", checkerboard)
    paths = {Trainer(run.config, run.model).saved_model_file for _ in range(5)}
    assert len(paths) == 5
    for path in paths:
        folder, name = os.path.split(path)
        assert folder == "saved" and name.startswith("BPR-Jan-01-2030_00-00-00-") and name.endswith(".pth")


def _name_checkpoint(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)

    def original(self, config, model):
        self.saved_model_file = f"saved/BPR-{rank}.pth"

    trainer = types.SimpleNamespace()
    checkpoints.give_each_run_its_own_checkpoint(original)(trainer, {"single_spec": False}, None)
    with open(f"{folder}/{rank}", "w") as file:
        file.write(trainer.saved_model_file)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_of_one_run_agree_on_the_checkpoint(tmp_path):
    torch.multiprocessing.spawn(_name_checkpoint, (str(tmp_path),), nprocs=2)
    first, second = (tmp_path / "0").read_text(), (tmp_path / "1").read_text()
    assert first == second and first.startswith("saved/BPR-0-")


def test_a_failed_save_keeps_the_best_model(checkerboard, monkeypatch):
    run = prepare("BPR", checkerboard)
    run.trainer._save_checkpoint(3)

    def fail_half_way(state, file, **kwargs):
        file.write(b"half of")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail_half_way)
        with pytest.raises(OutputError, match="cannot be written: No space"):
            run.trainer._save_checkpoint(4)
    assert glob.glob("saved/*") == [run.trainer.saved_model_file]
    assert read_checkpoint(run.trainer.saved_model_file)["epoch"] == 3


def test_evaluating_a_cut_off_checkpoint(checkerboard):
    run = prepare("BPR", checkerboard)
    with open("cut.pth", "wb") as file:
        file.write(b"PK")
    with pytest.raises(CheckpointError, match="cut.pth cannot be read"):
        run.trainer.evaluate(run.test_data, model_file="cut.pth")
    with pytest.raises(CheckpointError, match="cut.pth cannot be read"):
        run.trainer.resume_checkpoint("cut.pth")
