"""The files of fixed splits, and whether validation data are held out of their training data."""

import os
from typing import Any

#: The share of each user's training items that is held out where a fixed split has no validation data.
DEFAULT_VALID_SHARE = 0.1


def fixed_parts(folder: str, name: str) -> list[str] | None:
    """The parts of a data set's fixed split, as ``benchmark_filename`` names them; None unless there are two or three.

    Parameters
    ----------
    folder, name : str
        The data set's folder, and its name.

    Returns
    -------
    list of str or None
        ``[train, valid, test]`` or ``[train, test]``, of the files NAME.train.inter and so on.
    """
    files = {part: os.path.join(folder, f"{name}.{part}.inter") for part in ("train", "valid", "test")}
    parts = [part for part, file in files.items() if os.path.isfile(file)]
    return parts if {"train", "test"} <= set(parts) else None


def holds_out(config: Any) -> bool:
    """Whether a run's validation data are a part of the training data that the files have."""
    names = config["benchmark_filename"]
    return names is not None and len(names) == 2
