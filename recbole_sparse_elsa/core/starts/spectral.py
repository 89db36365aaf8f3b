"""Dense item embeddings to begin with: the leading singular vectors of the weighted interactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from recbole_sparse_elsa.core.user_histories import UserHistories
from recbole_sparse_elsa.errors import OptionError

# Of torch's randomised decomposition: directions beyond those that are kept, and passes over the interactions.
_MORE_DIRECTIONS = 10
_PASSES = 6


@torch.no_grad()
def spectral_start(histories: UserHistories, embedding_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Item embeddings from the singular value decomposition of interactions in which rare items weigh more.

    An interaction with an item that ``u_i`` of ``n`` users have counts ``log(n / u_i)``, the weights of noise
    contrastive estimation (Wu et al., "Noise Contrastive Estimation for One-Class Collaborative Filtering", SIGIR 2019,
    without its exponent). Of that matrix ``≈ U S Vᵀ`` the embeddings are the rows of ``V S^(1/2)``. Their norms say how
    much of an item the few dimensions hold: scores in proportion to a power of them rank better than cosines.

    Parameters
    ----------
    histories : UserHistories
        The training interactions.
    embedding_size : int
        Width d of the embeddings, at most the number of items and the number of users.

    Returns
    -------
    embeddings : torch.Tensor
        float32, shape ``(n_items, embedding_size)``, rows of norm 1, or 0 for items without a place in them: those
        without users and those that every user has.
    norms : torch.Tensor
        float32, shape ``(n_items,)``: the norms before.
    """
    device = histories.item_indices.device
    batch = histories.batch(torch.arange(histories.n_users, device=device))
    users_of_items = torch.bincount(batch.item_index, minlength=histories.n_items)
    n_users = torch.count_nonzero(batch.lengths)
    batch.input_value = (n_users / users_of_items).log()[batch.item_index]
    weighted = batch.sparse_tensor()
    n_directions = min(embedding_size + _MORE_DIRECTIONS, *weighted.shape)
    _, singular_values, directions = torch.svd_lowrank(weighted, n_directions, _PASSES)
    embeddings = (directions * singular_values.sqrt())[:, :embedding_size]
    norms = torch.linalg.vector_norm(embeddings, dim=1)
    is_found = norms > 1e-6 * norms.max()
    return torch.where(is_found[:, None], embeddings / norms[:, None], 0.0), torch.where(is_found, norms, 0.0)


def check_options(options: Mapping[str, Any]) -> None:
    """Raise OptionError unless training can start from the singular vectors: dense, and of a width that is given."""
    if options["embedding_size"] == "auto" or options["start_k"] not in ("auto", None):
        raise OptionError(
            f"start is spectral, but must be another one with embedding_size {options['embedding_size']} and start_k "
            f"{options['start_k']}: it needs an embedding_size in numbers, and start_k auto or none"
        )


def check_width(embedding_size: int, n_items: int, n_users: int) -> None:
    """Raise OptionError if there are fewer singular vectors than latent dimensions."""
    if embedding_size > min(n_items, n_users):
        raise OptionError(
            f"embedding_size is {embedding_size}, but must be at most the number of items, which is {n_items}, and of "
            f"users, which is {n_users}, where start is spectral"
        )
