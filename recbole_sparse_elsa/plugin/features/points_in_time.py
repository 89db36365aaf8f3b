"""A global split in time: trained on what was before a date, validated and tested on what came later."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from recbole_sparse_elsa.data import points_in_time
from recbole_sparse_elsa.errors import DatasetError
from recbole_sparse_elsa.plugin.needed_columns import points_of
from recbole_sparse_elsa.plugin.patching import names_in, replaces

_OPTION = "TS of eval_args"
# The points as times of the file, and how many interactions they leave out of the evaluation.
_POINTS, LEFT_OUT = "points_in_time", "left_out_of_evaluation"


def _keeps_what_cannot_be_known(original: Callable[..., Any]) -> bool:
    return "points_of" not in names_in(original)


@replaces(
    "recbole.data.dataset.Dataset._data_filtering",
    parameters="self",
    kind="feature",
    until="RecBole splits at points in time",
    probe=_keeps_what_cannot_be_known,
)
def leave_out_what_training_does_not_know(original: Callable[..., Any]) -> Callable[..., Any]:
    """Leave interactions out of validation and test whose user or item has none in training, at a split in time.

    A model of RecBole's cannot know these users and items. So the catalogue is that of the training data.
    """

    def data_filtering(self):
        original(self)
        points = points_of(self.config) if len(self.inter_feat) else None
        if points is not None:
            _leave_out(self, points)

    return data_filtering


def _leave_out(dataset, points):
    lines = dataset.inter_feat
    times = lines[dataset.time_field].to_numpy()
    valid_from, test_from = points_in_time.resolved(_OPTION, points, times)
    is_early = times < valid_from
    known = np.ones(len(lines), dtype=bool)
    for field in (dataset.uid_field, dataset.iid_field):
        known &= lines[field].isin(lines[field][is_early]).to_numpy()
    is_test = times >= test_from
    parts = {"training": is_early, "validation": ~is_early & ~is_test, "test": is_test}
    shown = [points_in_time.said(point, times) for point in (valid_from, test_from, times.min(), times.max())]
    for part, of_part in parts.items():
        if not (of_part & known).any() and not (part == "validation" and valid_from == test_from):
            reason = "of a user and an item of the training data " if of_part.any() else ""
            raise DatasetError(
                f"{_OPTION} is {points!r}, but data set {dataset.dataset_name} has no interaction {reason}for {part}: "
                f"validation begins at {shown[0]}, test at {shown[1]}, and the times go from {shown[2]} to {shown[3]}"
            )
    left_out = int((~known).sum())
    dataset.logger.info(
        f"Split in time: training before {shown[0]}, validation from then on, test from {shown[1]} on; {left_out:,} "
        f"interactions of users or items without training interactions are left out"
    )
    for field, table in ((dataset.uid_field, dataset.user_feat), (dataset.iid_field, dataset.item_feat)):
        gone = set(lines[field]) - set(lines[field][known])
        if table is not None:
            _keep(table, ~table[field].isin(gone).to_numpy())
    _keep(lines, known)
    setattr(dataset, _POINTS, (valid_from, test_from))
    setattr(dataset, LEFT_OUT, left_out)


def _keep(table, rows):
    # In place, since others hold the same table.
    table.drop(table.index[~rows], inplace=True)
    table.reset_index(drop=True, inplace=True)


def _takes_points_for_shares(original: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(**{_POINTS: (1, 2)})
    try:
        original(stub, ["2020-01-01", "2021-01-01"], "user")
    except (TypeError, ValueError):
        return True
    return False


@replaces(
    "recbole.data.dataset.Dataset.time_based_split",
    parameters="self ratios group_by",
    kind="feature",
    until="RecBole splits at points in time",
    probe=_takes_points_for_shares,
)
def split_at_points_in_time(original: Callable[..., Any]) -> Callable[..., Any]:
    """Split all interactions at two points in time, where TS of eval_args has two of them instead of three shares.

    RecBole divides each user's early interactions between training and validation by a share: some that are trained on
    are later than others that are validated on.
    """

    def time_based_split(self, ratios, group_by):
        if points_of(self.config) is None:
            return original(self, ratios, group_by)
        valid_from, test_from = getattr(self, _POINTS)
        times = self.times_of_the_file[self.inter_feat.rows_of_the_file.numpy()]
        is_early, is_test = times < valid_from, times >= test_from
        self._drop_unused_col()
        return [
            self.copy(self.inter_feat[np.flatnonzero(part)]) for part in (is_early, ~is_early & ~is_test, is_test)
        ]

    return time_based_split
