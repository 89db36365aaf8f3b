"""The files of a data set that are not there, and what to say about them."""

import glob
import os
from collections.abc import Sequence
from typing import Any

from recbole_sparse_elsa.data.fixed_files import fixed_parts


def missing_dataset_files(config: Any) -> list[str]:
    """The paths of the interaction files that the options of a run (``recbole.config.Config``) name, but nobody has."""
    folder, name = config["data_path"], config["dataset"]
    parts = config["benchmark_filename"]
    names = [f"{name}.inter"] if parts is None else [f"{name}.{part}.inter" for part in parts]
    return [path for path in (os.path.join(folder, name) for name in names) if not os.path.isfile(path)]


def describe_missing_dataset(config: Any, missing: Sequence[str]) -> str:
    """One line that names the missing files, the data sets that are there, and what to do."""
    parent = os.path.dirname(os.path.normpath(config["data_path"])) or "."
    others = sorted(
        name
        for name in (os.listdir(parent) if os.path.isdir(parent) else [])
        if glob.glob(os.path.join(glob.escape(parent), glob.escape(name), glob.escape(name) + ".*inter"))
    )
    folder, name = config["data_path"], config["dataset"]
    parts = None if config["benchmark_filename"] is not None else fixed_parts(folder, name)
    if parts is not None:
        files = ", ".join(f"{name}.{part}.inter" for part in parts)
        return (
            f"data set {name} cannot be split by eval_args: there is no {os.path.abspath(missing[0])} but the fixed "
            f"split {files}; leave split out of eval_args, or give benchmark_filename: [{', '.join(parts)}]"
        )
    return (
        f"data set {config['dataset']} not found: there is no {', '.join(os.path.abspath(path) for path in missing)}; "
        f"data sets in {os.path.abspath(parent)} (option data_path): {', '.join(others) or 'none'}; ml-100k comes with "
        "RecBole; RecBole's download addresses have refused since August 2026 (its issue #2218), so put the files "
        "named above there yourself (github.com/RUCAIBox/RecSysDatasets tells how to make them)"
    )
