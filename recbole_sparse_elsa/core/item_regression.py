"""A regularised regression of every item on its neighbours, and sparse item embeddings that are made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from recbole_sparse_elsa.core.gram_matrix import gram_blocks, weighted_interactions
from recbole_sparse_elsa.core.nonzero_allocation import MIN_NONZEROS, allocate_nonzeros
from recbole_sparse_elsa.core.user_histories import UserHistories

#: Items that an item is regressed on: the systems to solve grow with its square.
N_CANDIDATES = 64
# Sweeps of coordinate descent over the candidates of an item. With 30 instead of 8, python run_recbole.py
# --model=SparseSLIM --valid_metric=NDCG@10 gets .2475 instead of .2444 on validation data of MovieLens-100k.
_SWEEPS = 8
# Entries of the systems that are solved at a time (512 MB).
_SYSTEM_ENTRIES = 2**27


class ItemRegression(NamedTuple):
    """Every item regressed on its nearest items; ``m`` is the number of candidates.

    Attributes
    ----------
    neighbours : torch.Tensor
        int64, shape ``(n_items, m)``: the candidates of each item.
    weights : torch.Tensor
        float32, same shape: what each candidate says for the item, at least 0.
    residuals : torch.Tensor
        float32, shape ``(n_items,)``: what the candidates leave unexplained, above 0.
    """

    neighbours: torch.Tensor
    weights: torch.Tensor
    residuals: torch.Tensor


@torch.no_grad()
def regress_items(
    histories: UserHistories,
    reg_weight: float,
    l1_weight: float,
    length_exponent: float,
    on_progress: Callable[[float], object] = lambda share: None,
) -> ItemRegression:
    """Regress every item on the items that share most users with it (method page, section 8).

    SLIM (Ning and Karypis, ICDM 2011) regresses each item on all others, with weights of at least 0 and an L1 and an L2
    penalty. Here an item ``j`` is regressed on those few items ``S`` alone that have the largest ``G_ij / sqrt(G_ii +
    λ)``, where ``G = XᵀDX`` counts shared users, who may weigh less the more items they have (``D``, of mean 1 over
    the interactions): the ``b`` of at least 0 that minimises ``b (G_SS + λ I) b / 2 - b (G_Sj - λ₁)``, with the
    residual ``r_j = G_jj + λ - G_jS b``. The cost follows the pairs of items that share users; of the items x items
    matrix ``G`` there is only a block of rows at a time.

    Parameters
    ----------
    histories : UserHistories
        The training interactions, on the CPU.
    reg_weight : float
        λ, above 0.
    l1_weight : float
        λ₁, at least 0: the users that an item has to share with another, beyond what others explain, to weigh on it.
    length_exponent : float
        Users weigh in proportion to this power of their number of items.
    on_progress : callable
        Called now and then with the share of the work that has been done since it was called last.
    """
    n_items = histories.n_items
    interactions = weighted_interactions(histories, length_exponent)
    popularity = interactions.popularity
    n_candidates = min(N_CANDIDATES, n_items)
    neighbours = torch.empty(n_items, n_candidates, dtype=torch.int64)
    targets = torch.empty(n_items, n_candidates)
    parts = torch.arange(n_items).split(max(1, _SYSTEM_ENTRIES // n_candidates**2))
    share = 1 / (2 + len(parts))  # a pass over the Gram matrix, one more for each part, and their solutions

    by_popularity = (popularity + reg_weight).rsqrt()
    for rows, block in gram_blocks(interactions):
        block[torch.arange(len(rows)), rows] = 0
        nearest = (block * by_popularity).topk(n_candidates, dim=1).indices
        neighbours[rows], targets[rows] = nearest, block.gather(1, nearest)
        on_progress(share * len(rows) / n_items)

    weights = torch.empty_like(targets)
    for items in parts:
        systems = _systems(interactions, neighbours[items], lambda done: on_progress(share * done))
        weights[items] = _nonnegative_solution(systems, targets[items], reg_weight, l1_weight)
        on_progress(share * len(items) / n_items)
    return ItemRegression(neighbours, weights, popularity + reg_weight - (targets * weights).sum(dim=1))


@torch.no_grad()
def embeddings_of_regression(
    regression: ItemRegression,
    k: int,
    own_weight: float,
    nonzero_shares: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Item embeddings with a latent dimension for each item, from a regression (method page, section 8).

    The embedding of ``j`` has ``b_i sqrt(r_i / r_j)``, of EASE (Steck, WWW 2019) the partial correlation of ``i`` and
    ``j``, at the dimension of ``i``, for the largest, and a constant at its own. So do items with few users, whose
    weights λ makes small, have small cosines with all others.

    Parameters
    ----------
    regression : ItemRegression
        Of the items.
    k : int
        Mean number of non-zeros of an item, at least 1.
    own_weight : float
        The constant, above 0: how much an item speaks for those that depend on the same items as itself.
    nonzero_shares : torch.Tensor
        Float, shape ``(n_items,)``: what the numbers of non-zeros are in proportion to, see `allocate_nonzeros`.

    Returns
    -------
    column_indices : torch.Tensor
        int64, shape ``(n_items, m)``: the places of the non-zeros, rising; -1, after all others of the row, where an
        item has fewer.
    values : torch.Tensor
        float32, same shape: their values, above 0, of L2 norm 1 in each row; 0 where there is no entry.
    """
    neighbours, weights, residuals = regression
    n_items, n_candidates = neighbours.shape
    correlations = weights * (residuals[neighbours] / residuals[:, None]).sqrt()
    values = torch.cat([torch.full((n_items, 1), own_weight), correlations], dim=1)
    columns = torch.cat([torch.arange(n_items)[:, None], neighbours], dim=1)
    values, order = values.sort(dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)
    nonzeros = allocate_nonzeros(k, nonzero_shares, MIN_NONZEROS, (values > 0).sum(dim=1))
    kept = (torch.arange(n_candidates + 1) < nonzeros[:, None]) & (values > 0)
    values = torch.nn.functional.normalize(values * kept, dim=1)
    columns, order = columns.where(kept, n_items).sort(dim=1, stable=True)
    return columns.where(columns < n_items, -1), values.gather(1, order)


