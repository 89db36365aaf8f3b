"""A latent dimension for each item, and the few others on which a regularised regression says that it depends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from recbole_sparse_elsa.core.pruning_schedule import SCHEDULES_FROM_START_K
from recbole_sparse_elsa.core.user_histories import UserHistories
from recbole_sparse_elsa.errors import OptionError

# Items are taken in blocks of which no matrix takes more than 128 MB, but for very large catalogues.
_BLOCK_SIZE = 2**25

# Items that an item is regressed on, unless it is to keep more: at 32 non-zeros, four times as many ranked no better.
_CANDIDATES = 64
# Sweeps of coordinate descent over the candidates of an item: with twice as many nothing ranked better.
_SWEEPS = 5
# What an item's own latent dimension weighs in its embedding, beside partial correlations with other items.
_OWN_WEIGHT = 0.15
# The L2 norm of a row at the start, of which an optimiser's steps turn the larger ones less.
_ROW_NORM = 30.0


@torch.no_grad()
def regression_start(
    histories: UserHistories, nonzeros: int, reg_weight: float, l1_weight: float, length_exponent: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Item embeddings with a latent dimension for each item, from a regression of every item on its neighbours.

    SLIM (Ning and Karypis, ICDM 2011) regresses each item on all others, with weights of at least 0 and an L1 and an L2
    penalty. Here an item ``j`` is regressed on those few items ``S`` alone that have the largest ``G_ij / sqrt(G_ii +
    λ)``, where ``G = XᵀDX`` counts shared users, who may weigh less the more items they have (``D``, of mean 1 over
    the interactions): the ``b`` of at least 0 that minimises ``b (G_SS + λ I) b / 2 - b (G_Sj - λ₁)``, with the
    residual ``r_j = G_jj + λ - G_jS b``. The cost follows the pairs of items that share users, and no items x items
    matrix is made. The embedding of ``j`` has ``b_i sqrt(r_i / r_j)``, of EASE (Steck, WWW 2019) the partial
    correlation of ``i`` and ``j``, at the dimension of ``i``, for the largest, and a constant at its own. So do items
    with few users, whose weights λ makes small, have small cosines with all others.

    Rows are long, so that the steps of an optimiser turn them little: where histories are short, training as from a
    random start would soon have learnt chance.

    Parameters
    ----------
    histories : UserHistories
        The training interactions.
    nonzeros : int
        Most entries of an item, in [1, n_items].
    reg_weight : float
        λ, above 0.
    l1_weight : float
        λ₁, at least 0: the users that an item has to share with another, beyond what others explain, to weigh on it.
    length_exponent : float
        Users weigh in proportion to this power of their number of items.

    Returns
    -------
    column_indices : torch.Tensor
        int64, shape ``(n_items, nonzeros)``: the places of the entries; -1, after all others of the row, where an item
        has fewer.
    values : torch.Tensor
        float32, same shape: their values, above 0; 0 where there is no entry.
    """
    n_items, device = histories.n_items, histories.item_indices.device
    batch = histories.batch(torch.arange(histories.n_users, device=device))
    user_weights = batch.lengths.clamp(min=1).double() ** length_exponent
    interaction_weights = user_weights[batch.user_index]
    interaction_weights = (interaction_weights / interaction_weights.mean()).float()
    batch.input_value = interaction_weights.sqrt()
    interactions = batch.sparse_tensor()
    gram = torch.sparse.mm(interactions.t(), interactions).coalesce()
    (rows, columns), counts = gram.indices(), gram.values()
    keys = rows * n_items + columns  # which rise: the count of a pair is found by bisection
    first_of_row = torch.searchsorted(rows, torch.arange(n_items + 1, device=device))
    popularity = torch.bincount(batch.item_index, interaction_weights, minlength=n_items)
    n_candidates = min(max(_CANDIDATES, nonzeros - 1), n_items)

    def counts_of(pairs):
        at = torch.searchsorted(keys, pairs).clamp(max=len(keys) - 1)
        return torch.where(keys[at] == pairs, counts[at], 0.0)

    residuals = popularity + reg_weight
    neighbours = torch.zeros(n_items, n_candidates, dtype=torch.int64, device=device)
    weights = torch.zeros(n_items, n_candidates, device=device)
    block_size = max(1, _BLOCK_SIZE // (n_items + 2 * n_candidates**2))
    for items in torch.arange(n_items, device=device).split(block_size):
        of_block = slice(first_of_row[items[0]], first_of_row[items[-1] + 1])
        shared = torch.zeros(len(items), n_items, device=device)
        shared[rows[of_block] - items[0], columns[of_block]] = counts[of_block]
        shared[items - items[0], items] = 0
        candidates = (shared * (popularity + reg_weight).rsqrt()).topk(n_candidates, dim=1).indices
        targets = shared.gather(1, candidates)
        system = counts_of(candidates[:, :, None] * n_items + candidates[:, None, :])
        system.diagonal(dim1=1, dim2=2).add_(reg_weight)
        # What shares no user with the item is no candidate: it gets the weight 0, and weighs on no other.
        is_candidate = (targets > 0).float()
        system *= is_candidate[:, :, None] * is_candidate[:, None, :]
        system.diagonal(dim1=1, dim2=2).add_(1 - is_candidate)
        solution = _nonnegative_solution(system, targets - l1_weight * is_candidate)
        residuals[items] -= (targets * solution).sum(dim=1)
        neighbours[items], weights[items] = candidates, solution

    correlations = weights * (residuals[neighbours] / residuals[:, None]).sqrt()
    kept, order = correlations.topk(nonzeros - 1, dim=1)
    own = torch.arange(n_items, device=device)[:, None]
    values = torch.cat([torch.full_like(kept[:, :1], _OWN_WEIGHT), kept], dim=1)
    values = _ROW_NORM * torch.nn.functional.normalize(values, dim=1)
    column_indices = torch.cat([own, neighbours.gather(1, order)], dim=1)
    column_indices, order = column_indices.where(values > 0, n_items).sort(dim=1)
    return column_indices.where(column_indices < n_items, -1), values.gather(1, order)


def check_options(options: Mapping[str, Any]) -> None:
    """Raise OptionError unless training can start from the regression: sparse, with a schedule that allows it."""
    if options["start_k"] is None or options["pruning_schedule"] not in SCHEDULES_FROM_START_K:
        raise OptionError(
            f"start is regression, but must be auto or neighbours with start_k {options['start_k']} and "
            f"pruning_schedule {options['pruning_schedule']}: it needs a start_k, or auto, and one of "
            f"{', '.join(SCHEDULES_FROM_START_K)}"
        )


def check_width(embedding_size: int, n_items: int, n_users: int) -> None:
    """Raise OptionError unless there is a latent dimension for each item."""
    if embedding_size != n_items:
        raise OptionError(
            f"embedding_size is {embedding_size}, but must be auto, or the number of items, which is {n_items}, where "
            "start is regression"
        )


def auto_k(k: int) -> int:
    """What start_k auto stands for with this start: popular items need room to end with more than k non-zeros."""
    return 2 * k


def _nonnegative_solution(system, targets):
    """The ``w`` of at least 0 that minimise ``w system w / 2 - targets w``, by coordinate descent.

    It starts from the solution that may be negative, with 0 where it is.

    Parameters
    ----------
    system : torch.Tensor
        float32, shape ``(n_rows, m, m)``: symmetric, positive definite.
    targets : torch.Tensor
        float32, shape ``(n_rows, m)``.

    Returns
    -------
    torch.Tensor
        float32, shape ``(n_rows, m)``.
    """
    weights = torch.linalg.solve(system, targets).clamp(min=0)
    curvatures = system.diagonal(dim1=1, dim2=2)
    for _ in range(_SWEEPS):
        for place in range(targets.shape[1]):
            descent = targets[:, place] - torch.einsum("ij,ij->i", system[:, place], weights)
            weights[:, place] = (weights[:, place] + descent / curvatures[:, place]).clamp(min=0)
    return weights
