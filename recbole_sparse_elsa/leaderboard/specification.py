"""What a leaderboard consists of: its YAML file, checked before anything is trained, and the cells it asks for."""

import copy
import dataclasses
import hashlib
import json
import os
import re
from typing import Any

import recbole
import yaml
from recbole.config import Config

import recbole_sparse_elsa
from recbole_sparse_elsa.data.fixed_files import fixed_parts
from recbole_sparse_elsa.errors import DatasetError, OptionError, UserError
from recbole_sparse_elsa.leaderboard.published_figures import choose_published
from recbole_sparse_elsa.options import (
    find_config_file,
    reading_yaml,
    require_regular_file,
    require_whole_number,
    shown,
)
from recbole_sparse_elsa.plugin import own_models
from recbole_sparse_elsa.plugin.policy_options import all_options, describe_unknown_option, known_options
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line

_DEFAULT_SEEDS = [2020]
# RecBole rounds metrics to 4 digits by default, which is too few for standard deviations and significance tests.
_DEFAULT_OPTIONS = {"metric_decimal_place": 10}
_SET_ELSEWHERE = {
    "model": "each model's model",
    "dataset": "datasets",
    "seed": "seeds",
    "data_path": "data_path at the top of the file",
    "checkpoint_dir": "--output",
}
# Options without influence on the figures; the seed is told apart from the others, so that runs can be grouped by them.
_NOT_HASHED = {
    *("seed", "data_path", "checkpoint_dir", "state", "show_progress", "device", "gpu_id", "use_gpu", "worker"),
    *("log_wandb", "wandb_project", "save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"),
    *("save_step", "resume", "single_spec", "local_rank", "own_model"),
}
_PUBLISHED = ("published", "published_file")
_ATOMIC_FILES = (".inter", ".item", ".user", ".kg", ".link", ".net")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training and evaluation: a model, with a size, on a data set with a seed.

    Attributes
    ----------
    id : str
        Name of the cell's folder. It ends in a hash of what determines the figures: all options (defaults included, but
        for paths, devices and logs), the code of a user's own model, the seed, the data files, and the versions of
        RecBole and of this package. With any other version of torch or numpy a finished cell stays finished;
        results.csv has their versions.
    label, model, dataset : str
        The label in tables, RecBole's name of the model, and the data set.
    seed : int
        RecBole's seed.
    size : str
        The option that varies, such as "k=16", or "".
    options : dict
        RecBole's options as the file gives them, without data_path.
    data_path : str
        Absolute path of the folder that holds the data set's.
    config : str
        JSON of all options, defaults included, but for the seed, paths, devices, logs, and what is not set.
    config_hash : str
        SHA-256 of ``config``.
    data_checksum : str
        SHA-256 of the data set's atomic files, one after the other in alphabetical order.
    source : str
        The file and the class of a user's own model; empty for the others.
    """

    id: str
    label: str
    model: str
    dataset: str
    seed: int
    size: str
    options: dict
    data_path: str
    config: str
    config_hash: str
    data_checksum: str
    source: str = ""

    @property
    def model_to_make(self) -> str:
        """What RecBole is given as the model: its name, or where it is."""
        return self.source or self.model

    def __str__(self):
        return ", ".join(part for part in (f"{self.label} {self.size}".strip(), self.dataset, f"seed {self.seed}"))


@dataclasses.dataclass(frozen=True)
class Specification:
    """A leaderboard file that was read and checked.

    Attributes
    ----------
    baseline : str or None
        Label of the model with which significance tests compare the others.
    cells : list of Cell
        In the order of the file: data set, model, size, seed.
    published : dict
        From data sets to the names of the published figures that stand beside theirs; see `choose_published`.
    published_file : str or None
        A file of published figures beside those of the package.
    """

    baseline: str
    cells: list[Cell]
    published: dict[str, str]
    published_file: str | None


def read_specification(file: str | os.PathLike[str]) -> Specification:
    """Read a leaderboard file, check every option of every cell with RecBole, and plan the cells.

    Options win over each other in this order: those of the cell's size, of the model on this data set, of the model, of
    the data set (``config``, then ``config_files``), and ``options`` for every cell.

    Parameters
    ----------
    file : str
        A YAML file; the README describes its keys.

    Raises
    ------
    OptionError
        The file cannot be read, or something in it is not allowed.
    DatasetError
        A data set cannot be found.
    """
    content = read_yaml(file)
    try:
        return _specification(content)
    except UserError as error:
        raise type(error)(f"{file}: {error}") from None


def read_yaml(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, see `find_config_file`; 1e-4 is a number, as it is for RecBole.

    Raises
    ------
    OptionError
        It cannot be read, is not YAML, has a key twice, or holds something other than a mapping.
    """
    try:
        found = find_config_file(file)
        require_regular_file(found)
        with open(found, encoding="utf-8") as opened, reading_yaml(str(file)):
            content = yaml.load(opened, Loader=_Loader)
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {error.strerror}") from None
    if not isinstance(content, dict):
        raise OptionError(f"{file} must hold a mapping of keys to values, but holds {shown(content)}")
    return content


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers instead of 1.1's, and no key twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_yaml_timestamp(self, node):
        """A date as it is written, as in JSON; what looks like one, but is none, is an error."""
        super().construct_yaml_timestamp(node)
        return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _specification(content):
    _require_keys("", content, {"datasets", "models"}, {"data_path", "seeds", "options", "baseline", *_PUBLISHED})
    data_path = os.path.abspath(_require("data_path", content.get("data_path", "dataset"), str, "a folder"))
    entries = _require_list("datasets", content["datasets"])
    datasets = [_dataset(f"datasets[{i}]", entry, data_path) for i, entry in enumerate(entries)]
    _require_distinct("datasets", [dataset["name"] for dataset in datasets])
    seeds = _require_list("seeds", content["seeds"]) if "seeds" in content else _DEFAULT_SEEDS
    for seed in seeds:
        require_whole_number("seeds", seed, at_least=0)
    _require_distinct("seeds", seeds)
    options = _options("options", content.get("options"))
    models = _require("models", content["models"], dict, "a mapping of labels to models")
    if not models:
        raise OptionError("models is {}, but must have at least one model")
    names = {dataset["name"] for dataset in datasets}
    models = {str(label): _model(f"models.{label}", entry, names) for label, entry in models.items()}
    baseline = content.get("baseline")
    if baseline is not None and (not isinstance(baseline, str) or baseline not in models):
        raise OptionError(f"baseline is {shown(baseline)}, but must be one of the models: {', '.join(models)}")
    published = _published(content, [dataset["name"] for dataset in datasets])
    return Specification(baseline, _plan(data_path, datasets, seeds, options, models), *published)


