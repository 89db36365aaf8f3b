"""Metrics of the papers on ELSA that RecBole has not, in the shape of RecBole's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from recbole.evaluator import register
from recbole.evaluator.base_metric import TopkMetric


class CalibratedRecall(TopkMetric):
    r"""Recall as the papers on autoencoders count it (method page, section 4; "CalibratedRecallK" in RecPack).

    .. math::
        \mathrm{CalibratedRecall@K} = \frac{1}{|U|}\sum_{u \in U} \frac{|\hat R(u) \cap R(u)|}{\min(K, |R(u)|)}

    RecBole's ``recall`` divides by all the user's targets instead, so a user with more than K of them cannot reach 1.
    The two are equal for users with at most K targets, and this one is never the lower.
    """

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The averages over the users, as ``{"calibratedrecall@k": value}`` for each k of ``topk``."""
        return self.topk_result("calibratedrecall", self.metric_info(*self.used_info(dataobject)))

    def metric_info(self, pos_index: np.ndarray, pos_len: np.ndarray) -> np.ndarray:
        """The metric of each user at each cutoff.

        Parameters
        ----------
        pos_index : numpy.ndarray
            bool, shape ``(n_users, K)``: whether the item at that place of the user's ranking is a target.
        pos_len : numpy.ndarray
            Integer, shape ``(n_users,)``: number of targets of each user, at least 1.

        Returns
        -------
        numpy.ndarray
            float64, shape ``(n_users, K)``: the metric at 1 to K.
        """
        cutoffs = np.arange(1, pos_index.shape[1] + 1)
        return np.cumsum(pos_index, axis=1) / np.minimum(cutoffs, pos_len[:, np.newaxis])


class RareHits(TopkMetric):
    r"""Targets among the first K recommended items that belong to the rarer half of the catalogue, per user.

    .. math::
        \mathrm{RareHits@K} = \frac{1}{|U|}\sum_{u \in U} |\hat R(u) \cap R(u) \cap I_{rare}|

    The rarer half are the items with the fewest training interactions; of those with as many, the ones with the
    smaller internal ids. The number of such targets is the same for all models of one data set, protocol and seed,
    so the metric compares models, not data sets.
    """

    metric_need = ["rec.topk", "rec.items", "data.count_items", "data.num_items"]

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The averages over the users, as ``{"rarehits@k": value}`` for each k of ``topk``."""
        is_hit, _ = self.used_info(dataobject)
        is_rare = rarer_half(dataobject.get("data.count_items"), dataobject.get("data.num_items"))
        has_targets = dataobject.get("rec.topk")[:, -1] > 0  # the others are left out, as in all metrics of targets
        hits = is_hit & is_rare[dataobject.get("rec.items")[has_targets].numpy()]
        return self.topk_result("rarehits", np.cumsum(hits, axis=1))


def rarer_half(interactions_of_item: Mapping[int, int], n_items: int) -> np.ndarray:
    """Whether each item belongs to the rarer half of the catalogue: bool, shape ``(n_items,)``.

    Parameters
    ----------
    interactions_of_item : mapping of int to int
        Number of training interactions by internal item id; that of a missing item is 0.
    n_items : int
        Number of items with the padding item 0, which is in neither half.
    """
    popularity = np.array([interactions_of_item.get(item, 0) for item in range(1, n_items)])
    is_rare = np.zeros(n_items, dtype=bool)
    is_rare[1 + np.argsort(popularity, kind="stable")[: (n_items - 1) // 2]] = True
    return is_rare


def register_metrics() -> None:
    """Let RecBole's evaluator find the metrics by name; doing it again changes nothing."""
    for metric in (CalibratedRecall, RareHits):
        name = metric.__name__.lower()
        # In place: RecBole's modules hold these very dictionaries.
        register.metrics_dict[name] = metric
        register.metric_information[name] = metric.metric_need
        register.metric_types[name] = metric.metric_type
