"""Item embeddings to start training from, of which each item has the latent dimensions of its nearest items."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from recbole_sparse_elsa.core.gram_matrix import gram_blocks, weighted_interactions
from recbole_sparse_elsa.core.user_histories import UserHistories

# Of an item with as many users, half the squared norm is its own dimension's.
_PRIOR_USERS = 20


@torch.no_grad()
def cooccurrence_start(
    histories: UserHistories,
    embedding_size: int,
    nonzeros: int,
    on_progress: Callable[[float], object] = lambda share: None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Item embeddings made of how often items occur with others (method page, section 2, without its dense phase).

    The first steps of dense training move an item towards the users who have it, that is, towards the initial
    embeddings of the items with which it shares users. Here these initial embeddings are a latent dimension for each
    item (or for several, if there are fewer dimensions: the most popular items have one of their own). An item then
    has, at the dimension of another, the sum over their users of ``1 / n_items of the user``, divided by the square
    root of the other's number of users; it keeps the largest of these and its own dimension. Of an item with ``u``
    users the others have the squared norm ``u / (u + 20)``, so that items with few users have small cosines with all
    others. The cost follows the pairs of items that share users, and of the items x items matrix there is only a block
    of rows at a time.

    Parameters
    ----------
    histories : UserHistories
        The training interactions, on the CPU.
    embedding_size : int
        Width d of the item embeddings.
    nonzeros : int
        Most entries of an item, in [1, d].
    on_progress : callable
        Called now and then with the share of the work that has been done since it was called last.

    Returns
    -------
    column_indices : torch.Tensor
        int64, shape ``(n_items, nonzeros)``: the places of the entries, rising; -1, after all others of the row, where
        an item has fewer.
    values : torch.Tensor
        float32, same shape: their values, above 0, of L2 norm 1 in each row; 0 where there is no entry.
    """
    n_items, popularity = histories.n_items, histories.users_of_items()
    dimensions = popularity.argsort(descending=True, stable=True).argsort() % embedding_size
    by_popularity = popularity.clamp(min=1).rsqrt()
    places = torch.zeros(n_items, nonzeros - 1, dtype=torch.int64)
    values = torch.zeros(n_items, nonzeros - 1)
    for rows, block in gram_blocks(weighted_interactions(histories, length_exponent=-1)):
        at = torch.arange(len(rows))
        block *= by_popularity
        block[at, rows] = 0
        sums = block.new_zeros(len(rows), embedding_size).index_add_(1, dimensions, block)
        sums[at, dimensions[rows]] = 0
        largest = sums.topk(nonzeros - 1, dim=1)
        values[rows], places[rows] = largest.values, largest.indices
        on_progress(len(rows) / n_items)
    is_alone = values.sum(dim=1) == 0
    share = torch.where(is_alone, 0.0, popularity / (popularity + _PRIOR_USERS))
    values = torch.cat([F.normalize(values, dim=1) * share.sqrt()[:, None], (1 - share).sqrt()[:, None]], dim=1)
    columns = torch.cat([places, dimensions[:, None]], dim=1).where(values > 0, embedding_size)
    columns, order = columns.sort(dim=1)
    return columns.where(columns < embedding_size, -1), values.gather(1, order)
