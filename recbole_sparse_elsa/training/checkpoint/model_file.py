"""Saved models and states of trainings in a form that cannot run code: a safetensors file.

A checkpoint of RecBole's is a pickle, and reading one can run any code that its writer put there. A model file holds
arrays, and one JSON text that says what they are, so that it may come from a stranger. The metadata of the safetensors
header are:

- ``format`` and ``format_version``, and ``package_version``, the version of this package that wrote it;
- ``content``: as JSON, what RecBole's checkpoint holds: the options of the run (``config``), the model's state
  (``state_dict``), its other parameters with the recipe and the fingerprint of the data (``other_parameter``), and, of
  a state to resume from, those of the optimiser and of the random number generators. What JSON does not have is an
  object with one name that begins with a dollar sign, see `_packed`; arrays stand there by their names in the file;
- ``sha256``: of the content and all arrays.

The tokens of users and items are not in it: they are those of the data set, which the fingerprint is compared with.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

import recbole_sparse_elsa
from recbole_sparse_elsa.errors import CheckpointError, OptionError, reason_of
from recbole_sparse_elsa.options import require_regular_file, shown
from recbole_sparse_elsa.output import write_file

# Torch and RecBole are imported by what reads or writes a file, see the package.
if TYPE_CHECKING:
    import torch

#: How the names of model files end.
SUFFIX = ".safetensors"
FORMAT = "recbole_sparse_elsa model"
FORMAT_VERSION = 1
#: Options that name files of pickled data. A model file must not lead to one, and names a place where no file can be.
PICKLED_DATA = dict.fromkeys(
    ("dataset_save_path", "dataloaders_save_path"), os.path.join(os.devnull, "no saved data with a model file")
)

# Everything begins with these bytes after the length of the header.
_BEGINNING = json.dumps({"__metadata__": {"format": FORMAT}})[:-2].encode()
# The types of arrays by safetensors' names; of each the type of torch and that of numpy have the same name.
_TYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL"},
    **{f"{sign}int{bits}": f"{sign.upper() or 'I'}{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_ENUMS = ("ModelType", "InputType", "EvaluatorType", "FeatureType", "FeatureSource", "KGDataLoaderState")
_SCALARS = (str, bool, int, float, type(None))
_REQUIRED = {"config", "state_dict", "other_parameter"}
_EMBEDDING = "item_embedding."
# Types, by which a layer's arrays are known; those that are there depend on its form.
_LAYER = {
    **{"shape": "int64", "weight": "float32", "row_pointers": "int32", "column_indices": "int32", "support": "bool"},
    **{"initial_weight": "float32", "item_scale": "float16"},
}


def is_model_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file that can be read begins as a model file does; False where it cannot be read."""
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            return file.read(8 + len(_BEGINNING))[8:] == _BEGINNING
    except OSError:
        return False


