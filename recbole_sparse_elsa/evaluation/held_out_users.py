"""Evaluation on held-out users (method page, section 4): ``eval_args: {split: {HU: {test_users: 1000}}}``.

Test users and validation users are drawn, and all of their interactions leave the training data. A held-out user's
items are divided into folds: in each fold some are hidden, which are the targets, and the model sees the others,
which are masked. RecBole averages over users, so each pair of a held-out user and a fold becomes a user of its own
for it, called ``<user>#<fold>``, and all of its loaders, metrics and models serve as they are.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.sampler import Sampler
from scipy.sparse import coo_matrix, csr_matrix

from recbole_sparse_elsa.data.repeats import drop_repeated_pairs, learns_from_pairs
from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.evaluation.history_models import require_history_model
from recbole_sparse_elsa.options import require_number, require_whole_number


@dataclass(frozen=True)
class HeldOutOptions:
    """The options of a split by users, which stand in ``eval_args`` under ``split: {HU: {...}}``.

    Attributes
    ----------
    test_users : int
        Number of test users, at least 1.
    valid_users : int
        Number of validation users, at least 1; by default as many as test users.
    folds : int
        Folds per held-out user, at least 1.
    hidden : float
        Share of a held-out user's items that is hidden in each fold, in (0, 1). No item is hidden in two folds, so
        ``folds * hidden`` is at most 1.
    """

    test_users: int
    valid_users: int
    folds: int = 5
    hidden: float = 0.2

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "HeldOutOptions | None":
        """The options of a run, or None if it does not split by users.

        Raises
        ------
        OptionError
            An option is missing, unknown or not allowed.
        """
        split = config["eval_args"]["split"]
        if not isinstance(split, dict) or "HU" not in split:
            return None
        given, names = split["HU"], [field.name for field in dataclasses.fields(cls)]
        if len(split) > 1:
            raise OptionError(f"split of eval_args is {split}, but HU must be its only key")
        if not isinstance(given, dict) or "test_users" not in given or set(given) - set(names):
            raise OptionError(
                f"HU of eval_args is {given}, but must have test_users, and may have {', '.join(names[1:])}"
            )
        given = {"valid_users": given["test_users"], **given}
        options = cls(**given)
        values = vars(options)
        for name in ("test_users", "valid_users", "folds"):
            require_whole_number(name, values[name], at_least=1)
        require_number("hidden", values["hidden"], above=0, below=1)
        if options.folds * options.hidden > 1 + 1e-9:
            raise OptionError(
                f"folds is {options.folds} and hidden is {options.hidden}, but their product must be at most 1, as no "
                "item is hidden twice"
            )
        return options


def check_options(config: Any) -> None:
    """Refuse, before any data are loaded, what does not go with a split by users.

    Raises
    ------
    OptionError
        Names the option, its value and what is allowed.
    """
    if HeldOutOptions.of(config) is None:
        return
    require_history_model(config)
    full = {"valid": "full", "test": "full"}
    for name, allowed, value in (("order", "RO", "RO"), ("group_by", "user", "user"), ("mode", "full", full)):
        given = config["eval_args"][name]
        if given != value:
            raise OptionError(f"{name} of eval_args is {given}, but must be {allowed} with split HU")
    for name in ("benchmark_filename", "save_dataloaders", "dataloaders_save_path"):
        if config[name]:
            raise OptionError(f"{name} is {config[name]}, but is not allowed with split HU of eval_args")


# The split


def draw_users(n_users: int, options: HeldOutOptions, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the held-out users.

    Parameters
    ----------
    n_users : int
        Number of users, who are counted in the order of their tokens.
    options : HeldOutOptions
        How many of them to draw.
    seed : int
        All that the draw depends on besides.

    Returns
    -------
    valid_users, test_users : numpy.ndarray
        Integers below ``n_users``, rising: disjoint sets of users.
    """
    drawn = np.random.default_rng(seed).permutation(n_users)[: options.test_users + options.valid_users]
    return np.sort(drawn[options.test_users :]), np.sort(drawn[: options.test_users])


def draw_folds(n_items: int, options: HeldOutOptions, seed: int, user: int) -> list[np.ndarray]:
    """Divide a held-out user's items into folds.

    Parameters
    ----------
    n_items : int
        Number of the user's items, which are counted in the order of their tokens.
    options : HeldOutOptions
        How many folds, and the share of each.
    seed, user : int
        All that the draw depends on besides: no user's folds depend on another user.

    Returns
    -------
    list of numpy.ndarray
        For each fold the items that are hidden in it, integers below ``n_items``; they may be none, or all. Folds are
        disjoint, and differ by at most one item.
    """
    order = np.random.default_rng([seed, user]).permutation(n_items)
    bounds = [round(fold * options.hidden * n_items) for fold in range(options.folds + 1)]
    return [order[start:end] for start, end in zip(bounds, bounds[1:])]