def _published(content, datasets):
    """The names of published figures by data set, and the file that has some of them."""
    names, file = content.get("published", []), content.get("published_file")
    names = [names] if isinstance(names, str) else _require("published", names, list, "a name, or a list of names")
    for name in names:
        _require("published", name, str, "a name, or a list of names")
    if file is not None:
        _require("published_file", file, str, "a CSV file")
    choose_published(names, datasets, file)
    return {dataset: name for name in names for dataset in choose_published([name], datasets, file)}, file


def _dataset(place, entry, data_path):
    if isinstance(entry, str):
        entry = {"name": entry}
    _require(place, entry, dict, "the name of a data set, or a mapping with its name")
    _require_keys(place, entry, {"name"}, {"config", "config_files", "split"})
    name = _require(f"{place}.name", entry["name"], str, "the name of a data set")
    options = {}
    for file in _require_list(f"{place}.config_files", entry["config_files"]) if "config_files" in entry else []:
        # Files for run_recbole.py name a model and a data set too.
        from_file = {key: value for key, value in read_yaml(file).items() if key not in ("model", "dataset")}
        options.update(_options(f"{place}.config_files: {file}", from_file))
    options.update(_options(f"{place}.config", entry.get("config")))
    if "split" in entry:
        options["benchmark_filename"] = _fixed_split(place, entry["split"], data_path, name, options)
    return {"place": place, "name": name, "options": options}