def write_model_file(saved: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a model or the state of a training, whole or not at all.

    Arrays are written one after the other, so that there is never a second copy of all of them in memory.

    Parameters
    ----------
    saved : mapping
        As RecBole's checkpoints have it: at least ``config`` (recbole.config.Config), ``state_dict`` and
        ``other_parameter``; of plain data, tensors, numpy arrays and scipy.sparse.csr_matrix.
    path : str or os.PathLike
        The file; it is replaced if it exists.

    Raises
    ------
    OptionError
        An option is no plain data.
    OutputError
        The file cannot be written, for instance because the disk is full.
    """
    arrays: dict[str, Any] = {}
    config = saved["config"]
    content = {"config": _packed_options(config)} | {
        name: _packed(value, name, arrays) for name, value in saved.items() if name != "config"
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    names = _in_order(arrays)
    entries: dict[str, Any] = {}
    end = 0
    for name in names:
        array = arrays[name]
        begin, end = end, end + _bytes_of(array).nbytes
        entries[name] = {"dtype": _TYPES[_type_of(array)], "shape": list(array.shape), "data_offsets": [begin, end]}
    metadata = {
        **{"format": FORMAT, "format_version": str(FORMAT_VERSION)},
        "package_version": recbole_sparse_elsa.__version__,
        **{"sha256": _checksum(text, arrays), "content": text},
    }
    header = json.dumps({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-len(header) % 8)

    def write(file: BinaryIO) -> None:
        file.write(len(header).to_bytes(8, "little") + header)
        for name in names:
            file.write(_bytes_of(arrays[name]))

    write_file(path, write)


def require_plain_options(config: Any) -> None:
    """Raise OptionError if an option of a recbole.config.Config is no plain data, which a model file could hold."""
    _packed_options(config)


def read_model_file(path: str | os.PathLike[str], map_location: torch.device | str | None = None) -> dict[str, Any]:
    """Read a file that `write_model_file` wrote. Nothing in it can run code.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    map_location : torch.device or str, optional
        Where the tensors go; by default to the CPU.

    Returns
    -------
    dict
        As RecBole's checkpoints have it, with a recbole.config.Config as ``config``. Its options name no file of
        pickled data (``save_dataset`` and the like), whatever the file says.

    Raises
    ------
    CheckpointError
        The file is missing, cannot be read, is damaged, or is of another version of the format.
    """
    import safetensors

    try:
        require_regular_file(path)
        with safetensors.safe_open(os.fspath(path), framework="pt", device="cpu") as opened:
            text, sha256 = _content(opened.metadata())
            # A copy: the file may be replaced while its arrays are in use.
            arrays = {name: opened.get_tensor(name).clone() for name in opened.keys()}
        _require({_type_of(array) for array in arrays.values()} <= _TYPES.keys(), "it has arrays of other types")
        _require(sha256 == _checksum(text, arrays), "its checksum (SHA-256) is not that of its contents")
        return _read_content(text, arrays, map_location)
    except FileNotFoundError as error:
        raise CheckpointError(f"model file {path} does not exist") from error
    except OSError as error:
        raise CheckpointError(f"model file {path} cannot be read: {reason_of(error)}") from error
    except safetensors.SafetensorError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError(f"model file {path} is no safetensors file, or is damaged: {reason:.200}") from error
    except _Damaged as error:
        raise CheckpointError(f"model file {path} cannot be used: {error}") from None
    except RecursionError:
        raise CheckpointError(f"model file {path} cannot be used: its content is nested too deep") from None


class _Damaged(Exception):
    """What is wrong with a file."""


def _require(condition: object, what: str) -> None:
    if not condition:
        raise _Damaged(f"it is damaged: {what}")


# Writing


class _NotPlain(Exception):
    """A value that is no plain data."""


# The options of a Config, those that a user gave, and the defaults, by what they are called in a file.
_KINDS = {"options": "final_config_dict", "given": "external_config_dict", "defaults": "internal_config_dict"}


def _packed_options(config: Any) -> dict[str, dict[str, Any]]:
    packed: dict[str, dict[str, Any]] = {}
    for kind, attribute in _KINDS.items():
        packed[kind] = {}
        for name, value in getattr(config, attribute).items():
            try:
                packed[kind][name] = _packed(value, name, None)
            except (_NotPlain, RecursionError):
                raise OptionError(
                    f"{name} is {shown(value)}, which cannot be saved with a model: it must be made of texts, numbers, "
                    "truth values, lists and mappings"
                ) from None
    return packed


def _packed(value: Any, name: str, arrays: dict[str, Any] | None) -> Any:
    """A value as JSON has it; arrays go to ``arrays``, under names that begin with ``name``."""
    import torch
    from scipy.sparse import csr_matrix

    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _packed(item, f"{name}.{key}", arrays) for key, item in value.items()}
        return {"$items": [[_packed(key, name, None), _packed(value[key], f"{name}.{key}", arrays)] for key in value]}
    if isinstance(value, (list, tuple)):
        items = [_packed(item, f"{name}.{place}", arrays) for place, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, torch.device):
        return {"$device": str(value)}
    if type(value).__name__ in _ENUMS:
        return {"$enum": [type(value).__name__, value.name]}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if arrays is not None and isinstance(value, csr_matrix):
        parts = [_packed(getattr(value, part), f"{name}.{part}", arrays) for part in ("data", "indices", "indptr")]
        return {"$csr": [list(value.shape), *parts]}
    if arrays is not None and isinstance(value, (torch.Tensor, np.ndarray)) and _type_of(value) in _TYPES:
        while name in arrays:
            name += "'"
        arrays[name] = value
        return {"$tensor" if torch.is_tensor(value) else "$array": name}
    raise _NotPlain


def _type_of(array: Any) -> str:
    return array.dtype.name if isinstance(array, np.ndarray) else str(array.dtype).removeprefix("torch.")


def _in_order(arrays: Mapping[str, Any]) -> list[str]:
    """Names in the order of the file: larger types first, so that each array is aligned."""
    return sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))


def _checksum(text: str, arrays: Mapping[str, Any]) -> str:
    checksum = hashlib.sha256(text.encode())
    for name in _in_order(arrays):
        array = arrays[name]
        checksum.update(f"\n{name} {_type_of(array)} {list(array.shape)}\n".encode())
        checksum.update(_bytes_of(array))
    return checksum.hexdigest()


def _bytes_of(array: Any) -> memoryview:
    """The contents of an array in the order of the file."""
    import torch

    if torch.is_tensor(array):
        array = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    # Of numpy's arrays some may be of the other order of bytes.
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return memoryview(array.reshape(-1).view(np.uint8))


# Reading


def _content(metadata: Mapping[str, str] | None) -> tuple[str, str]:
    """The content and the checksum, after the format was seen to be this one."""
    metadata = metadata or {}
    if metadata.get("format") != FORMAT:
        raise _Damaged("it is not a model file of recbole_sparse_elsa")
    version = metadata.get("format_version", "")
    if version != str(FORMAT_VERSION):
        raise _Damaged(
            f"recbole_sparse_elsa {metadata.get('package_version', '?'):.30} wrote it in version {version:.30} of the "
            f"format, and this version reads {FORMAT_VERSION}: another version of recbole_sparse_elsa can read it"
        )
    _require({"content", "sha256"} <= metadata.keys(), "its metadata are not complete")
    return metadata["content"], metadata["sha256"]


def _read_content(text: str, arrays: dict[str, torch.Tensor], map_location: Any) -> dict[str, Any]:
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise _Damaged(f"it is damaged: its content is no JSON: {str(error):.200}") from None
    _require(isinstance(content, dict) and _REQUIRED <= content.keys(), "its content is not that of a model")
    unused = dict(arrays)
    saved = {name: _unpacked(value, unused, map_location) for name, value in content.items()}
    _require(not unused, "it has arrays that its content does not name")
    _require_names(saved["config"], "config")
    _require(_KINDS.keys() <= saved["config"].keys(), "its content has no options")
    saved["config"] = _config(**{kind: saved["config"][kind] for kind in _KINDS})
    _require_names(saved["state_dict"], "state_dict")
    import torch

    _require(all(map(torch.is_tensor, saved["state_dict"].values())), "state_dict holds something else than arrays")
    if saved["other_parameter"] is not None:
        _require_names(saved["other_parameter"], "other_parameter")
        recipe = saved["other_parameter"].get("recipe", {})
        _require_names(recipe, "recipe")
        _require(all(isinstance(value, _SCALARS) for value in recipe.values()), "its recipe is made of something else")
    if "best_model_file" in saved:
        _require_progress(saved)
    if f"{_EMBEDDING}shape" in saved["state_dict"]:
        _require_layer({name: saved["state_dict"].get(f"{_EMBEDDING}{name}") for name in _LAYER})
    return saved


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _require_names(value: Any, name: str) -> None:
    _require(isinstance(value, dict) and all(isinstance(key, str) for key in value), f"{name} has no names")


def _unpacked(value: Any, unused: dict[str, torch.Tensor], map_location: Any) -> Any:
    """What `_packed` was given."""
    if isinstance(value, list):
        return [_unpacked(item, unused, map_location) for item in value]
    if not isinstance(value, dict):
        return value
    kind = next(iter(value), "")
    if not kind.startswith("$"):
        return {key: _unpacked(item, unused, map_location) for key, item in value.items()}
    _require(len(value) == 1 and kind in _MADE, f"its content has {kind!r:.40}")
    made = value[kind]
    if kind in ("$tensor", "$array"):
        _require(isinstance(made, str) and made in unused, f"it has no array {shown(made)}")
        tensor = unused.pop(made)
        if kind == "$tensor":
            return tensor if map_location is None else tensor.to(map_location)
        _require(_type_of(tensor) != "bfloat16", f"{shown(made)} is of no type of numpy's")
        return tensor.numpy()
    try:
        return _MADE[kind](_unpacked(made, unused, map_location))
    except (TypeError, ValueError, AttributeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise _Damaged(f"it is damaged: {kind[1:]} cannot be made of {shown(made)}: {reason:.200}") from None


def _non_finite(text: str) -> float:
    return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[text]


def _device(text: str) -> torch.device:
    import torch

    return torch.device(text)


def _enum(names: Sequence[str]) -> Any:
    from recbole.utils import enum_type

    kind, name = names
    if kind not in _ENUMS:
        raise ValueError(f"{kind} is none of {', '.join(_ENUMS)}")
    return getattr(enum_type, kind)[name]


def _csr(parts: Sequence[Any]) -> Any:
    from scipy.sparse import csr_matrix

    shape, data, indices, indptr = parts
    # SciPy's other errors come of numbers beyond the shape, which its routines would take for addresses.
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"its shape is {shown(shape)}")
    if data.ndim != 1 or data.dtype != np.float32 or not np.isfinite(data).all():
        raise ValueError("its values are no finite numbers of type float32")
    matrix = csr_matrix((data, indices, indptr), shape=tuple(shape))
    matrix.check_format(full_check=True)
    return matrix


_MADE: dict[str, Callable[[Any], Any]] = {
    **{"$tensor": str, "$array": str},  # made above, of the file's arrays
    **{"$float": _non_finite, "$tuple": tuple, "$items": dict, "$device": _device, "$enum": _enum, "$csr": _csr},
}


def _config(options: Any, given: Any, defaults: Any) -> Any:
    """A recbole.config.Config of these options. It is not made by its constructor, which evaluates texts as Python."""
    from recbole.config import Config
    from recbole.utils import get_model

    for values in (options, given, defaults):
        _require_names(values, "config")
    for name in ("model", "dataset", "data_path", "ITEM_ID_FIELD", "USER_ID_FIELD", "checkpoint_dir"):
        _require(isinstance(options.get(name), str), f"the option {name} is {shown(options.get(name))}")
    no_pickles = {"save_dataset": False, "save_dataloaders": False, **PICKLED_DATA}
    config = Config.__new__(Config)
    config._init_parameters_category()
    config.file_config_dict, config.variable_config_dict, config.cmd_config_dict = {}, {}, {}
    config.internal_config_dict = defaults
    config.external_config_dict = {**given, **PICKLED_DATA}
    config.model, config.dataset = options["model"], options["dataset"]
    _require(config.model.isidentifier(), f"its model is {shown(config.model)}")
    try:
        config.model_class = get_model(config.model)
    except OptionError as error:
        raise _Damaged(str(error)) from None
    if config.model_class.__module__.startswith("recbole."):
        raise _Damaged(f"it holds RecBole's model {config.model}, which might read a pickle; give its checkpoint")
    config.final_config_dict = {**options, **no_pickles}
    return config


def _require_progress(saved: Mapping[str, Any]) -> None:
    """Raise _Damaged unless a training can go on from what is said of its progress."""
    name = saved["best_model_file"]
    # This file is written on.
    is_name = isinstance(name, str) and name.endswith(".pth") and not {"/", "\\", "\0", ":"} & set(name)
    _require(is_name, f"the name of the best model is {shown(name)}")
    for name in ("epoch", "cur_step"):
        value = saved.get(name)
        _require(type(value) is int and 0 <= value < 2**31, f"{name} is {shown(value)}")
    result = saved.get("best_valid_result")
    _require(result is None or isinstance(result, dict), f"the best result is {shown(result)}")
    for value in (saved.get("best_valid_score"), *(result or {}).values()):
        _require(isinstance(value, (int, float)), f"a figure of the best result is {shown(value)}")


def _require_layer(layer: dict[str, torch.Tensor | None]) -> None:
    """Raise _Damaged unless a layer's arrays fit each other: sparse products take what they hold for addresses."""
    import torch

    for name, array in layer.items():
        if array is not None:
            _require(_type_of(array) == _LAYER[name], f"{name} of the item embeddings has type {_type_of(array)}")
            if array.is_floating_point():
                _require(torch.isfinite(array).all(), f"{name} of the item embeddings has values that are not finite")
    shape, weight = layer["shape"], layer["weight"]
    _require(shape is not None and weight is not None and shape.shape == (2,), "its item embeddings have no shape")
    assert shape is not None and weight is not None
    n_items, width = shape.tolist()
    _require(n_items >= 1 and 1 <= width < 2**31, f"its item embeddings have the shape {(n_items, width)}")
    scale, initial = layer["item_scale"], layer["initial_weight"]
    _require(scale is None or (scale.shape == (n_items,) and (scale > 0).all()), "it has scales that are none")
    _require(initial is None or initial.shape == weight.shape, "its initial weights are not as many as its weights")
    pointers, columns, support = layer["row_pointers"], layer["column_indices"], layer["support"]
    if pointers is None or columns is None:
        _require(pointers is None and columns is None, "its item embeddings are neither dense nor sparse")
        _require(weight.shape == (n_items, width), "its item embeddings are not of their shape")
        _require(support is None or support.shape == weight.shape, "its support is not of their shape")
        return
    _require(support is None and weight.ndim == 1 and columns.shape == weight.shape, "its columns do not fit")
    _require(pointers.shape == (n_items + 1,), "its row pointers are not as many as its items")
    ends = pointers.long()
    fits = ends[0] == 0 and ends[-1] == len(weight) and (ends.diff() >= 0).all()
    _require(fits, "its row pointers do not fit")
    _require(len(columns) == 0 or (columns.min() >= 0 and columns.max() < width), "a column is beyond the width")
