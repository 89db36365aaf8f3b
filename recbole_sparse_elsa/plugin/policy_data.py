"""Which options of the data are refused before any of them are read: filters, columns and splits."""

import math
from collections.abc import Callable
from typing import Any

from recbole_sparse_elsa.data.intervals import parse_intervals, parse_tokens
from recbole_sparse_elsa.data.points_in_time import normalised
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.plugin.needed_columns import field_of_histories, points_of, why_time_is_needed
from recbole_sparse_elsa.plugin.patching import names_in, replaces
from recbole_sparse_elsa.plugin.policy import _after_config

_COUNT_FILTERS = (
    "user_inter_num_interval",
    "item_inter_num_interval",
    "entity_kg_num_interval",
    "relation_kg_num_interval",
)


@_after_config({"val_interval": {"rating": 4}}, until="RecBole refuses what is no interval")
def refuse_filters_that_cannot_be_read(config: Any) -> None:
    """Refuse a filter that is no interval, no list of tokens, or not one of the words that it may be.

    RecBole logs a warning, and then drops one arbitrary interaction; or it does not filter, without a word.
    """
    for option in _COUNT_FILTERS:
        if config[option] is not None:
            parse_intervals(option, config[option])
    filters = config["val_interval"]
    if filters is not None and not isinstance(filters, dict):
        raise OptionError(
            f'val_interval is {filters!r}, but must be fields with their intervals, such as {{rating: "[4,inf)"}}'
        )
    for field, value in (filters or {}).items():
        option = f"{field} of val_interval"
        if isinstance(value, (list, tuple, set)):
            parse_tokens(option, value)
        elif isinstance(value, str):
            parse_intervals(option, value)
        else:
            raise OptionError(
                f'{option} is {value!r}, but must be an interval in quotation marks such as "[4,inf)" for numbers, or '
                "a list for tokens"
            )
    if config["rm_dup_inter"] not in (None, "first", "last"):
        raise OptionError(f"rm_dup_inter is {config['rm_dup_inter']!r}, but must be first, last, or ~ (null) for none")
    option = "filter_inter_by_user_or_item"
    if config[option] is not None and not isinstance(config[option], bool):
        raise OptionError(f"{option} is {config[option]!r}, but must be True or False")


@_after_config(
    {"benchmark_filename": ["train", "valid", "test"], "val_interval": {"rating": "[4,inf)"}},
    until="RecBole filters the files, or refuses",
)
def refuse_filters_of_fixed_files(config: Any) -> None:
    """Refuse filters beside benchmark_filename.

    RecBole takes the files as they are, and ignores the filters.
    """
    if config["benchmark_filename"] is None:
        return
    everything = [("[", 0.0, math.inf, ")")]
    given = [option for option in ("val_interval", "rm_dup_inter") if config[option]] + [
        option
        for option in _COUNT_FILTERS[:2]
        if config[option] is not None and parse_intervals(option, config[option]) != everything
    ]
    if given:
        raise OptionError(
            f"{given[0]} is {config[given[0]]!r}, but is not allowed with benchmark_filename, whose files are taken as "
            "they are: filter them yourself, or leave out one of the two"
        )


@_after_config({"load_col": {"inter": "user_id"}}, until="RecBole refuses what is no list")
def refuse_columns_that_are_no_lists(config: Any) -> None:
    """Refuse load_col and unload_col unless they are lists of fields, and together for one file.

    RecBole takes a text for the list of its letters.
    """
    for option, more in (("load_col", ', or "*" for all'), ("unload_col", "")):
        columns = config[option]
        if columns is None:
            continue
        if not isinstance(columns, dict):
            raise OptionError(f"{option} is {columns!r}, but must be lists such as {{inter: [user_id, item_id]}}")
        for suffix, fields in columns.items():
            if not isinstance(fields, (list, tuple, set)) and not (more and fields == "*"):
                raise OptionError(f"{suffix} of {option} is {fields!r}, but must be a list of fields{more}")
    for suffix, fields in (config["unload_col"] or {}).items():
        loaded = (config["load_col"] or {}).get(suffix)
        if fields and loaded and loaded != "*":
            raise OptionError(
                f"{suffix} of load_col is {loaded!r} and of unload_col is {fields!r}, but only one of them is allowed; "
                "load_col: ~ stands for all fields of all files"
            )


