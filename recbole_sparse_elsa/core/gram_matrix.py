"""The Gram matrix of the items, which counts the users that two items share, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from recbole_sparse_elsa.core.sparse_products import CsrMatrix
from recbole_sparse_elsa.core.user_histories import UserHistories

# Entries of a block of rows (64 MB).
_BLOCK_ENTRIES = 2**24


class WeightedInteractions(NamedTuple):
    """``D½X``: the interactions, times the square roots of the weights of their users.

    Attributes
    ----------
    by_items : CsrMatrix
        Items x users.
    by_users : torch.Tensor
        Sparse (COO), coalesced, users x items.
    popularity : torch.Tensor
        float32, shape ``(n_items,)``: the diagonal of the Gram matrix ``XᵀDX``.
    """

    by_items: CsrMatrix
    by_users: torch.Tensor
    popularity: torch.Tensor


def weighted_interactions(histories: UserHistories, length_exponent: float) -> WeightedInteractions:
    """The interactions, each user with a weight.

    Parameters
    ----------
    histories : UserHistories
        The training interactions, on the CPU.
    length_exponent : float
        Users weigh in proportion to this power of their number of items; the mean over the interactions is 1.
    """
    batch = histories.batch(torch.arange(histories.n_users))
    user_weights = batch.lengths.clamp(min=1).double() ** length_exponent
    weights = user_weights[batch.user_index]
    weights = (weights / weights.mean()).float()
    batch.input_value = weights.sqrt()
    popularity = torch.bincount(batch.item_index, weights, minlength=histories.n_items)
    return WeightedInteractions(batch.sparse_columns(), batch.sparse_tensor().coalesce(), popularity)


def gram_blocks(interactions: WeightedInteractions) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield blocks of rows of the Gram matrix ``XᵀDX``; the cost follows the pairs of items that share users.

    Yields
    ------
    rows : torch.Tensor
        int64, shape ``(n_rows,)``: their numbers.
    block : torch.Tensor
        float32, shape ``(n_rows, n_items)``.
    """
    by_items, by_users = interactions.by_items, interactions.by_users
    n_users, n_items = by_users.shape
    pointers = by_items.row_pointers.long()
    for rows in torch.arange(n_items).split(max(1, _BLOCK_ENTRIES // n_items)):
        of_rows = slice(int(pointers[rows[0]]), int(pointers[rows[-1] + 1]))
        places = torch.stack(
            [
                torch.repeat_interleave(pointers[rows[0] : rows[-1] + 2].diff()),
                by_items.column_indices[of_rows].long(),
            ]
        )
        # torch's product of two matrices by rows (CSR) would be as fast, but is not there on every machine.
        block = torch.sparse_coo_tensor(
            places, by_items.values[of_rows], (len(rows), n_users), check_invariants=False, is_coalesced=True
        )
        yield rows, torch.sparse.mm(block, by_users).to_dense()
