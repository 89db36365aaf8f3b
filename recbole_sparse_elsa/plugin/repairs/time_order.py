"""The order of time: decided in the precision of the file, for every split and every sequential model.

Times are float64, in which whole numbers are exact up to 9e15 (seconds, milliseconds and microseconds since 1970), or
int64 if they are larger (nanoseconds).
Interactions at the same time stay in the order of the file.
"""

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch

from recbole_sparse_elsa.errors import DatasetError
from recbole_sparse_elsa.plugin.needed_columns import why_time_is_needed
from recbole_sparse_elsa.plugin.patching import names_in, replaces
from recbole_sparse_elsa.plugin.repairs.cached_data import made_again

# A data set has the times of its interactions in this attribute, before anything is normalised, ordered or split. Its
# interactions have, while they are ordered and split, the rows that they had then in the other one.
_TIMES = "times_of_the_file"
_ROWS = "rows_of_the_file"


def _loses_times(normalize: Callable[..., Any]) -> bool:
    from recbole.utils import FeatureType

    stub = mock.MagicMock(
        config={"normalize_field": ["time"], "normalize_all": None},
        time_field="time",
        field2type={"time": FeatureType.FLOAT},
    )
    stub.inter_feat = frame = pd.DataFrame({"time": [10.0, 20.0]})
    stub.field2feats.return_value = [frame]
    normalize(stub)
    return frame["time"].tolist() == [0, 1]


