"""Metrics of papers and public tables that RecBole has not, in the shape of RecBole's own."""

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


class F1(TopkMetric):
    r"""F1 of each user's list, averaged over the users.

    .. math::
        \mathrm{F1@K} = \frac{1}{|U|}\sum_{u \in U} \frac{2 P_u R_u}{P_u + R_u}
        = \frac{1}{|U|}\sum_{u \in U} \frac{2 |\hat R(u) \cap R(u)|}{K + |R(u)|}

    P and R are RecBole's ``precision@K`` (divided by K) and ``recall@K`` (divided by all the user's targets). A user
    without a hit has 0. Some tables give the F1 of the averages under the same name instead: `F1OfMeans`.
    """

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The averages over the users, as ``{"f1@k": value}`` for each k of ``topk``."""
        return self.topk_result("f1", self.metric_info(*self.used_info(dataobject)))

    def metric_info(self, pos_index: np.ndarray, pos_len: np.ndarray) -> np.ndarray:
        """The metric of each user at each cutoff; parameters and result as for `CalibratedRecall.metric_info`."""
        cutoffs = np.arange(1, pos_index.shape[1] + 1)
        return 2 * np.cumsum(pos_index, axis=1) / (cutoffs + pos_len[:, np.newaxis])


class F1OfMeans(TopkMetric):
    r"""F1 of the average precision and the average recall.

    .. math::
        \mathrm{F1OfMeans@K} = \frac{2 \bar P \bar R}{\bar P + \bar R}

    The averages over the users are RecBole's ``precision@K`` and ``recall@K``. A single user has no such value, so it
    cannot be tested user by user; `F1` can.
    """

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """``{"f1ofmeans@k": value}`` for each k of ``topk``; 0 where nobody has a hit."""
        is_hit, n_targets = self.used_info(dataobject)
        hits = np.cumsum(is_hit, axis=1)
        precision = (hits / np.arange(1, is_hit.shape[1] + 1)).mean(axis=0)
        recall = (hits / n_targets[:, np.newaxis]).mean(axis=0)
        places = [k - 1 for k in self.topk]
        f1 = 2 * precision * recall / np.where(precision > 0, precision + recall, 1)
        return {f"f1ofmeans@{place + 1}": round(float(f1[place]), self.decimal_place) for place in places}


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
    for metric in (CalibratedRecall, F1, F1OfMeans, RareHits):
        name = metric.__name__.lower()
        # In place: RecBole's modules hold these very dictionaries.
        register.metrics_dict[name] = metric
        register.metric_information[name] = metric.metric_need
        register.metric_types[name] = metric.metric_type
