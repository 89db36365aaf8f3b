"""Random embeddings of which each item keeps the entries that the items with which it shares users agree on."""

from __future__ import annotations

import torch

from recbole_sparse_elsa.core.user_histories import UserHistories

# Latent dimensions are drawn in blocks of which no matrix takes more than 128 MB, but for very large catalogues.
_BLOCK_SIZE = 2**25


@torch.no_grad()
def neighbour_start(
    histories: UserHistories, embedding_size: int, nonzeros: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw random item embeddings and keep the entries of each item that its neighbours agree on.

    After dense training, a prune and a restart (method page, section 2) nothing is left of the trained weights but
    where the largest of them were. The first steps of that training move an item towards the users who have it, that
    is, towards the initial embeddings of the items with which it shares users. Hence the support is found here
    without training, as the places where the rows of ``XᵀXA`` have their largest magnitudes: ``A`` are the random
    embeddings, and ``X`` the interactions, each divided by the square roots of the number of items of its user and of
    the number of users of its item. The cost follows interactions x d, and no items x d matrix is made.

    Parameters
    ----------
    histories : UserHistories
        The training interactions.
    embedding_size : int
        Width d of the item embeddings.
    nonzeros : int
        Entries to keep of each item, in [1, d].

    Returns
    -------
    column_indices : torch.Tensor
        int64, shape ``(n_items, nonzeros)``: the places of the entries kept, rising within each row.
    values : torch.Tensor
        float32, same shape: their values in ``A``, which is Xavier-uniform.
    """
    n_items, device = histories.n_items, histories.item_indices.device
    batch = histories.batch(torch.arange(histories.n_users, device=device))
    popularity = torch.bincount(batch.item_index, minlength=n_items)
    batch.input_value = (batch.lengths[batch.user_index] * popularity[batch.item_index]).float().rsqrt()
    user_rows, item_rows = batch.sparse_rows(), batch.sparse_columns()
    bound = (6 / (n_items + embedding_size)) ** 0.5
    block_size = max(8, _BLOCK_SIZE // max(n_items, histories.n_users))
    sums, values = torch.empty(2, n_items, 0, device=device)
    columns = torch.empty(n_items, 0, dtype=torch.int64, device=device)
    for first in range(0, embedding_size, block_size):
        width = min(block_size, embedding_size - first)
        drawn = torch.empty(n_items, width, device=device).uniform_(-bound, bound)
        # The last part is for items without users, which keep the largest of their entries.
        drawn_sums = item_rows @ (user_rows @ drawn) + 1e-12 * drawn
        places = torch.arange(first, first + width, device=device).expand(n_items, -1)
        sums, values, columns = (
            torch.cat(pair, dim=1) for pair in ((sums, drawn_sums), (values, drawn), (columns, places))
        )
        largest = sums.abs().topk(min(nonzeros, sums.shape[1]), dim=1).indices
        sums, values, columns = (kept.gather(1, largest) for kept in (sums, values, columns))
    columns, order = columns.sort(dim=1)
    return columns, values.gather(1, order)
