"""Reading and writing RecBole's checkpoints: the only place where one is unpickled. Model files are read alike."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from recbole_sparse_elsa.errors import CheckpointError
from recbole_sparse_elsa.options import require_regular_file
from recbole_sparse_elsa.output import write_file
from recbole_sparse_elsa.training.checkpoint.model_file import SUFFIX, is_model_file, read_model_file

# Torch is imported by what reads or writes a file: a command looks at the name and the beginning of one before.
if TYPE_CHECKING:
    import torch

# What this process wrote it need not be warned of.
_written_here: set[str] = set()


def read_checkpoint(
    path: str | os.PathLike[str], map_location: torch.device | str | None = None
) -> dict[str, Any]:
    """Read a checkpoint that a RecBole trainer wrote, or a model file.

    A checkpoint holds RecBole's Config, so it cannot be read with torch's ``weights_only``: reading it can run any
    code that its writer put there. A model file cannot run code, see `read_model_file`; what has its name, ending in
    .safetensors, is never read as anything else.

    Parameters
    ----------
    path : str or os.PathLike
        The checkpoint, or the model file.
    map_location : torch.device or str, optional
        Where the tensors go; by default to the device they were saved from.

    Returns
    -------
    dict
        At least ``config`` and ``state_dict``.

    Raises
    ------
    CheckpointError
        The file is missing, cannot be read, is cut off, or is not a RecBole checkpoint.
    """
    import torch

    if is_safe(path):
        return read_model_file(path, map_location)
    if os.path.abspath(path) not in _written_here:
        logging.getLogger().info(
            f"Reading {path}: a checkpoint is a pickle, which can run code; it must be one you trust"
        )
    try:
        require_regular_file(path)
        checkpoint = torch.load(path, map_location=map_location, weights_only=False)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path} does not exist") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError(f"checkpoint {path} cannot be read: {type(error).__name__}: {reason}") from error
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{path} is not a RecBole checkpoint: it has no config and state_dict")
    return checkpoint


def is_safe(path: str | os.PathLike[str]) -> bool:
    """Whether `read_checkpoint` reads a file as a model file, which cannot run code."""
    return os.fspath(path).endswith(SUFFIX) or is_model_file(path)


def write_checkpoint(state: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint so that ``path`` holds, at any moment, either the old file or the whole new one.

    Parameters
    ----------
    state : dict
        What to save.
    path : str or os.PathLike
        The checkpoint file; it is replaced if it exists.

    Raises
    ------
    OutputError
        It cannot be written, for instance because the disk is full.
    """
    import torch

    write_file(path, lambda opened: torch.save(state, opened, pickle_protocol=4))
    _written_here.add(os.path.abspath(path))