def _systems(interactions, neighbours, on_progress):
    """The Gram matrices of the candidates of some items: float32, shape ``(m, n, m)``, the item second."""
    n, n_candidates = neighbours.shape
    systems = torch.empty(n_candidates, n, n_candidates)
    flat, of_place = systems.view(-1, n_candidates), neighbours.T.reshape(-1)
    order = of_place.argsort(stable=True)
    n_items = interactions.by_users.shape[1]
    of_rising_place = of_place[order]
    for rows, block in gram_blocks(interactions):
        first, last = torch.searchsorted(of_rising_place, torch.stack([rows[0], rows[-1] + 1]))
        for places in order[first:last].split(2**16):
            at = (of_place[places] - rows[0])[:, None] * n_items + neighbours[places % n]
            flat[places] = block.view(-1)[at]
        on_progress(len(rows) / n_items)
    return systems


def _nonnegative_solution(systems, targets, reg_weight, l1_weight):
    """The ``w`` of at least 0 that minimise ``w (G + λ I) w / 2 - w (targets - λ₁)``, by coordinate descent from 0.

    What shares no user with the item keeps the weight 0.

    Parameters
    ----------
    systems : torch.Tensor
        float32, shape ``(m, n, m)``: ``G`` of each of the ``n`` items.
    targets : torch.Tensor
        float32, shape ``(n, m)``.

    Returns
    -------
    torch.Tensor
        float32, shape ``(n, m)``.
    """
    weights = torch.zeros_like(targets)
    places = torch.arange(targets.shape[1])
    diagonal = systems[places, :, places]
    for _ in range(_SWEEPS):
        for place in places:
            others = torch.einsum("ij,ij->i", systems[place], weights) - diagonal[place] * weights[:, place]
            descent = targets[:, place] - l1_weight - others
            weights[:, place] = (descent / (diagonal[place] + reg_weight)).clamp(min=0) * (targets[:, place] > 0)
    return weights
