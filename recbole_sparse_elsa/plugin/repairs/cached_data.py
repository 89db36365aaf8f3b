"""Data sets and data loaders that an earlier run saved: used only where this run's options would give the same."""

import builtins
import contextlib
import importlib
import logging
import os
import pickle
import tempfile
import types
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch

from recbole_sparse_elsa.output import write_file
from recbole_sparse_elsa.plugin.needed_columns import points_of
from recbole_sparse_elsa.plugin.patching import adjusts, overlay, replaces, source_of

# Options that shape the data, but that RecBole does not compare with those of a saved data set.
_OTHER_DATASET_OPTIONS = (
    "data_path",
    "encoding",
    "numerical_features",
    "discretization",
    "kg_reverse_r",
    "entity_kg_num_interval",
    "relation_kg_num_interval",
    "convert_token_to_onehot",
    "token_num_threshold",
)
# The same for saved data loaders, whose batches are fixed when they are made.
_LOADER_OPTIONS = (
    *("train_batch_size", "eval_batch_size", "train_neg_sample_args", "shuffle", "worker"),
    *("test_mask", "valid_share"),
)


def _changed_options(saved: Any, config: Any, names: Iterable[str]) -> list[str]:
    return [name for name in names if saved[name] != config[name]]


def _load_saved(load: Callable[..., Any], option: str, make: Callable[[Any], Any]) -> Any:
    """What ``load`` makes of a file that was saved where the data and the batches were others."""
    from recbole.utils import ModelType

    names = {"checkpoint_dir": "", "dataset": "", "model": "", "MODEL_TYPE": ModelType.GENERAL}
    saved = defaultdict(type(None), names, data_path="old", train_batch_size=1)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "saved.pth")
        with open(path, "wb") as file:
            pickle.dump(make(saved), file)
        return load(defaultdict(type(None), names, data_path="new", train_batch_size=2, **{option: path}))


def _uses_a_dataset_of_other_files(create_dataset: Callable[..., Any]) -> bool:
    dataset = _load_saved(create_dataset, "dataset_save_path", lambda saved: types.SimpleNamespace(config=saved))
    return dataset.config["data_path"] == "old"


@replaces(
    "recbole.data.utils.create_dataset",
    parameters="config",
    kind="repair",
    until="RecBole compares all options that shape the data, and takes the run's own for all others",
    probe=_uses_a_dataset_of_other_files,
)
def check_saved_datasets(original: Callable[..., Any]) -> Callable[..., Any]:
    """Use a saved data set only where this run's options would give the same, and with this run's options.

    RecBole uses a data set that an earlier run saved with that run's options: asked for another split, it makes the
    old one. And it does not look whether the files were others.
    """

    def create_dataset(config):
        dataset = original(config)
        if dataset.config is config:
            return dataset
        changed = _changed_options(dataset.config, config, _OTHER_DATASET_OPTIONS)
        if points_of(dataset.config) != points_of(config):
            changed.append("split of eval_args")
        if changed == ["data_path"] and config["dataset_save_path"] and not os.path.isdir(config["data_path"]):
            changed = []  # a saved data set that was taken along without its files
        if changed:
            logging.getLogger().info(f"The saved data set has another {', '.join(changed)}: it is made again")
            dataset = made_again(dataset, config)
        else:
            dataset.config = config
        return dataset

    return create_dataset


def made_again(dataset: Any, config: Any) -> Any:
    """The data set as its files and the options of this run make it; saved where they ask for it, as by RecBole."""
    dataset = type(dataset)(config)
    if config["save_dataset"]:
        dataset.save()
    return dataset


def _uses_loaders_with_other_batches(load_split_dataloaders: Callable[..., Any]) -> bool:
    def make(saved):
        state = torch.Generator().get_state()
        return [(types.SimpleNamespace(config=saved, sampler=types.SimpleNamespace()), state) for _ in range(3)]

    with contextlib.suppress(AttributeError):
        # The stubs lack what RecBole calls once it has decided to use them.
        return _load_saved(load_split_dataloaders, "dataloaders_save_path", make) is not None
    return True


@replaces(
    "recbole.data.utils.load_split_dataloaders",
    parameters="config",
    kind="repair",
    until="RecBole compares all options that shape the data and the batches",
    probe=_uses_loaders_with_other_batches,
)
def check_saved_data_loaders(original: Callable[..., Any]) -> Callable[..., Any]:
    """Use saved data loaders only where this run's options would give the same, and with this run's options.

    RecBole compares fewer options than shape the data, and none that shape the batches, which are fixed when the
    loaders are made.
    """

    def load_split_dataloaders(config):
        loaders = original(config)
        if loaders is None:
            return None
        changed = _changed_options(loaders[0]._dataset.config, config, _OTHER_DATASET_OPTIONS + _LOADER_OPTIONS)
        if changed:
            logging.getLogger().info(f"The saved data loaders have another {', '.join(changed)}: not used")
            return None
        for loader in loaders:
            loader._dataset.config = config
        return loaders

    return load_split_dataloaders


class _Named:
    """Stands for a file that is opened to be replaced: it is written when its contents are known."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __enter__(self) -> "_Named":
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    return _Named(file) if mode == "wb" else builtins.open(file, mode, *args, **kwargs)


def _dump(value: Any, named: _Named) -> None:
    write_file(named.file, lambda opened: pickle.dump(value, opened))


_WRITERS = ("recbole.data.utils", "recbole.data.dataset.dataset")


def _writes_over_the_old_file() -> bool:
    return "pickle.dump(Serial" in source_of(importlib.import_module(_WRITERS[0]).save_split_dataloaders)


@adjusts(
    "recbole.data.utils.pickle",
    kind="repair",
    until="RecBole writes to a temporary file",
    probe=_writes_over_the_old_file,
)
def write_saved_data_whole() -> None:
    """Write saved data sets and data loaders whole or not at all, and say in one line why they cannot be written.

    What a full disk or a killed run leaves half-written, every later run of the folder reads and fails at.
    """
    for module in _WRITERS:
        overlay(f"{module}.pickle", dump=_dump)
        vars(importlib.import_module(module))["open"] = _open
