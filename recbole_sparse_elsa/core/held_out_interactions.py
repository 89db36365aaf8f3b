"""A part of the training interactions held out, by which a model without epochs chooses between a few of its forms."""

from __future__ import annotations

import torch

from recbole_sparse_elsa.core.sparse_rows import pointers_of_counts
from recbole_sparse_elsa.core.topk_embedding import TopKEmbedding
from recbole_sparse_elsa.core.user_histories import UserHistories

# A choice between forms that differ by some per cent needs no more users, nor more of their items.
_MAX_USERS = 4000
_HIDDEN_SHARE = 0.1
_TOPK = 10
# Scores that are held at a time: 64 MB.
_BLOCK_ENTRIES = 2**24


def hold_out(histories: UserHistories, generator: torch.Generator) -> tuple[UserHistories, UserHistories]:
    """Hide a tenth of the items, at least one, of at most 4,000 users who have two or more.

    Parameters
    ----------
    histories : UserHistories
        The training interactions, on the CPU.
    generator : torch.Generator
        Draws users and items.

    Returns
    -------
    shown, hidden : UserHistories
        Of the same users and items.
    """
    lengths = histories.row_pointers.diff()
    long_enough = (lengths >= 2).nonzero().squeeze(1)
    chosen = long_enough[torch.randperm(len(long_enough), generator=generator)[:_MAX_USERS]]
    n_hidden = torch.zeros_like(lengths)
    n_hidden[chosen] = (_HIDDEN_SHARE * lengths[chosen]).round().long().clamp(min=1)
    user = torch.repeat_interleave(lengths)
    drawn = torch.rand(len(user), generator=generator, dtype=torch.float64)
    order = torch.argsort(user + drawn)  # by user, and in a drawn order within each
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - histories.row_pointers[user[order]]
    is_hidden = rank < n_hidden[user]
    return _part(histories, user, ~is_hidden), _part(histories, user, is_hidden)


def _part(histories, user, of):
    pointers = pointers_of_counts(torch.bincount(user[of], minlength=histories.n_users))
    return UserHistories(pointers, histories.item_indices[of], histories.n_items)


@torch.no_grad()
def hidden_ndcg(layer: TopKEmbedding, shown: UserHistories, hidden: UserHistories) -> float:
    """NDCG@10 of the hidden items among all that are not shown, on average over the users who have some.

    Parameters
    ----------
    layer : TopKEmbedding
        Scores users by the items shown.
    shown, hidden : UserHistories
        As `hold_out` returns them.
    """
    users = hidden.row_pointers.diff().nonzero().squeeze(1)
    topk = min(_TOPK, layer.n_items)
    discounts = torch.arange(2, topk + 2).double().log2().reciprocal()
    total = 0.0
    for block in users.split(max(1, _BLOCK_ENTRIES // layer.n_items)):
        seen, wanted = shown.batch(block), hidden.batch(block)
        scores = layer.predict(seen)
        scores[seen.user_index, seen.item_index] = -torch.inf
        is_wanted = wanted.rows().gather(1, scores.topk(topk, dim=1).indices)
        ideal = discounts.cumsum(0)[wanted.lengths.clamp(max=topk) - 1]
        total += ((is_wanted * discounts).sum(dim=1) / ideal).sum().item()
    return total / max(1, len(users))
