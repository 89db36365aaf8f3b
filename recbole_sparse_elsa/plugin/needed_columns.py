"""Columns of a data set: those that the options need, with or without ``load_col``, and the nearest by name."""

import difflib
from collections.abc import Iterable
from typing import Any


def why_time_is_needed(config: Any) -> str | None:
    """What in the options of a run puts interactions into the order of time; None if nothing does.

    With ``benchmark_filename`` RecBole takes the files as they are.
    """
    if config["benchmark_filename"] is not None:
        return None
    from recbole.utils import ModelType

    arguments = config["eval_args"]
    if isinstance(arguments.get("split"), dict) and "TS" in arguments["split"]:
        return "split TS of eval_args"
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return f"the sequential model {config['model']}"
    if arguments.get("order") == "TO":
        return "order TO of eval_args"
    if config["time-aware"] is True:
        return "time-aware"
    return None


def points_of(config: Any) -> list[Any] | None:
    """The two points in time at which a run's data are split; None with another split."""
    split = (config["eval_args"] or {}).get("split")
    points = split.get("TS") if isinstance(split, dict) and config["benchmark_filename"] is None else None
    return list(points) if isinstance(points, (list, tuple)) and len(points) == 2 else None


def field_of_histories(config: Any) -> str | None:
    """The field with the items before each interaction, which a sequential model needs in fixed files; None else."""
    from recbole.utils import ModelType

    if config["benchmark_filename"] is None or config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        return None
    return f"{config['ITEM_ID_FIELD']}{config['LIST_SUFFIX']}"


def fields_on_loan(config: Any) -> dict[str, str]:
    """The fields that are needed until the data are filtered or ordered, and the option that needs each."""
    if config["benchmark_filename"] is not None:
        return {}
    fields = {}
    if config["rm_dup_inter"] is not None and config["TIME_FIELD"]:
        fields[config["TIME_FIELD"]] = "rm_dup_inter"
    for field in config["val_interval"] or {}:
        fields[field] = "val_interval"
    reason = why_time_is_needed(config)
    if reason and config["TIME_FIELD"]:
        fields[config["TIME_FIELD"]] = reason
    return fields


def fields_to_keep(config: Any) -> dict[str, str]:
    """The fields that an option makes part of the data, and the option; RecBole drops that of ``threshold`` itself."""
    fields = {}
    for option in ("threshold", "normalize_field", "numerical_features", "discretization"):
        for field in config[option] or ():
            fields[field] = option
    for pair in (config["preload_weight"] or {}).items():
        for field in pair:
            fields[field] = "preload_weight"
    if config["time-aware"] is True and config["TIME_FIELD"]:
        fields[config["TIME_FIELD"]] = "time-aware"
    histories = field_of_histories(config)
    if histories:
        fields[histories] = "benchmark_filename"
    return fields


def nearest_field(field: object, fields: Iterable[str]) -> str:
    """For a message about a field that is not there: the question whether the nearest one was meant; empty without."""
    close = difflib.get_close_matches(str(field), list(fields), n=1)
    return f"did you mean {close[0]}? " if close else ""
