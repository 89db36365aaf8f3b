import logging
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_sparse_elsa.errors import CheckpointError, OutputError
from recbole_sparse_elsa.training.checkpoint import read_checkpoint, write_checkpoint

STATE = {"config": {"model": "BPR"}, "state_dict": {"weight": torch.arange(6.0).reshape(2, 3)}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "BPR.pth"
    write_checkpoint(STATE, path)
    return path


def test_reads_what_was_written(path, caplog):
    with caplog.at_level(logging.INFO):
        checkpoint = read_checkpoint(path, "cpu")
    assert checkpoint["config"] == {"model": "BPR"}
    assert torch.equal(checkpoint["state_dict"]["weight"], STATE["state_dict"]["weight"])
    assert "pickle" not in caplog.text


def test_says_that_a_checkpoint_from_elsewhere_must_be_one_that_is_trusted(path, tmp_path, caplog):
    shutil.copy(path, tmp_path / "from elsewhere.pth")
    with caplog.at_level(logging.INFO):
        read_checkpoint(tmp_path / "from elsewhere.pth")
    assert "from elsewhere.pth: a checkpoint is a pickle" in caplog.text and "trust" in caplog.text


def test_reads_objects_that_weights_only_refuses(tmp_path):
    write_checkpoint({**STATE, "config": logging.Formatter("%(message)s")}, tmp_path / "a.pth")
    assert read_checkpoint(str(tmp_path / "a.pth"))["config"]._fmt == "%(message)s"


def _error_of(path):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_file(tmp_path):
    assert "does not exist" in _error_of(tmp_path / "none.pth")


def test_folder(tmp_path):
    assert "cannot be read" in _error_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 nor a zip file", bytes(range(256))])
def test_file_of_another_kind(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    assert "cannot be read" in _error_of(path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.floats(0, 1, exclude_max=True))
def test_cut_off_file(path, kept):
    whole = path.read_bytes()
    cut = path.with_name("cut.pth")
    cut.write_bytes(whole[: int(kept * len(whole))])
    assert "cannot be read" in _error_of(cut)


@pytest.mark.parametrize("content", [{"weight": torch.ones(2)}, {"config": {}}, [1, 2], torch.ones(2)])
def test_file_that_is_not_a_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    assert "not a RecBole checkpoint" in _error_of(tmp_path / "a.pth")


def test_class_that_cannot_be_imported(path, monkeypatch):
    write_checkpoint({**STATE, "config": Unknown()}, path)
    monkeypatch.delattr(f"{__name__}.Unknown")
    assert "Unknown" in _error_of(path)


class Unknown:
    pass


def _fail_half_way(state, file, **kwargs):
    file.write(b"half of")
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("exists", [True, False])
def test_failed_write_leaves_the_folder_as_it_was(tmp_path, monkeypatch, exists):
    path = tmp_path / "BPR.pth"
    if exists:
        write_checkpoint(STATE, path)
    monkeypatch.setattr(torch, "save", _fail_half_way)
    with pytest.raises(OutputError, match="BPR.pth cannot be written: No space left on device$"):
        write_checkpoint({**STATE, "config": None}, path)
    assert [file.name for file in tmp_path.iterdir()] == (["BPR.pth"] if exists else [])
    if exists:
        assert read_checkpoint(path)["config"] == {"model": "BPR"}


def test_write_replaces_and_leaves_nothing_else(path):
    write_checkpoint({**STATE, "config": {"model": "EASE"}}, path)
    assert read_checkpoint(path)["config"] == {"model": "EASE"}
    assert [file.name for file in path.parent.iterdir()] == ["BPR.pth"]