def _fixed_split(place, split, data_path, name, options):
    """The parts of the data set's files, in which it is split already."""
    if split != "fixed":
        raise OptionError(
            f"{place}.split is {shown(split)}, but must be fixed, for the data set's own files; others are options of "
            "RecBole, such as config: {eval_args: {split: {RS: [0.8, 0.1, 0.1]}}}"
        )
    if "benchmark_filename" in options:
        raise OptionError(
            f"{place} has split: fixed and benchmark_filename: {shown(options['benchmark_filename'])}, but only one of "
            "them is allowed"
        )
    folder = os.path.join(data_path, name)
    parts = fixed_parts(folder, name)
    if parts is None:
        raise DatasetError(
            f"{place}.split is fixed, but {folder} does not have {name}.train.inter and {name}.test.inter (and, where "
            f"there are validation data, {name}.valid.inter)"
        )
    return parts


def _model(place, entry, datasets):
    _require(place, entry, dict, "a mapping with a model, such as {model: EASE}")
    _require_keys(place, entry, {"model"}, {"options", "sizes", "datasets"})
    model = _require(f"{place}.model", entry["model"], str, "the name of a model")
    if own_models.is_source(model):
        try:
            model = own_models.find(model).source  # as it is called from any folder
        except UserError as error:
            raise type(error)(f"{place}: {error}") from None
    sizes = _sizes(f"{place}.sizes", entry["sizes"]) if "sizes" in entry else {"": {}}
    on_datasets = _require(f"{place}.datasets", entry.get("datasets") or {}, dict, "a mapping of data sets to options")
    for name in on_datasets:
        if name not in datasets:
            raise OptionError(
                f"{place}.datasets has {shown(name)}, but allowed are the data sets of this leaderboard: "
                f"{', '.join(sorted(datasets))}"
            )
    return {
        "place": place,
        "model": model,
        "options": _options(f"{place}.options", entry.get("options")),
        "sizes": sizes,
        "datasets": {name: _options(f"{place}.datasets.{name}", entry) for name, entry in on_datasets.items()},
    }


def _sizes(place, varied):
    """The options of each size, by its name such as "k=16"."""
    _require(place, varied, dict, "an option with the list of its values, or with options for each of its values")
    if len(varied) != 1:
        raise OptionError(f"{place} is {shown(varied)}, but must have exactly one option")
    ((option, values),) = varied.items()
    if not isinstance(option, str):
        raise OptionError(f"{place} has the option {shown(option)}: {shown(values)}, but options have names")
    if isinstance(values, dict) and values:
        values = list(values.items())
    else:
        _require_distinct(f"{place}.{option}", _require_list(f"{place}.{option}", values))
        values = [(value, None) for value in values]
    return {
        f"{option}={value}": {**_options(f"{place}.{option}.{value}", own), **_options(place, {option: value})}
        for value, own in values
    }


