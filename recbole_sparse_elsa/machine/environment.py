"""On what a command runs: the device, the versions, and the processor's name."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from typing import Any

import numpy
import torch

import recbole_sparse_elsa
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.output import open_output


def start(output: str, device: str) -> tuple[torch.device, dict[str, Any]]:
    """Choose the device, make the output folder, and say on what the command runs.

    Parameters
    ----------
    output : str
        The folder.
    device : {"auto", "cpu", "cuda"}
        See `choose_device`.

    Returns
    -------
    device : torch.device
    ran_on : dict
        See `environment`.

    Raises
    ------
    OptionError
        The device is not there, or the folder cannot be made or written to.
    """
    chosen = choose_device(device)
    open_output(output)
    ran_on = environment(chosen)
    print(f"Running on {environment_line(ran_on)}")
    return chosen, ran_on


def choose_device(name: str) -> torch.device:
    """The device of an option ``device``: cpu, cuda, or auto (cuda if there is one).

    Raises
    ------
    OptionError
        Another name, or cuda where torch finds none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise OptionError(f"device is {name!r}, but must be auto, cpu or cuda")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("device is cuda, but torch finds no CUDA device: give cpu or auto")
    return torch.device(name)


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, number of CPU threads, and the device with its name: the columns that every CSV file ends with."""
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "recbole": _recbole_version(),
        "recbole_sparse_elsa": recbole_sparse_elsa.__version__,
    }


def environment_line(ran_on: Mapping[str, Any]) -> str:
    """What `environment` returned, as a line to read; a version of scikit-learn that was put to it is told, too."""
    names = ("python", "torch", "numpy", "recbole", "recbole_sparse_elsa", "scikit-learn")
    versions = ", ".join(f"{name} {ran_on[name]}" for name in names if name in ran_on)
    return f"{ran_on['device_name']} ({ran_on['device']}), {ran_on['threads']} CPU threads; {versions}"


def _recbole_version():
    # This module does not import RecBole, since not all that is measured needs it. What is loaded may lie on Python's
    # path without being installed.
    if "recbole" in sys.modules:
        return sys.modules["recbole"].__version__
    try:
        return importlib.metadata.version("recbole")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu_name():
    # platform.processor() is empty on most Linux systems.
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