# RecBole's data sets and samplers


@dataclass
class HeldOutUsers:
    """What the validation and the test data set of a split by users know beside their interactions.

    It is the attribute ``held_out_users`` of ``valid_data.dataset`` and of ``test_data.dataset``, and of the data set
    that they were made from.

    Attributes
    ----------
    histories : scipy.sparse.csr_matrix
        float32, shape ``(n_users, n_items)``, in RecBole's internal ids: 1 for each interaction that a model may see,
        of training users all, of held-out users those that are not hidden in the fold.
    table : pandas.DataFrame
        Which user and fold each internal user id stands for, sorted by it: index ``user_id``, columns ``phase``
        ("valid" or "test"), ``user`` (the token) and ``fold`` (counted from 0). RecBole collects what it evaluates in
        this order, so that row i of a phase is also row i of its ``rec.topk``. Folds without a hidden item, or without
        any other, are left out.
    """

    histories: csr_matrix
    table: pd.DataFrame


def build(dataset: Dataset) -> list[Dataset]:
    """Split a data set by users; stands in for RecBole's ``Dataset.build``.

    Parameters
    ----------
    dataset : recbole.data.dataset.Dataset
        The filtered data set. Its interactions become the training ones, and its users the training users and, behind
        them, the pairs of a held-out user and a fold.

    Returns
    -------
    list of recbole.data.dataset.Dataset
        Training, validation and test data. The training data have no user but the training users, and each of their
        (user, item) pairs once, unless the model learns from given labels. All have all items that were left by the
        filters, even if no training user has some of them.

    Raises
    ------
    DatasetError
        There are too few users, none of a phase's users has two items, or two users would have the same token.
    """
    options = HeldOutOptions.of(dataset.config)
    dataset._change_feat_format()
    dataset._drop_unused_col()
    interactions, uid_field, iid_field = dataset.inter_feat, dataset.uid_field, dataset.iid_field
    user_ids, item_ids = interactions[uid_field].numpy(), interactions[iid_field].numpy()
    tokens, training_ids, folds, table = _split(dataset, user_ids, item_ids, options)

    # Users get new numbers: training users as before among themselves, then the others.
    new_id = np.zeros(len(tokens), dtype=np.int64)
    new_id[training_ids] = np.arange(1, len(training_ids) + 1)
    all_tokens = [*tokens[:1], *tokens[training_ids], *(f"{user}#{fold}" for user, fold in zip(table.user, table.fold))]
    if len(set(all_tokens)) < len(all_tokens):
        raise DatasetError(
            f"users of data set {dataset.dataset_name} have tokens like user#0, which split HU of eval_args needs for "
            "the folds of held-out users: rename them"
        )
    old_ids = np.concatenate([[0], training_ids, [user_id for user_id, _, _ in folds]]).astype(np.int64)

    training_rows = np.flatnonzero(new_id[user_ids])
    training = _rows(interactions, training_rows, uid_field, new_id[user_ids[training_rows]])
    training_dataset = _with_users(dataset, all_tokens[: len(training_ids) + 1], old_ids[: len(training_ids) + 1])
    training_dataset.inter_feat = training
    if learns_from_pairs(dataset.config, training_dataset):
        drop_repeated_pairs(training_dataset)
        training = training_dataset.inter_feat
    training_dataset.shuffle()

    seen_users, seen_rows = _pairs(table.index, [seen for _, _, seen in folds])
    users = np.concatenate([training[uid_field].numpy(), seen_users])
    items = np.concatenate([training[iid_field].numpy(), item_ids[seen_rows]])
    shape = (len(all_tokens), dataset.item_num)
    histories = coo_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape).tocsr()
    histories.data[:] = 1  # repeated interactions count once

    whole = _with_users(dataset, all_tokens, old_ids)
    whole.held_out_users = HeldOutUsers(histories, table)
    datasets = [training_dataset]
    for phase in ("valid", "test"):
        of_phase = np.flatnonzero(table.phase == phase)
        hidden_users, hidden_rows = _pairs(table.index[of_phase], [folds[place][1] for place in of_phase])
        datasets.append(whole.copy(_rows(interactions, hidden_rows, uid_field, hidden_users)))
    whole.inter_feat = training
    vars(dataset).update(vars(whole))
    return datasets


