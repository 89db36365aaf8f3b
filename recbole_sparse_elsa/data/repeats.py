"""What "implicit feedback" means: a (user, item) pair counts once, however many lines it has."""

from typing import Any

import numpy as np


def first_of_each_pair(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The places of the first line of each (user, item) pair, in the order of the lines.

    Parameters
    ----------
    users, items : numpy.ndarray
        Whole numbers of at least 0, shape ``(n,)``.

    Returns
    -------
    numpy.ndarray
        int64, increasing, at most n of them.
    """
    pairs = users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items
    return np.sort(np.unique(pairs, return_index=True)[1])


def drop_repeated_pairs(dataset: Any) -> None:
    """Keep only the first line of each (user, item) pair of a data set.

    Parameters
    ----------
    dataset : recbole.data.dataset.Dataset
        Its ``inter_feat`` is an ``Interaction``, and stays the same object where no pair is repeated.
    """
    lines = dataset.inter_feat
    first = first_of_each_pair(lines[dataset.uid_field].numpy(), lines[dataset.iid_field].numpy())
    if len(first) < len(lines):
        dataset.inter_feat = lines[first]


def learns_from_pairs(config: Any, dataset: Any) -> bool:
    """Whether only the (user, item) pairs of the training data mean something to a run's model.

    So it is for general and knowledge-aware recommenders that are evaluated by ranking, unless they learn from given
    labels.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``MODEL_TYPE``, ``eval_type``, ``train_neg_sample_args`` and ``LABEL_FIELD``.
    dataset : recbole.data.dataset.Dataset
        The training data.

    Returns
    -------
    bool
    """
    if (
        config["MODEL_TYPE"].name not in ("GENERAL", "TRADITIONAL", "KNOWLEDGE")
        or config["eval_type"].name != "RANKING"
    ):
        return False
    draws_negatives = config["train_neg_sample_args"]["distribution"] not in (None, "none")
    return draws_negatives or config["LABEL_FIELD"] not in dataset.inter_feat
