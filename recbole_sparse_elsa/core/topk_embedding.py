"""The top-k embedding layer: item embeddings of which only the largest entries of each row are kept."""

import torch
from torch import nn
from torch.nn import functional as F


class TopKEmbedding(nn.Module):
    """Item embeddings with a bounded number of non-zeros in each row (method page, section 2; WWW 2026, section 3).

    The layer starts dense. `prune` keeps the entries of largest magnitude in each row, the row's support; gradient
    reaches only the support, so supports are nested as the number of non-zeros shrinks. Every product uses the rows
    scaled to L2 norm 1.

    How the support is stored is the layer's own affair: a dense matrix with a mask. Users of the layer go through
    `reconstruct`, `encode`, `rows` and `prune`, and rows may differ in their number of non-zeros.

    Parameters
    ----------
    n_items : int
        Number of items (rows).
    embedding_size : int
        Width d of the embeddings (columns, latent dimensions).

    Attributes
    ----------
    weight : torch.nn.Parameter
        float32, shape ``(n_items, embedding_size)``, Xavier-uniform at first. `prune` sets what it
        removes to 0; the gradient there is 0 from then on.
    support : torch.Tensor or None
        bool, same shape: the entries kept; None while all are.
    initial_weight : torch.Tensor or None
        The values to which a restart returns; None unless `keep_initial_weight` was called.
    """

    def __init__(self, n_items: int, embedding_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_items, embedding_size))
        nn.init.xavier_uniform_(self.weight)
        self.register_buffer("support", None)
        self.register_buffer("initial_weight", None)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.weight.shape[0]

    @property
    def embedding_size(self) -> int:
        """Width d of the embeddings."""
        return self.weight.shape[1]

    def forward(self) -> torch.Tensor:
        """The item embeddings as a dense matrix: float32, shape ``(n_items, embedding_size)``, rows of norm 1."""
        weight = self.weight if self.support is None else self.weight * self.support
        return F.normalize(weight, dim=1)

    def reconstruct(self, user_rows: torch.Tensor) -> torch.Tensor:
        """Users in, users out: ``X Â Âᵀ``, from and to float of shape ``(n_users, n_items)``."""
        item_embeddings = self()
        return user_rows @ item_embeddings @ item_embeddings.T

    def encode(self, user_rows: torch.Tensor) -> torch.Tensor:
        """The user vectors ``X Â``: from ``(n_users, n_items)`` to ``(n_users, embedding_size)``."""
        return user_rows @ self()

    def rows(self, items: torch.Tensor) -> torch.Tensor:
        """The embeddings of some items, rows of norm 1: from int64 ``(n,)`` to float32 ``(n, embedding_size)``."""
        weight = self.weight[items] if self.support is None else self.weight[items] * self.support[items]
        return F.normalize(weight, dim=1)

    def keep_initial_weight(self) -> None:
        """Remember the present values, so that `prune` can restart from them (lottery-ticket style)."""
        self.initial_weight = self.weight.detach().clone()

    def forget_initial_weight(self) -> None:
        """Free the remembered values once no prune will restart any more."""
        self.initial_weight = None

    @torch.no_grad()
    def prune(self, nonzeros, restart: bool = False) -> None:
        """Keep only the entries of largest magnitude in each row.

        Parameters
        ----------
        nonzeros : int or torch.Tensor
            Number of entries to keep, of every row or (int64, shape ``(n_items,)``) of each; at least 1, and at most
            what the row has now: a pruned entry does not come back.
        restart : bool
            Put the kept entries back to their initial values; needs `keep_initial_weight`.

        Raises
        ------
        ValueError
            A row would keep no entry, or more than it has.
        RuntimeError
            A restart without remembered initial values.
        """
        if restart and self.initial_weight is None:
            raise RuntimeError("a restart needs the initial values: call keep_initial_weight() before training")
        present = self.nonzeros()
        nonzeros = torch.as_tensor(nonzeros, device=self.weight.device).expand(self.n_items)
        if (nonzeros < 1).any() or (nonzeros > present).any():
            raise ValueError(
                f"a row can keep between 1 and its present number of non-zeros, {int(present.min())} at the least; "
                f"asked were {int(nonzeros.min())} to {int(nonzeros.max())}"
            )
        if (nonzeros < present).any():
            self.support = self._largest_entries(nonzeros)
        if restart:
            # In place: optimisers and distributed wrappers hold this very parameter.
            self.weight.copy_(self.initial_weight)
        if self.support is not None:
            self.weight.mul_(self.support)

    def _largest_entries(self, nonzeros):
        magnitude = self.weight.abs()
        if self.support is not None:
            magnitude.masked_fill_(~self.support, -1.0)
        largest = magnitude.topk(int(nonzeros.max()), dim=1).indices
        kept = torch.arange(largest.shape[1], device=largest.device) < nonzeros[:, None]
        return torch.zeros_like(magnitude, dtype=torch.bool).scatter_(1, largest, kept)

    def nonzeros(self) -> torch.Tensor:
        """Number of entries kept of each item: int64, shape ``(n_items,)``."""
        if self.support is None:
            return torch.full((self.n_items,), self.embedding_size, device=self.weight.device)
        return self.support.sum(dim=1)

    def bytes_per_item(self) -> float:
        """Mean size of an item embedding in bytes: 4 a value, and 4 more for its column index once rows are pruned.

        This is how the paper counts vector sizes (method page, section 3); row pointers are left out.
        """
        if self.support is None:
            return 4.0 * self.embedding_size
        return 8.0 * self.nonzeros().double().mean().item()

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # Both buffers come and go during training, so their presence follows the saved state, not this module's.
        for name in ("support", "initial_weight"):
            saved = state_dict.get(prefix + name)
            setattr(self, name, None if saved is None else torch.empty_like(saved, device=self.weight.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