def _split(dataset, user_ids, item_ids, options):
    """The tokens of all users, the ids of the training users, and the folds (user id, hidden rows, other rows)."""
    seed, name = dataset.config["seed"], dataset.dataset_name
    tokens = dataset.field2id_token[dataset.uid_field].astype(str)
    item_rank = np.argsort(np.argsort(dataset.field2id_token[dataset.iid_field].astype(str)))
    users = np.unique(user_ids)
    users = users[np.argsort(tokens[users])]
    if options.test_users + options.valid_users >= len(users):
        raise DatasetError(
            f"test_users is {options.test_users} and valid_users is {options.valid_users}, but data set {name} has "
            f"{len(users)} users, and some must be left to train on"
        )
    drawn = dict(zip(("valid", "test"), draw_users(len(users), options, seed)))
    is_held_out = np.zeros(len(tokens), dtype=bool)
    is_held_out[users[np.concatenate(list(drawn.values()))]] = True
    training_ids = np.sort(users[~is_held_out[users]])
    rows_of = _rows_by_user(user_ids, item_ids, item_rank, np.flatnonzero(is_held_out[user_ids]))

    folds, table = [], []
    for phase, positions in drawn.items():
        for position in positions.tolist():
            user_id = users[position]
            rows = rows_of[user_id]
            for fold, hidden in enumerate(draw_folds(len(rows), options, seed, position)):
                if 0 < len(hidden) < len(rows):
                    folds.append((user_id, rows[hidden], np.delete(rows, hidden)))
                    table.append((phase, str(tokens[user_id]), fold))
    first = len(training_ids) + 1
    table = pd.DataFrame(
        table, columns=["phase", "user", "fold"], index=pd.RangeIndex(first, first + len(folds), name="user_id")
    )
    users_of = table.groupby("phase").user.nunique()
    for phase, positions in drawn.items():
        if phase not in users_of:
            raise DatasetError(
                f"none of the {len(positions)} {phase} users drawn from data set {name} has enough items to hide some "
                f"and show others (hidden is {options.hidden}, folds is {options.folds})"
            )
    dataset.logger.info(
        f"Held-out users: {len(training_ids)} users to train on; "
        + "; ".join(
            f"{len(positions)} {phase} users, of whom {users_of[phase]} have {(table.phase == phase).sum()} folds"
            for phase, positions in drawn.items()
        )
    )
    return tokens, training_ids, folds, table


def _rows_by_user(user_ids, item_ids, item_rank, rows):
    """For each user among ``rows``, the first row of each of their items, in the order of the items' tokens."""
    rows = rows[np.lexsort((item_rank[item_ids[rows]], user_ids[rows]))]
    users, items = user_ids[rows], item_ids[rows]
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
    rows, users = rows[is_first], users[is_first]
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    return dict(zip(users[starts], np.split(rows, starts[1:])))


def _pairs(user_ids, rows_of_each):
    """The rows of all users, each with its user."""
    return np.repeat(user_ids.to_numpy(), [len(rows) for rows in rows_of_each]), np.concatenate(rows_of_each)


def _rows(interactions, rows, uid_field, user_ids):
    """Some rows of the interactions, with other users."""
    rows = torch.from_numpy(rows)
    selected = Interaction({field: values[rows] for field, values in interactions.interaction.items()})
    selected[uid_field] = torch.from_numpy(user_ids)
    return selected


def _with_users(dataset, tokens, old_ids):
    """The data set with other users, of which each has the features that belong to its old id."""
    changed, field = dataset.copy(dataset.inter_feat), dataset.uid_field
    changed.field2id_token = {**dataset.field2id_token, field: np.array(tokens)}
    changed.field2token_id = {**dataset.field2token_id, field: {token: i for i, token in enumerate(tokens)}}
    if dataset.user_feat is not None:
        changed.user_feat = _rows(dataset.user_feat, old_ids, field, np.arange(len(old_ids)))
    return changed


class _FoldIns:
    """Stands in for a sampler, which RecBole's evaluation loader asks only for the items to mask."""

    def __init__(self, histories):
        self.histories = histories

    @property
    def used_ids(self):
        return self

    def __getitem__(self, user):
        # The loader asks for the user before the first, too.
        start, end = self.histories.indptr[user : user + 2] if user is not None else (0, 0)
        return set(self.histories.indices[start:end])


def create_samplers(config: Mapping[str, Any], built_datasets: list[Dataset]) -> tuple[Sampler | None, Any, Any]:
    """The samplers of a split by users; stands in for RecBole's ``create_samplers``, which looks at all data.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``train_neg_sample_args``.
    built_datasets : list of recbole.data.dataset.Dataset
        What `build` returned.

    Returns
    -------
    tuple
        The sampler of training negatives, or None if there are to be none; what tells the loader of the validation
        data which items to mask; and the same for the test data.
    """
    training_dataset, *others = built_datasets
    arguments, sampler = config["train_neg_sample_args"], None
    if arguments["distribution"] != "none":
        sampler = Sampler("train", training_dataset, arguments["distribution"], arguments["alpha"]).set_phase("train")
    valid, test = (_FoldIns(dataset.held_out_users.histories) for dataset in others)
    return sampler, valid, test