def _options(place, options):
    """Options of RecBole, without those that the leaderboard itself sets."""
    if options is None:
        return {}
    _require(place, options, dict, "a mapping of RecBole's options to values")
    for name, value in options.items():
        if not isinstance(name, str):
            raise OptionError(f"{place} has the option {shown(name)}: {shown(value)}, but options have names")
        if name in _SET_ELSEWHERE:
            raise OptionError(
                f"{place} has {name}: {shown(value)}, which is not allowed here; use {_SET_ELSEWHERE[name]}"
            )
        try:
            json.dumps({name: value}, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise OptionError(
                f"{place}.{name} is {shown(value)}, but must be made of text, finite numbers, lists and mappings"
            ) from None
    return options


def _plan(data_path, datasets, seeds, options, models):
    checksums, cells, known_to_any, to_any_model = {}, [], set(), all_options()
    shared_options = [("options", options), *((dataset["place"], dataset["options"]) for dataset in datasets)]
    for place, given in [*shared_options, *((model["place"], own) for model in models.values() for own in _own(model))]:
        _require_known(place, given, to_any_model)
    for dataset in datasets:
        for label, model in models.items():
            for size, options_of_size in model["sizes"].items():
                own = {**model["options"], **model["datasets"].get(dataset["name"], {}), **options_of_size}
                given = {**_DEFAULT_OPTIONS, **options, **dataset["options"], **own}
                where = f"{model['place']} on {dataset['name']}"
                config = _config(where, model["model"], dataset["name"], data_path, given)
                known = known_options(config)
                known_to_any |= known
                _require_known(model["place"], own, known)
                if dataset["name"] not in checksums:
                    checksums[dataset["name"]] = _checksum(config["data_path"], dataset["name"])
                for seed in seeds:
                    cells.append(_cell(label, config, seed, size, given, data_path, checksums[dataset["name"]]))
    for place, shared in shared_options:
        _require_known(place, shared, known_to_any)
    return cells


def _own(model):
    """All that a model's own part of the file says of options."""
    return [model["options"], *model["datasets"].values(), *model["sizes"].values()]


def _cell(label, config, seed, size, options, data_path, data_checksum):
    model, dataset = config["model"], config["dataset"]
    all_options = config.final_config_dict.items()
    config_text = _canonical({key: value for key, value in all_options if key not in _NOT_HASHED and value is not None})
    config_hash = _hash(config_text)
    versions = [recbole.__version__, recbole_sparse_elsa.__version__]
    cell_hash = _hash(_canonical([config_hash, seed, data_checksum, versions]))
    return Cell(
        id=f"{model}-{dataset}-{seed}-{cell_hash[:12]}",
        label=label,
        model=model,
        dataset=dataset,
        seed=seed,
        size=size,
        options=options,
        data_path=data_path,
        config=config_text,
        config_hash=config_hash,
        data_checksum=data_checksum,
        source=config["own_model"] or "",
    )


def _config(place, model, dataset, data_path, options):
    """RecBole's Config, which checks the options and whether the data set is there."""
    # RecBole changes the options that it is given.
    options = {**copy.deepcopy(options), "data_path": data_path}
    with away_from_the_command_line():
        try:
            config = Config(model, dataset, config_dict=options)
        except UserError as error:
            raise type(error)(f"{place}: {error}") from None
        except Exception as error:  # RecBole's own complaints about options are of many types
            reason = " ".join(str(error).split())
            raise OptionError(f"{place}: RecBole does not accept the options: {reason}") from error
    metrics = [f"{metric.lower()}@{k}" for metric in config["metrics"] for k in config["topk"]]
    if config["valid_metric"].lower() not in metrics and "@" in config["valid_metric"]:
        raise OptionError(
            f"{place}: valid_metric is {config['valid_metric']}, but must be one of metrics and topk: "
            f"{', '.join(metrics)}"
        )
    return config


def _require_known(place, options, known):
    for name, value in options.items():
        if name not in known:
            hint = describe_unknown_option(name, known)
            raise OptionError(f"{place} has the unknown option {name}: {shown(value)}; {hint}")


def _canonical(value):
    # RecBole's enumerations are written as text.
    return json.dumps(value, sort_keys=True, default=str)


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(folder, dataset):
    """SHA-256 of the atomic files of a data set, as ``cat dataset.* | sha256sum`` gives it."""
    checksum = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        if not (name.startswith(f"{dataset}.") and name.endswith(_ATOMIC_FILES)):
            continue
        with open(os.path.join(folder, name), "rb") as file:
            while block := file.read(2**20):
                checksum.update(block)
    return checksum.hexdigest()


# Checks of the file's own keys


def _require(place, value, kind, what):
    if not isinstance(value, kind):
        raise OptionError(f"{place} is {shown(value)}, but must be {what}")
    return value


def _require_keys(place, mapping, required, optional):
    allowed = f"allowed are {', '.join(sorted(required))} (required), {', '.join(sorted(optional))}"
    where = f"{place} has" if place else "there is"
    for key in mapping:
        if key not in required | optional:
            raise OptionError(f"{where} the unknown key {shown(key)}: {shown(mapping[key])}; {allowed}")
    for key in sorted(required - mapping.keys()):
        raise OptionError(f"{where} no {key}; {allowed}")


def _require_list(place, values):
    if not isinstance(values, list) or not values:
        raise OptionError(f"{place} is {shown(values)}, but must be a list of at least one value")
    return values


def _require_distinct(place, values):
    for value in values:
        if values.count(value) > 1:
            raise OptionError(f"{place} has {shown(value)} twice, but each must occur once")
