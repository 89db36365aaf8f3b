"""Recommenders without gradients that do not do what they are said to."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.plugin.patching import names_in, replaces, source_of

# Pop


def _counts_batches(calculate_loss: Callable[..., Any]) -> bool:
    model = types.SimpleNamespace(ITEM_ID="item", item_cnt=torch.zeros(1, 1, dtype=torch.long), device="cpu")
    calculate_loss(model, {"item": torch.tensor([0, 0])})
    return model.item_cnt.item() > 0


@replaces(
    "recbole.model.general_recommender.pop.Pop.__init__",
    parameters="self config dataset",
    until="RecBole's Pop counts each interaction once",
    probe=lambda init: "inter_matrix" not in names_in(init),
    kind="repair",
)
def count_the_users_of_each_item(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let Pop count the training users of each item, from the training data.

    It counts an item once a batch, and the negatives that are sampled for it, too.
    """

    def init(self, config, dataset):
        original(self, config, dataset)
        counts = np.asarray(dataset.inter_matrix(form="csr").sum(axis=0)).ravel()
        self.item_cnt[:, 0] = torch.from_numpy(counts).to(self.item_cnt)
        self.max_cnt = torch.max(self.item_cnt, dim=0)[0]

    return init


@replaces(
    "recbole.model.general_recommender.pop.Pop.calculate_loss",
    parameters="self interaction",
    until="RecBole's Pop counts each interaction once",
    probe=_counts_batches,
    kind="repair",
)
def do_not_count_batches(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let Pop's counts, which are there before the training, stay as they are.

    It counts the items of each batch, and so popularity depends on ``train_batch_size``.
    """

    def calculate_loss(self, interaction):
        return torch.nn.Parameter(torch.zeros(1)).to(self.device)

    return calculate_loss


# Random


def _random_scores(seed: int, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """A float32 in [0, 1) for each user and item, which are broadcast; by the mixing function of splitmix64."""
    step, first, second = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
    mixed = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in (np.array([seed]), users, items):
            mixed = mixed + part.astype(np.uint64) + step
            mixed = (mixed ^ (mixed >> np.uint64(30))) * first
            mixed = (mixed ^ (mixed >> np.uint64(27))) * second
            mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _draws_at_each_call(function: Callable[..., Any]) -> bool:
    return "rand" in names_in(function)


@replaces(
    "recbole.model.general_recommender.random.Random.__init__",
    parameters="self config dataset",
    until="RecBole's Random has scores of its own for each user",
    probe=lambda init: "score_seed" not in source_of(init),
    kind="repair",
)
def remember_the_seed_of_random_scores(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let Random know the seed of the run.

    Its scores are made from it, so that each evaluation of a run gives the same ones.
    """

    def init(self, config, dataset):
        original(self, config, dataset)
        self.score_seed = config["seed"]

    return init


@replaces(
    "recbole.model.general_recommender.random.Random.predict",
    parameters="self interaction",
    until="RecBole's Random has scores of its own for each user",
    probe=_draws_at_each_call,
    kind="repair",
)
def score_pairs_at_random(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let Random score a pair the same in each evaluation, be it alone or among all items.

    It draws other numbers at each call.
    """

    def predict(self, interaction):
        users, items = (interaction[field].cpu().numpy() for field in (self.USER_ID, self.ITEM_ID))
        return torch.from_numpy(_random_scores(self.score_seed, users, items)).to(self.device)

    return predict


@replaces(
    "recbole.model.general_recommender.random.Random.full_sort_predict",
    parameters="self interaction",
    until="RecBole's Random has scores of its own for each user",
    probe=_draws_at_each_call,
    kind="repair",
)
def score_items_at_random_for_each_user(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let Random recommend other items to each user.

    It recommends the same ones to all users of a batch, so that its coverage and diversity depend on
    ``eval_batch_size``, and other ones in each evaluation.
    """

    def full_sort_predict(self, interaction):
        users = interaction[self.USER_ID].cpu().numpy()[:, None]
        scores = _random_scores(self.score_seed, users, np.arange(self.n_items))
        return torch.from_numpy(scores.ravel()).to(self.device)

    return full_sort_predict


# ADMMSLIM


@replaces(
    "recbole.model.general_recommender.admmslim.add_noise",
    parameters="t mag",
    until="RecBole's ADMMSLIM gives the same scores in each evaluation",
    probe=lambda add_noise: bool((add_noise(torch.zeros(3)) != 0).any()),
    kind="repair",
)
def add_no_noise(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let ADMMSLIM give its scores as they are.

    It adds noise up to 1e-5, which is drawn at each call: where weights are sparse it decides which items of equal
    score are recommended, and a second evaluation gives other figures.
    """

    def add_noise(t, mag=1e-5):
        return t

    return add_noise


# AsymKNN


@replaces(
    "recbole.model.general_recommender.asymknn.AsymKNN.__init__",
    parameters="self config dataset",
    until="RecBole's AsymKNN raises the similarities to q, and divides an item's score by the norm of its own weights",
    probe=lambda init: "neighbour_weights" not in source_of(init),
    kind="repair",
)
def weigh_asymmetric_neighbours(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let AsymKNN's options ``q`` and ``beta`` do what they are documented to do.

    It raises the finished scores to the power q, not the similarities, which changes no ranking; and of items with
    beta below 1 it divides by the norm of the weights that an item has for others, instead of those that score it.
    """

    def init(self, config, dataset):
        original(self, config, dataset)
        by_user = self.method == "user"
        if self.q == 1 and (by_user or self.beta == 1):
            return
        matrix, neighbour_weights = self.interaction_matrix, self.w.power(self.q)
        scores = (neighbour_weights @ matrix if by_user else matrix @ neighbour_weights).tocoo()
        weights = np.asarray(neighbour_weights.power(2).sum(axis=1 if by_user else 0)).ravel()
        counts = np.asarray(matrix.power(2).sum(axis=0 if by_user else 1)).ravel()
        users, items = (weights, counts) if by_user else (counts, weights)
        norms = users[scores.row] ** self.beta * items[scores.col] ** (1 - self.beta) + 1e-6
        self.pred_mat = csr_matrix((scores.data / norms, (scores.row, scores.col)), shape=scores.shape).tolil()

    return init
