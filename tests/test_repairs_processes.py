"""The device that a run trains on; runs on several processes are in test_distributed.py."""

import os

import pytest
import torch
from recbole.config import Config

pytestmark = pytest.mark.usefixtures("root_logger")


@pytest.mark.parametrize("options, device", [({}, "cuda"), ({"use_gpu": False}, "cpu"), ({"gpu_id": ""}, "cpu")])
def test_a_gpu_is_used_unless_it_is_not_wanted(checkerboard, monkeypatch, options, device):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Config("BPR", checkerboard, config_dict=options)["device"].type == device


def test_the_gpu_is_the_one_of_gpu_id_or_else_of_the_environment(checkerboard, monkeypatch):
    def visible(**options):
        Config("BPR", checkerboard, config_dict=options)
        return os.environ["CUDA_VISIBLE_DEVICES"]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert [visible(), visible(gpu_id=1), visible()] == ["3", "1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [visible(), visible(gpu_id="0"), visible()] == ["2,5", "0", "2,5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [visible(), visible()] == ["0", "0"]
