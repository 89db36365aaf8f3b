"""Metrics of the papers on ELSA that RecBole has not, in the shape of RecBole's own."""

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

    def calculate_metric(self, dataobject):
        """The averages over the users, as ``{"calibratedrecall@k": value}`` for each k of ``topk``."""
        return self.topk_result("calibratedrecall", self.metric_info(*self.used_info(dataobject)))

    def metric_info(self, pos_index, pos_len):
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


def register_metrics() -> None:
    """Let RecBole's evaluator find the metrics by name; doing it again changes nothing."""
    name = CalibratedRecall.__name__.lower()
    # In place: RecBole's modules hold these very dictionaries.
    register.metrics_dict[name] = CalibratedRecall
    register.metric_information[name] = CalibratedRecall.metric_need
    register.metric_types[name] = CalibratedRecall.metric_type
