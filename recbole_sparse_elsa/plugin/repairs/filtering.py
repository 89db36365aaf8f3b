"""Filters: what they take for intervals and tokens, and what to say if they leave nothing."""

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from recbole_sparse_elsa.data.intervals import Interval, is_within, parse_intervals, parse_tokens
from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.plugin.needed_columns import nearest_field
from recbole_sparse_elsa.plugin.patching import replaces


def _an_empty_dataset_passes(data_filtering: Callable[..., Any]) -> bool:
    from recbole.data.dataset import KnowledgeBasedDataset

    stub = mock.MagicMock(spec=KnowledgeBasedDataset)
    stub.inter_feat = ()
    # That of a data set with a graph calls the other, whose repair is not to see that nothing is left.
    stub.feat_name_list = []
    try:
        data_filtering(stub)
    except Exception:  # whatever RecBole will then raise
        return False
    return True


@replaces(
    "recbole.data.dataset.Dataset._data_filtering",
    "recbole.data.dataset.KnowledgeBasedDataset._data_filtering",
    parameters="self",
    kind="repair",
    until="RecBole names the filters",
    probe=_an_empty_dataset_passes,
)
def say_which_filters_left_nothing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Say which filters left nothing of a data set.

    RecBole trains on nothing, or fails without naming them.
    """

    def data_filtering(self):
        failure = None
        try:
            original(self)
        except Exception as error:
            failure = error
        empty = [name for name in self.feat_name_list if len(getattr(self, name)) == 0]
        if empty:
            raise DatasetError(_describe_empty_dataset(self, empty)) from failure
        if failure is not None:
            raise failure

    return data_filtering


def _describe_empty_dataset(dataset: Any, empty: Sequence[str]) -> str:
    config = dataset.config
    filters = {
        name: config[name]
        for name in ("val_interval", "user_inter_num_interval", "item_inter_num_interval")
        if config[name] not in (None, {}, "[0,inf)")
    }
    has_features = dataset.user_feat is not None or dataset.item_feat is not None
    if config["filter_inter_by_user_or_item"] is True and has_features:
        filters["filter_inter_by_user_or_item"] = True
    what = "interactions" if "inter_feat" in empty else " and ".join(name.removesuffix("_feat") + "s" for name in empty)
    return (
        f"no {what} of data set {config['dataset']} are left after filtering; the filters are "
        + (", ".join(f"{name}: {value}" for name, value in filters.items()) or "none")
    )


def _passes_over_illegal_intervals(parse_intervals_str: Callable[..., Any]) -> bool:
    try:
        return parse_intervals_str(mock.MagicMock(), "4 to 5") == []
    except ValueError:
        return False


@replaces(
    "recbole.data.dataset.Dataset._parse_intervals_str",
    parameters="self intervals_str",
    kind="repair",
    until="RecBole refuses what is no interval",
    probe=_passes_over_illegal_intervals,
)
def refuse_what_is_no_interval(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a filter that is no interval.

    RecBole logs a warning, and then drops one arbitrary interaction.
    """

    def parse_intervals_str(self, intervals_str):
        return None if intervals_str is None else parse_intervals("an interval of a filter", intervals_str)

    return parse_intervals_str


def _looks_at_the_first_interval_only(get_illegal_ids: Callable[..., Any]) -> bool:
    stub = mock.MagicMock()
    stub._within_intervals.side_effect = is_within
    intervals: list[Interval] = [("[", 5, 9, "]"), ("[", 0, 1, "]")]
    return get_illegal_ids(stub, "user", pd.DataFrame({"user": ["u"]}), {"u": 0}, intervals) == {"u"}


@replaces(
    "recbole.data.dataset.Dataset._get_illegal_ids_by_inter_num",
    parameters="self field feat inter_num inter_interval",
    kind="repair",
    until="RecBole compares with every interval",
    probe=_looks_at_the_first_interval_only,
)
def count_interactions_by_every_interval(original: Callable[..., Any]) -> Callable[..., Any]:
    """Compare the number of interactions with every interval, for the users and items of .user and .item, too.

    RecBole compares those with the lower bound of the first interval only, whether or not it belongs to it.
    """

    def get_illegal_ids_by_inter_num(self, field, feat, inter_num, inter_interval=None):
        if inter_interval is None:
            return set()
        ids = [*inter_num, *(() if feat is None else feat[field])]
        allowed = is_within(np.array([inter_num.get(token, 0) for token in ids]), inter_interval)
        return {token for token, is_allowed in zip(ids, allowed) if not is_allowed}

    return get_illegal_ids_by_inter_num


def _finds_no_token_of_a_number(filter_by_field_value: Callable[..., Any]) -> bool:
    from recbole.utils import FeatureType

    stub = mock.MagicMock(config={"val_interval": {"place": [1]}}, field2type={"place": FeatureType.TOKEN})
    frame = pd.DataFrame({"place": ["1", "2"]})
    stub.field2feats.return_value = [frame]
    filter_by_field_value(stub)
    return len(frame) == 0


@replaces(
    "recbole.data.dataset.Dataset._filter_by_field_value",
    parameters="self",
    kind="repair",
    until="RecBole looks whether a value goes with the type of its field",
    probe=_finds_no_token_of_a_number,
)
def filter_by_values_of_the_right_kind(original: Callable[..., Any]) -> Callable[..., Any]:
    """Filter numbers by intervals and tokens by lists, and refuse the other way round.

    YAML reads the tokens of ``[1, 2]`` as numbers, of which RecBole finds none: it drops everything.
    """
    from recbole.utils import FeatureType

    def filter_by_field_value(self):
        for field, value in (self.config["val_interval"] or {}).items():
            option = f"{field} of val_interval"
            if field not in self.field2type:
                known = getattr(self, "fields_of_the_files", self.field2type)
                hint = nearest_field(field, known)
                raise OptionError(
                    f"val_interval has the field {field}, which no file of data set {self.dataset_name} has: {hint}The "
                    f"fields are {', '.join(known)}"
                )
            kind = self.field2type[field]
            if kind == FeatureType.FLOAT:
                if not isinstance(value, str):
                    raise OptionError(
                        f'{option} is {value!r}, but must be an interval in quotation marks such as "[4,inf)", as the '
                        "field has type float"
                    )
                intervals = parse_intervals(option, value)
            elif kind == FeatureType.TOKEN:
                tokens = parse_tokens(option, value)
            else:
                raise OptionError(f"{option} is {value!r}, but a field of type {kind.value} is not filtered by value")
            for feat in self.field2feats(field):
                # In place, since others hold the same table.
                if kind == FeatureType.FLOAT:
                    keep = is_within(feat[field].to_numpy(), intervals)
                else:
                    keep = feat[field].isin(tokens).to_numpy()
                feat.drop(feat.index[~keep], inplace=True)

    return filter_by_field_value