@_after_config(
    {"eval_args": {"split": {"TS": [0.8, 0.2]}, "order": "TO"}}, until="RecBole refuses splits that it cannot make"
)
def refuse_splits_that_cannot_be_made(config: Any) -> None:
    """Refuse a split, order or grouping that does not exist, and ratios that are no three shares.

    RecBole fails once the data are read, or trains on a part that has nothing in it.
    """
    from recbole.utils import ModelType

    arguments = config["eval_args"]
    split, order, group_by = arguments["split"], arguments["order"], arguments["group_by"]
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL and order != "TO":
        raise OptionError(f"order of eval_args is {order}, but must be TO for the sequential model {config['model']}")
    if config["benchmark_filename"] is not None:
        return
    if not isinstance(split, dict) or len(split) != 1 or next(iter(split)) not in ("RS", "LS", "TS", "HU"):
        raise OptionError(f"split of eval_args is {split!r}, but must have one of RS, LS, TS and HU, and nothing else")
    ((mode, value),) = split.items()
    if order not in ("RO", "TO"):
        raise OptionError(f"order of eval_args is {order!r}, but must be RO (random) or TO (by time)")
    if group_by is not None and str(group_by).lower() not in ("user", "none"):
        raise OptionError(f"group_by of eval_args is {group_by!r}, but must be user or none")
    if mode == "LS" and value not in ("valid_and_test", "valid_only", "test_only"):
        raise OptionError(f"LS of eval_args is {value!r}, but must be valid_and_test, valid_only or test_only")
    points = points_of(config)
    if points is not None:
        split[mode] = normalised("TS of eval_args", points)
    elif mode in ("RS", "TS"):
        _require_ratios(mode, value)
    reason = why_time_is_needed(config)
    if reason and not config["TIME_FIELD"]:
        raise OptionError(
            f"TIME_FIELD is {config['TIME_FIELD']!r}, but must name the field of times, as {reason} needs it"
        )


@_after_config(
    {"model": "SASRec", "train_neg_sample_args": None, "benchmark_filename": ["train", "valid", "test"]},
    until="RecBole numbers the items of histories as it does others",
)
def refuse_histories_with_other_numbers(config: Any) -> None:
    """Refuse fixed files for a sequential model unless alias_of_item_id names the field of histories.

    RecBole numbers the items of the histories apart from the others: the model takes each for another item.
    """
    field = field_of_histories(config)
    aliases = config["alias_of_item_id"]
    if field and field not in (aliases if isinstance(aliases, (list, tuple)) else ()):
        raise OptionError(
            f"alias_of_item_id is {aliases!r}, but must be a list with {field} for the sequential model "
            f"{config['model']} and benchmark_filename, as the items before each interaction are items, too"
        )


def _require_ratios(mode: str, ratios: Any) -> None:
    allowed = "three shares of training, validation and test such as [0.8, 0.1, 0.1], the first above 0"
    if mode == "TS":
        allowed += ', or two points in time such as ["2019-01-01", "2020-01-01"]'
    if (
        not isinstance(ratios, (list, tuple))
        or len(ratios) != 3
        or not all(isinstance(r, (int, float)) and not isinstance(r, bool) and math.isfinite(r) for r in ratios)
        or min(ratios) < 0
        or ratios[0] <= 0
    ):
        raise OptionError(f"{mode} of eval_args is {ratios!r}, but must be {allowed}")
    if mode == "TS" and ratios[2] <= 0:
        raise OptionError(f"TS of eval_args is {ratios!r}, but must be {allowed}; the last share, too, is above 0")


@replaces(
    "recbole.data.dataloader.FullSortEvalDataLoader.__init__",
    parameters="self config dataset sampler shuffle",
    kind="policy",
    until="RecBole refuses features that candidates do not have",
    probe=lambda init: "fields" not in names_in(init),
)
def refuse_features_of_interactions_with_full_ranking(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse to rank all items by a context-aware model with a feature of interactions, such as a time.

    An item that a user has not interacted with has none: RecBole fails at the first evaluation.
    """
    from recbole.utils import FeatureSource, ModelType

    def init(self, config, dataset, sampler, shuffle=False):
        if config["MODEL_TYPE"] == ModelType.CONTEXT and not config["double_tower"]:
            embedded = {config["LABEL_FIELD"]: False, **dict.fromkeys(config["numerical_features"] or (), True)}
            features = [
                field
                for field in dataset.fields(source=[FeatureSource.INTERACTION])
                if embedded.get(field, "float" not in dataset.field2type[field].value)
            ]
            if features:
                raise OptionError(
                    f"mode of eval_args is full, but {config['model']} has the features {', '.join(features)} of "
                    "interactions, which the items to rank do not have: leave them out of load_col, name them in "
                    "unused_col, or choose another mode, such as labeled or uni100"
                )
        original(self, config, dataset, sampler, shuffle)

    return init
