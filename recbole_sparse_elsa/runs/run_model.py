"""One training and evaluation of a model by name: what ``run_recbole.py`` and ``sparse-elsa train`` call."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from recbole.quick_start import quick_start

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import find_config_file, reading_yaml
from recbole_sparse_elsa.plugin import own_models
from recbole_sparse_elsa.training.checkpoint import read_checkpoint

_DEFAULTS = {"model": "SparseELSA", "dataset": "ml-100k"}
# Options that say where a run takes place: those of this run count, not those of the run that is resumed.
_OF_THE_PLACE = ("nproc", "world_size", "ip", "port", "offset", "local_rank")


def run(
    model: str | None = None,
    dataset: str | None = None,
    *,
    config_files: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    resume: str | None = None,
    nproc: int = 1,
    world_size: int = -1,
    ip: str = "localhost",
    port: str = "5678",
    group_offset: int = 0,
) -> dict[str, Any] | None:
    """Train and evaluate a model, RecBole's own or one of this package's.

    Parameters
    ----------
    model, dataset : str, optional
        Names, or path/to/file.py:Class or package.module:Class for a model of one's own; by default what the config
        files name, or else SparseELSA and ml-100k, which RecBole ships.
    config_files : sequence of str
        YAML files with options; later ones win. See `recbole_sparse_elsa.options.find_config_file`.
    options : mapping, optional
        Options by name, which win over those of the files; also ``model`` and ``dataset``, where these are not given.
    resume : str, optional
        File of an interrupted run to go on from, with its model, data set and options.
    nproc, world_size : int
        Processes on this machine, and on all machines.
    ip, port : str
        Address of the first machine.
    group_offset : int
        First rank of this machine.

    Returns
    -------
    dict or None
        RecBole's result (``best_valid_score``, ``best_valid_result``, ``test_result`` and others), and
        ``saved_model_file``, the checkpoint of the best model or None. None on machines other than the first.

    Raises
    ------
    UserError
        An option is not allowed, a file cannot be used, or the training cannot go on.
    """
    config_files = [find_config_file(file) for file in config_files]
    chosen = _chosen(config_files)
    config_dict = dict(options or {})
    chosen.update({name: config_dict[name] for name in chosen if name in config_dict})
    if resume is not None:
        config = read_checkpoint(resume, "cpu")["config"]
        saved = {name: value for name, value in config.external_config_dict.items() if name not in _OF_THE_PLACE}
        # RecBole evaluates texts as Python. These it has evaluated before, or they are a stranger's.
        saved = {name: repr(value) if isinstance(value, str) else value for name, value in saved.items()}
        if "checkpoint_dir" in saved:
            saved["checkpoint_dir"] = repr(os.path.dirname(resume) or os.curdir)
        config_dict = {**saved, **config_dict, "resume": resume}
        chosen = {"model": config["own_model"] or config["model"], "dataset": config["dataset"]}
    if nproc > 1:
        print(f"Starting {nproc} processes, each of which loads torch and RecBole", file=sys.stderr, flush=True)
    result = quick_start.run(
        model or chosen["model"],
        dataset or chosen["dataset"],
        config_file_list=config_files,
        config_dict=config_dict,
        nproc=nproc,
        world_size=world_size,
        ip=ip,
        port=port,
        group_offset=group_offset,
    )
    return None if result is None else {**result, "saved_model_file": result.saved_model_file}


def find_own_model(model: str | None, config_files: Sequence[str]) -> None:
    """Let the options of a user's own model be known before a command line is checked, if a run is to be of one.

    Parameters
    ----------
    model, config_files
        See `run`; the files are those that were found.

    Raises
    ------
    OptionError
        A file cannot be read, or there is no such model.
    """
    chosen = model or _chosen(config_files)["model"]
    if own_models.is_source(chosen):
        own_models.find(chosen)


def _chosen(config_files):
    """The model and the data set of a run for which nothing but config files names them."""
    chosen = dict(_DEFAULTS)
    for file in config_files:
        chosen.update(_model_and_dataset_of(file))
    return chosen


def _model_and_dataset_of(config_file):
    """The model and the data set that a config file names, either of which may be missing."""
    if not os.path.isfile(config_file):
        raise OptionError(f"config_files: {config_file} was not found; give YAML files, separated by spaces")
    with open(config_file, encoding="utf-8") as file, reading_yaml(f"config_files: {config_file}"):
        options = yaml.load(file, Loader=yaml.FullLoader) or {}
    if not isinstance(options, dict):
        raise OptionError(f"config_files: {config_file} must hold a mapping of options to values")
    return {name: options[name] for name in ("model", "dataset") if name in options}