@replaces(
    "recbole.data.dataset.Dataset._normalize",
    parameters="self",
    kind="repair",
    until="RecBole orders the interactions before it normalises and discretises their times",
    probe=_loses_times,
)
def keep_times_of_the_file(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the times of the file, by which interactions are ordered, apart from those that a model gets.

    RecBole orders by what normalize_all, normalize_field and discretization have made of them: after equal-distance
    discretisation all times are the same.
    """
    from recbole.utils import FeatureType

    def normalize(self):
        field = self.time_field
        if field in self.inter_feat and self.field2type[field] == FeatureType.FLOAT:
            setattr(self, _TIMES, self.inter_feat[field].to_numpy(copy=True))
            self.inter_feat[field] = self.inter_feat[field].astype(np.float64)
        for loan in list(vars(self).get("columns_on_loan", ())):
            if loan == ("inter", field) and field in self.inter_feat:
                self._del_col(self.inter_feat, field)
                self.columns_on_loan.remove(loan)
        original(self)

    return normalize


def _makes_float32_of_times(dataframe_to_interaction: Callable[..., Any]) -> bool:
    from recbole.utils import FeatureType

    stub = mock.MagicMock(
        config={"numerical_features": []}, time_field="time", field2type={"time": FeatureType.FLOAT}
    )
    made = dataframe_to_interaction(stub, pd.DataFrame({"time": [1.6e9, 1.6e9 + 1]}))
    return bool(made["time"][0] == made["time"][1])


@replaces(
    "recbole.data.dataset.Dataset._dataframe_to_interaction",
    parameters="self data",
    kind="repair",
    until="RecBole keeps float64",
    probe=_makes_float32_of_times,
)
def keep_times_float64(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep times as float64, unless they are an embedded feature.

    RecBole makes float32 of them, whose steps are 128 seconds near 1.6e9.
    """
    from recbole.utils import FeatureType

    def dataframe_to_interaction(self, data):
        interaction = original(self, data)
        field = self.time_field
        if (
            field in data
            and self.field2type[field] == FeatureType.FLOAT
            and field not in (self.config["numerical_features"] or ())
        ):
            interaction[field] = torch.from_numpy(data[field].to_numpy(dtype=np.float64, copy=True))
        return interaction

    return dataframe_to_interaction


def _forgets_rows(change_feat_format: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(config=_ordered_by_time(), feat_name_list=[])
    stub.inter_feat = [None, None]
    setattr(stub, _TIMES, np.array([2.0, 1.0]))
    change_feat_format(stub)
    return isinstance(stub.inter_feat, list)


def _ordered_by_time() -> dict[str, Any]:
    return {"benchmark_filename": None, "eval_args": {"order": "TO"}, "MODEL_TYPE": None}


@replaces(
    "recbole.data.dataset.Dataset._change_feat_format",
    parameters="self",
    kind="repair",
    until="RecBole orders by float64, and breaks ties by the order of the file",
    probe=_forgets_rows,
)
def remember_rows_of_the_file(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let interactions that are to be ordered by time remember which rows they were.

    RecBole orders them by what is left of their times, and ties by whatever order they were brought into before.
    """

    def change_feat_format(self):
        reason = why_time_is_needed(self.config)
        if reason and not hasattr(self, _TIMES):
            if self.time_field not in self.inter_feat:
                raise DatasetError(f"data set {self.dataset_name} has no field {self.time_field}, which {reason} needs")
            setattr(self, _TIMES, self.inter_feat[self.time_field].to_numpy(dtype=np.float64))
        original(self)
        if reason and len(getattr(self, _TIMES)) == len(self.inter_feat):
            setattr(self.inter_feat, _ROWS, torch.arange(len(self.inter_feat)))

    return change_feat_format


def _interaction(**columns: Any) -> Any:
    from recbole.data.interaction import Interaction

    interaction = Interaction({name: torch.tensor(values) for name, values in columns.items()})
    setattr(interaction, _ROWS, torch.arange(len(interaction)))
    return interaction


def _loses_rows_of_a_part(getitem: Callable[..., Any]) -> bool:
    return _ROWS not in vars(getitem(_interaction(x=[1, 2]), [1]))


@replaces(
    "recbole.data.interaction.Interaction.__getitem__",
    parameters="self index",
    kind="repair",
    until="RecBole orders by float64, and breaks ties by the order of the file",
    probe=_loses_rows_of_a_part,
)
def remember_rows_of_a_part(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a part of the interactions that are being ordered remember which rows they were.

    RecBole takes parts of them as it makes the sequences for sequential models.
    """

    def getitem(self, index):
        found = original(self, index)
        if _ROWS in self.__dict__ and not isinstance(index, str):
            setattr(found, _ROWS, getattr(self, _ROWS)[index])
        return found

    return getitem


def _leaves_rows_as_they_were(reindex: Callable[..., Any]) -> bool:
    interaction = _interaction(x=[1, 2])
    reindex(interaction, torch.tensor([1, 0]))
    return getattr(interaction, _ROWS).tolist() == [0, 1]


@replaces(
    "recbole.data.interaction.Interaction._reindex",
    parameters="self index",
    kind="repair",
    until="RecBole orders by float64, and breaks ties by the order of the file",
    probe=_leaves_rows_as_they_were,
)
def remember_rows_in_another_order(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let interactions that are being ordered remember which rows they were.

    RecBole shuffles and sorts them in place.
    """

    def reindex(self, index):
        original(self, index)
        if _ROWS in self.__dict__:
            setattr(self, _ROWS, getattr(self, _ROWS)[index])

    return reindex


def _ranks(dataset: Any) -> np.ndarray:
    """The place of each interaction in the order of time, ties in the order of the file; int64, no two the same."""
    times = getattr(dataset, _TIMES)
    ranks = np.empty(len(times), dtype=np.int64)
    ranks[np.argsort(times, kind="stable")] = np.arange(len(times))
    return ranks


def _sorts_by_float32(sort: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(time_field="time")
    stub.inter_feat = _interaction(time=[1.0, 1.0], x=[1, 2])
    setattr(stub, _TIMES, np.array([1.6e9 + 1, 1.6e9]))
    sort(stub, "time")
    return stub.inter_feat["x"].tolist() == [1, 2]


@replaces(
    "recbole.data.dataset.Dataset.sort",
    parameters="self by ascending",
    kind="repair",
    until="RecBole orders by float64, and breaks ties by the order of the file",
    probe=_sorts_by_float32,
)
def sort_by_times_of_the_file(original: Callable[..., Any]) -> Callable[..., Any]:
    """Sort interactions by the times of the file.

    RecBole sorts by float32. On ml-latest-small, 301 of 610 users then have a training or validation item that is later
    than a test item (order TO, 8:1:1).
    """

    def sort(self, by, ascending=True):
        fields = [by] if isinstance(by, str) else list(by)
        rows = getattr(self.inter_feat, _ROWS, None)
        if rows is None or self.time_field not in fields:
            original(self, by, ascending)
            return
        self.inter_feat[_ROWS] = torch.from_numpy(_ranks(self))[rows]
        original(self, [_ROWS if field == self.time_field else field for field in fields], ascending)
        del self.inter_feat[_ROWS]

    return sort


def _exact_shares(ratios: Sequence[float]) -> list[Fraction]:
    """The shares that ratios stand for as they are written in decimals; they add up to 1."""
    shares = [Fraction(str(ratio)) for ratio in ratios]
    return [share / sum(shares) for share in shares]


def _cuts_off_29_of_100(split_by_ratio: Callable[..., Any]) -> bool:
    from recbole.data.dataset import Dataset

    stub = mock.MagicMock(inter_feat=_interaction(x=[0] * 100))
    stub.__len__.return_value = 100
    stub._calcu_split_ids.side_effect = functools.partial(Dataset._calcu_split_ids, stub)
    stub.copy.side_effect = len
    return split_by_ratio(stub, [0.7, 0.01, 0.29], None) != [70, 1, 29]


@replaces(
    "recbole.data.dataset.Dataset.split_by_ratio",
    parameters="self ratios group_by",
    kind="repair",
    until="RecBole computes shares exactly before it rounds them down",
    probe=_cuts_off_29_of_100,
)
def split_by_exact_shares(original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute the sizes of the parts of a split by ratio exactly, and then round them down.

    RecBole computes them in floating point: of 100 interactions the share 0.29 is 28.
    """

    def split_by_ratio(self, ratios, group_by=None):
        shares = _exact_shares(ratios)
        inner_bounds = functools.cache(lambda n: self._calcu_split_ids(n, shares))
        whole = [range(len(self.inter_feat))]
        groups = whole if group_by is None else self._grouped_index(self.inter_feat[group_by].numpy())
        parts: list[list[int]] = [[] for _ in shares]
        for rows in groups:
            bounds = [0, *inner_bounds(len(rows)), len(rows)]
            for part, start, end in zip(parts, bounds, bounds[1:]):
                part.extend(rows[start:end])
        self._drop_unused_col()
        return [self.copy(self.inter_feat[part]) for part in parts]

    return split_by_ratio


def _masks_unsorted_rows(time_based_split: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(time_field="time", config={})
    stub.inter_feat = _interaction(time=[4.0, 3.0, 2.0, 1.0], user=[1, 1, 1, 1])
    setattr(stub, _TIMES, np.array([4.0, 3.0, 2.0, 1.0]))
    stub._grouped_index.return_value = [[0, 1, 2, 3]]
    stub.copy.side_effect = lambda part: part["time"].tolist()
    return time_based_split(stub, [0.5, 0.25, 0.25], "user")[2] != [4.0]


@replaces(
    "recbole.data.dataset.Dataset.time_based_split",
    parameters="self ratios group_by",
    kind="repair",
    until="RecBole sorts a user's rows with their times, in float64",
    probe=_masks_unsorted_rows,
)
def split_by_times_of_the_file(original: Callable[..., Any]) -> Callable[..., Any]:
    """Split at the boundary of time by the times of the file.

    RecBole looks at a user's times in their order, but takes the rows in the order that they had before: on ml-100k
    with order RO, 1,131 training interactions lie behind the boundary. It also rounds shares in floating point, so that
    of four early interactions with the shares 0.6, 0.2 and 0.2 two are trained on instead of three.
    """

    def time_based_split(self, ratios, group_by):
        for_training, _, for_test = _exact_shares(ratios)
        rows = getattr(self.inter_feat, _ROWS).numpy()
        times, ranks = getattr(self, _TIMES)[rows], _ranks(self)[rows]
        boundary = np.sort(times)[int((len(times) - 1) * (1 - for_test))]
        of_early = for_training / (1 - for_test)
        train, valid, test = [], [], []
        for of_user in self._grouped_index(self.inter_feat[group_by].numpy()):
            in_order = np.array(of_user)
            in_order = in_order[np.argsort(ranks[in_order])]
            is_late = times[in_order] > boundary
            early = in_order[~is_late]
            n_train = len(early) * of_early.numerator // of_early.denominator
            train.extend(early[:n_train])
            valid.extend(early[n_train:])
            test.extend(in_order[is_late])
        self._drop_unused_col()
        return [self.copy(self.inter_feat[part]) for part in (train, valid, test)]

    return time_based_split


def _leaves_rows_in_the_parts(build: Callable[..., Any]) -> bool:
    part = _interaction(x=[1])
    stub = mock.MagicMock(config={"eval_args": {"order": "RO", "split": {"LS": "test_only"}, "group_by": None}})
    stub.benchmark_filename_list = None
    stub.inter_feat = _interaction(x=[1])
    stub.leave_one_out.return_value = [mock.MagicMock(inter_feat=part)]
    build(stub)
    return _ROWS in vars(part)


@replaces(
    "recbole.data.dataset.Dataset.build",
    parameters="self",
    kind="repair",
    until="RecBole orders by float64, and breaks ties by the order of the file",
    probe=_leaves_rows_in_the_parts,
)
def forget_rows_after_splitting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let interactions forget which rows they were, once they are split, unless a model weights them by time.

    RecBole takes batches of them from then on, which are not to become slower.
    """

    def build(self):
        parts = original(self)
        if self.config["time-aware"] is True:
            return parts
        for interactions in (self.inter_feat, *(part.inter_feat for part in parts)):
            vars(interactions).pop(_ROWS, None)
        return parts

    return build


def _weights_ties_in_any_order(build_histroy_items: Callable[..., Any]) -> bool:
    data = SimpleNamespace(time_field="time", uid_field="user", iid_field="item", user_num=2)
    data.inter_feat = _interaction(time=[1.0, 1.0], user=[1, 1], item=[2, 1])
    data.copy = lambda interactions: SimpleNamespace(**{**vars(data), "inter_feat": interactions})
    setattr(data, _TIMES, np.array([1.6e9 + 1, 1.6e9]))
    model = SimpleNamespace(time_aware=True, w_min=0.1, w_max=1.0, device="cpu")
    build_histroy_items(model, data)
    return model.history_item_id[1].tolist() == [2, 1]


@replaces(
    "recbole.model.general_recommender.diffrec.DiffRec.build_histroy_items",
    parameters="self dataset",
    kind="repair",
    until="RecBole orders by float64, and breaks ties by the order of the file",
    probe=_weights_ties_in_any_order,
)
def weight_by_times_of_the_file(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let DiffRec and LDiffRec with ``time-aware`` weight a user's items by the times of the file.

    RecBole orders them by what is left of their times, and ties as order RO has shuffled them: on ml-100k, each user
    has some.
    """
    from recbole.data.interaction import Interaction

    def build_histroy_items(self, dataset):
        rows = getattr(dataset.inter_feat, _ROWS, None)
        if self.time_aware and rows is not None:
            ranks = torch.from_numpy(_ranks(dataset))[rows]
            dataset = dataset.copy(Interaction({**dataset.inter_feat.interaction, dataset.time_field: ranks}))
        original(self, dataset)

    return build_histroy_items


def _sorts_without_stability(remove_duplication: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(config={"rm_dup_inter": "first"}, time_field="time", uid_field="user", iid_field="item")
    n = 1000
    stub.inter_feat = pd.DataFrame({"user": 1, "item": np.arange(n), "time": np.arange(n) % 2})
    remove_duplication(stub)
    items = stub.inter_feat["item"].to_numpy()
    return not (np.diff(items[: n // 2]) > 0).all()


@replaces(
    "recbole.data.dataset.Dataset._remove_duplication",
    parameters="self",
    kind="repair",
    until="RecBole sorts with a stable algorithm",
    probe=_sorts_without_stability,
)
def remove_repeats_in_a_stable_order(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the first or the last of repeated interactions, those at the same time in the order of the file.

    RecBole sorts by time with an algorithm that brings equal times into any order.
    """

    def remove_duplication(self):
        keep = self.config["rm_dup_inter"]
        if keep is None or self.time_field not in self.inter_feat:
            original(self)
            return
        self._check_field("uid_field", "iid_field")
        self.inter_feat.sort_values(by=self.time_field, kind="stable", inplace=True)
        self.inter_feat.drop_duplicates(subset=[self.uid_field, self.iid_field], keep=keep, inplace=True)

    return remove_duplication


def _uses_a_dataset_without_times(create_dataset: Callable[..., Any]) -> bool:
    return "_has_times" not in names_in(create_dataset)


@replaces(
    "recbole.data.utils.create_dataset",
    parameters="config",
    kind="repair",
    until="a saved data set has the columns that eval_args needs",
    probe=_uses_a_dataset_without_times,
)
def make_datasets_without_times_again(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make a saved data set again if it has no times and this run needs them.

    RecBole does not look at eval_args before it uses a data set that an earlier run saved.
    """

    def create_dataset(config):
        dataset = original(config)
        return dataset if _has_times(dataset) else made_again(dataset, config)

    return create_dataset


def _has_times(dataset: Any) -> bool:
    in_the_data = dataset.config["TIME_FIELD"] in dataset.inter_feat
    if dataset.config["time-aware"] is True and not in_the_data:
        return False
    return in_the_data or hasattr(dataset, _TIMES) or why_time_is_needed(dataset.config) is None
