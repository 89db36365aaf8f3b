"""The test metrics of every single user, which RecBole's evaluator averages."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from recbole.evaluator.base_metric import TopkMetric


def evaluate_per_user(trainer: Any, eval_data: Any) -> tuple[Mapping[str, float], pd.DataFrame]:
    """Evaluate the best model, and keep what RecBole's evaluator averages over users.

    Parameters
    ----------
    trainer : recbole.trainer.Trainer
        After its training.
    eval_data : recbole.data.dataloader.AbstractDataLoader
        Whose users are evaluated.

    Returns
    -------
    metrics : dict
        RecBole's metrics.
    per_user : pandas.DataFrame
        A row per user, or with held-out users per user and fold: ``user`` (the token), with held-out users also
        ``fold`` (int64, counted from 0), and a float64 column for each metric and k that RecBole computes user by user,
        such as ``ndcg@10``. Its mean is RecBole's metric, to the digits of RecBole's ``metric_decimal_place``.
    """
    values: dict[str, np.ndarray] = {}

    def keep_values_of(metric):
        topk_result = metric.topk_result

        def keep_values(name, value):
            values.update({f"{name}@{k}": value[:, k - 1].astype(np.float64) for k in metric.topk})
            return topk_result(name, value)

        metric.topk_result = keep_values

    for metric in trainer.evaluator.metric_class.values():
        if isinstance(metric, TopkMetric):
            keep_values_of(metric)
    metrics = trainer.evaluate(eval_data, load_best_model=True, show_progress=False)
    return metrics, pd.DataFrame({**_users(eval_data), **values})


def _users(eval_data):
    """Whom the rows of an evaluation are about, as columns."""
    dataset, user_ids = eval_data.dataset, np.asarray(eval_data.uid_list)
    held_out = getattr(dataset, "held_out_users", None)
    if held_out is None:
        return {"user": dataset.id2token(dataset.uid_field, user_ids)}
    of_rows = held_out.table.loc[user_ids]
    return {name: of_rows[name].to_numpy() for name in ("user", "fold")}
