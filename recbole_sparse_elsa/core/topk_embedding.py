"""The top-k embedding layer: item embeddings of which only the largest entries of each row are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from recbole_sparse_elsa.core.item_size import bytes_per_item
from recbole_sparse_elsa.core.nmse_loss import dense_nmse_loss, sparse_nmse_loss
from recbole_sparse_elsa.core.sparse_products import Support
from recbole_sparse_elsa.core.sparse_rows import SparseRows, pointers_of_counts
from recbole_sparse_elsa.core.user_histories import UserBatch
from recbole_sparse_elsa.value_types import VALUE_TYPES, in_steps

# A block of predictions of this many float32 (4 MB) stays in the cache between the passes over it.
_BLOCK_SIZE = 2**20

#: What was done to the weight, to be done to tensors of its former shape.
Select = Callable[[torch.Tensor], torch.Tensor]


class TopKEmbedding(nn.Module):
    """Item embeddings with a bounded number of non-zeros in each row (method page, section 2; WWW 2026, section 3).

    The layer starts dense, unless it is given a sparse start. `prune` keeps the entries of largest magnitude in each
    row, the row's support; gradient reaches only the support, so supports are nested as the number of non-zeros
    shrinks. Every product uses the rows scaled to L2 norm 1.

    How the support is stored is the layer's own affair. In the dense form, ``weight`` is the whole matrix, with a
    mask once it is pruned; after `compress`, the compact form, it is only the non-zeros, so that gradients, the
    optimiser's state and the cost of a step shrink with them; `expand` is the way back. Users of the layer go through
    its methods, which are the same for both. Rows may differ in their number of non-zeros.

    Parameters
    ----------
    n_items : int
        Number of items (rows).
    embedding_size : int
        Width d of the embeddings (columns, latent dimensions).
    value_dtype : {"float32", "float16", "int8", "int4"}
        To which the entries of the scaled rows are rounded when users are scored, as they are when the embeddings are
        stored in this type; int8 and int4 are multiples of 1/127 and 1/7 of the row's largest, scaled to norm 1 again.
        Training is in float32.
    item_scale : torch.Tensor, optional
        float16, shape ``(n_items,)``, above 0: by which the predictions of each item are multiplied. By default they
        are left as they are.
    scales_input : bool
        Whether an item that is in the input is divided by its scale.
    start : tuple of torch.Tensor, optional
        Places and values of the non-zeros at the start, as `cooccurrence_start` and `embeddings_of_regression` return
        them: the layer is then in its compact form from the beginning. By default it is dense and Xavier-uniform.

    Attributes
    ----------
    weight : torch.nn.Parameter
        float32, Xavier-uniform at first. Dense form: ``(n_items, embedding_size)``, 0 where pruned. Compact form:
        ``(n_nonzeros,)``, row by row. A new Parameter whenever its shape changes.
    support : torch.Tensor or None
        Dense form: bool, ``(n_items, embedding_size)``, the entries kept; None while all are.
    row_pointers, column_indices : torch.Tensor or None
        Compact form: int32, the places of the non-zeros (CSR).
    item_scale : torch.Tensor or None
        float16, shape ``(n_items,)``; None if predictions are not scaled.
    initial_weight : torch.Tensor or None
        The values to which a restart returns, in the form of ``weight``; None unless `keep_initial_weight` was called.
    """

    weight: nn.Parameter
    shape: torch.Tensor
    support: torch.Tensor | None
    # Tensors, or None in the dense form; `is_compact` says which.
    row_pointers: Any
    column_indices: Any
    item_scale: torch.Tensor | None
    initial_weight: torch.Tensor | None

    def __init__(
        self,
        n_items: int,
        embedding_size: int,
        value_dtype: str = "float32",
        start: tuple[torch.Tensor, torch.Tensor] | None = None,
        item_scale: torch.Tensor | None = None,
        scales_input: bool = False,
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.embedding_size = embedding_size
        self.value_dtype = value_dtype
        # The compact weight does not tell the shape of the matrix, and a saved state should.
        self.register_buffer("shape", torch.tensor([n_items, embedding_size]))
        for name in _CHANGING_BUFFERS:
            self.register_buffer(name, None)
        self.item_scale = item_scale
        self.scales_input = scales_input
        self._compact_support: Support | None = None
        if start is None:
            self.weight = nn.Parameter(torch.empty(n_items, embedding_size))
            nn.init.xavier_uniform_(self.weight)
        else:
            column_indices, values = start
            present = column_indices >= 0
            self.weight = nn.Parameter(values[present])
            self._set_places(present.sum(dim=1), column_indices[present].int())

    @property
    def is_compact(self) -> bool:
        """Whether only the non-zeros are stored."""
        return self.row_pointers is not None

    @property
    def is_whole(self) -> bool:
        """Whether no entry of any row is pruned."""
        return bool((self.nonzeros() == self.embedding_size).all())

    def forward(self) -> torch.Tensor:
        """The item embeddings as a dense matrix: float32, shape ``(n_items, embedding_size)``, rows of norm 1."""
        if self.is_compact:
            return self._places().matrix(_unit_values(self.weight, self._places())).to_dense()
        return F.normalize(self.weight if self.support is None else self.weight * self.support, dim=1)

    def nmse_loss(
        self, batch: UserBatch, max_output: int | None = None, noise_variance: float = 0.0
    ) -> torch.Tensor:
        """Mean NMSE loss of predicting a batch of users from their input; see `nmse_loss_and_gradient_`.

        Parameters
        ----------
        batch : UserBatch
            The users, each with at least one interaction.
        max_output : int, optional
            Number of items over which the loss is taken, drawn again for each batch; all items by default.
        noise_variance : float
            Of noise in the input, see `InputNoise`; 0 for none.

        Returns
        -------
        torch.Tensor
            Scalar float32.
        """
        batch = self._scaled(batch)
        items = item_weights = None
        if max_output is not None and max_output < self.n_items:
            items, item_weights, batch = batch.sample_items(max_output)
        item_scale = None if self.item_scale is None else self.item_scale.float()
        if item_scale is not None and items is not None:
            item_scale = item_scale[items]
        if not self.is_compact:
            rows = slice(None) if items is None else items
            support = None if self.support is None else self.support[rows]
            return dense_nmse_loss(self.weight[rows], support, batch, item_weights, item_scale, noise_variance)
        weight, places = self.weight, self._places()
        if items is not None:
            places, entries = places.of_items(items)
            weight = weight[entries]
        values = _unit_values(weight, places)
        users_per_block = _users_per_block(batch)
        return sparse_nmse_loss(values, places, batch, users_per_block, item_weights, item_scale, noise_variance)

    @torch.no_grad()
    def predict(self, batch: UserBatch) -> torch.Tensor:
        """The predicted users ``relu(X̃ Â Âᵀ - X̃)``, each item's times its scale; ``X̃`` is the input, scaled or not.

        Parameters
        ----------
        batch : UserBatch
            The users.

        Returns
        -------
        torch.Tensor
            float32, shape ``(n_users, n_items)``; not differentiable.
        """
        batch = self._scaled(batch)
        predictions = self._reconstruct(batch)
        predictions[batch.user_index, batch.item_index] -= batch.input_value
        predictions.relu_()
        return predictions if self.item_scale is None else predictions.mul_(self.item_scale)

    @torch.no_grad()
    def reconstruct(self, batch: UserBatch) -> torch.Tensor:
        """The reconstructed users ``X̃ Â Âᵀ``: float32, shape ``(n_users, n_items)``; not differentiable."""
        return self._reconstruct(self._scaled(batch))

    def _reconstruct(self, batch):
        if self.is_compact:
            places = self._places()
            values = self._scoring_values(places)
            matrix, transposed = places.matrix(values), places.transposed_matrix(values)
            blocks = batch.split(_users_per_block(batch))
            return torch.cat([(matrix @ (transposed @ block.columns())).T for block in blocks])
        item_embeddings = self._scoring_rows()
        return (batch.sparse_rows() @ item_embeddings) @ item_embeddings.T

    @torch.no_grad()
    def encode(self, batch: UserBatch) -> torch.Tensor:
        """The user vectors ``X̃ Â``: float32, shape ``(n_users, embedding_size)``; not differentiable."""
        batch = self._scaled(batch)
        if self.is_compact:
            places = self._places()
            return (places.transposed_matrix(self._scoring_values(places)) @ batch.columns()).T
        return batch.sparse_rows() @ self._scoring_rows()

    def prune(self, nonzeros: int | torch.Tensor, restart: bool = False) -> Select:
        """Keep only the entries of largest magnitude in each row.

        Parameters
        ----------
        nonzeros : int or torch.Tensor
            Number of entries to keep, of every row or (int64, shape ``(n_items,)``) of each; at least 1, and at most
            what the row has now: a pruned entry does not come back.
        restart : bool
            Put the kept entries back to their initial values; needs `keep_initial_weight`.

        Returns
        -------
        callable
            Does to a tensor of the old weight's shape (an optimiser's moments) what was done to the weight: sets to 0,
            or leaves out, what belongs to pruned entries.

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
        if self.is_compact:
            kept = self._largest_of_compact(nonzeros)
            rows = self._places().row_of_entry[kept]
            self._set_places(torch.bincount(rows, minlength=self.n_items), self.column_indices[kept])
            return self._change_weight(lambda tensor: tensor[kept], restart)
        if (nonzeros < present).any():
            self.support = self._largest_of_dense(nonzeros)
        support = self.support
        return self._change_weight(lambda tensor: tensor if support is None else tensor * support, restart)

    @torch.no_grad()
    def replace_rows(self, rows: torch.Tensor) -> None:
        """Replace the item embeddings of the dense form by others, of any width.

        Parameters
        ----------
        rows : torch.Tensor
            float32, shape ``(n_items, embedding_size)``, of which the second becomes the layer's.

        Raises
        ------
        RuntimeError
            The layer is pruned or compact, or remembers initial values, which would not fit any more.
        """
        if self.is_compact or not self.is_whole or self.initial_weight is not None:
            raise RuntimeError("only a dense layer that was not pruned and has no initial values can get other rows")
        self.support = None
        self.embedding_size = rows.shape[1]
        self.shape[1] = self.embedding_size
        self._change_weight(lambda tensor: rows, restart=False)

    def compress(self) -> Select:
        """Change from the dense form to the compact one; embeddings stay the same.

        Returns
        -------
        callable
            As of `prune`.
        """
        support = torch.ones_like(self.weight, dtype=torch.bool) if self.support is None else self.support
        rows, columns = support.nonzero(as_tuple=True)
        self._set_places(torch.bincount(rows, minlength=self.n_items), columns.int())
        self.support = None
        return self._change_weight(lambda tensor: tensor[rows, columns], restart=False)

    def expand(self) -> Select:
        """Change from the compact form to the dense one; embeddings stay the same.

        Returns
        -------
        callable
            As of `prune`.
        """
        rows, columns = self._places().row_of_entry, self.column_indices.long()

        def select(tensor):
            return tensor.new_zeros(self.n_items, self.embedding_size).index_put_((rows, columns), tensor)

        self.support = select(torch.ones_like(columns, dtype=torch.bool))
        self.row_pointers = self.column_indices = self._compact_support = None
        return self._change_weight(select, restart=False)

    def to_csr(self) -> SparseRows:
        """The item embeddings as their non-zeros, rows of any norm; without gradients, on the layer's device.

        In the compact form these are all entries of the support, also one that happens to be 0.
        """
        return csr_of_state(self.state_dict())

    def load_csr(self, rows: SparseRows) -> None:
        """Replace the item embeddings by others, of any width, in the compact form; items keep their scales.

        Parameters
        ----------
        rows : SparseRows
            Of shape ``(n_items, embedding_size)``, of which the second becomes the layer's; the tensors are copied.

        Raises
        ------
        ValueError
            There are more rows than items, or fewer.
        """
        if rows.shape[0] != self.n_items:
            raise ValueError(f"the layer has {self.n_items} items, but there are {rows.shape[0]} rows")
        state = {
            "shape": torch.tensor(rows.shape),
            "weight": rows.values.float(),
            "row_pointers": rows.row_pointers.int(),
            "column_indices": rows.columns.int(),
        }
        if self.item_scale is not None:
            state["item_scale"] = self.item_scale
        self.load_state_dict(state)

    def keep_initial_weight(self) -> None:
        """Remember the present values, so that `prune` can restart from them (lottery-ticket style)."""
        self.initial_weight = self.weight.detach().clone()

    def forget_initial_weight(self) -> None:
        """Free the remembered values once no prune will restart any more."""
        self.initial_weight = None

    def nonzeros(self) -> torch.Tensor:
        """Number of entries kept of each item: int64, shape ``(n_items,)``."""
        if self.is_compact:
            return self.row_pointers.diff().long()
        if self.support is None:
            return torch.full((self.n_items,), self.embedding_size, device=self.weight.device)
        # Summed in float32, which is exact up to 2 ** 24 and six times faster on a CPU.
        return self.support.sum(dim=1, dtype=torch.float32).long()

    def bytes_per_item(self) -> float:
        """Mean size of an item embedding in bytes; see `recbole_sparse_elsa.core.bytes_per_item`."""
        has_scale = self.item_scale is not None
        return bytes_per_item(self.nonzeros(), self.embedding_size, self.value_dtype, has_scale)

    def _scaled(self, batch):
        if not self.scales_input or self.item_scale is None:
            return batch
        return batch.divide_input(self.item_scale.float())

    def _scoring_values(self, places):
        """Compact form: the entries of the scaled rows, rounded."""
        values = _unit_values(self.weight, places)
        steps = VALUE_TYPES[self.value_dtype].steps
        if steps is not None:
            largest = values.new_zeros(places.n_items).scatter_reduce_(0, places.row_of_entry, values.abs(), "amax")
            return _unit_values(in_steps(values, largest[places.row_of_entry], steps), places)
        return values.half().float() if self.value_dtype == "float16" else values

    def _scoring_rows(self):
        """Dense form: the scaled rows, rounded."""
        rows = self()
        steps = VALUE_TYPES[self.value_dtype].steps
        if steps is not None:
            return F.normalize(in_steps(rows, rows.abs().amax(dim=1, keepdim=True), steps), dim=1)
        return rows.half().float() if self.value_dtype == "float16" else rows

    def _places(self):
        # Made again only when the support changes; not part of the state, since the CSR buffers determine it.
        if self._compact_support is None:
            self._compact_support = Support(self.row_pointers, self.column_indices, self.embedding_size)
        return self._compact_support

    def _set_places(self, nonzeros, column_indices):
        self.row_pointers = pointers_of_counts(nonzeros)
        self.column_indices = column_indices
        self._compact_support = None

    @torch.no_grad()
    def _change_weight(self, select, restart):
        if self.initial_weight is not None:
            self.initial_weight = select(self.initial_weight)
        values = self.initial_weight.clone() if restart else select(self.weight.detach())
        if values.shape == self.weight.shape:
            self.weight.copy_(values)
        else:
            self.weight = nn.Parameter(values)
        return select

    def _largest_of_dense(self, nonzeros):
        magnitude = self.weight.detach().abs()
        if self.support is not None:
            magnitude.masked_fill_(~self.support, -1.0)
        k = int(nonzeros.max())
        largest = magnitude.topk(k, dim=1, sorted=bool((nonzeros < k).any())).indices
        kept = torch.arange(largest.shape[1], device=largest.device) < nonzeros[:, None]
        return torch.zeros_like(magnitude, dtype=torch.bool).scatter_(1, largest, kept)

    def _largest_of_compact(self, nonzeros):
        row_of_entry = self._places().row_of_entry
        # The bits of a float that is not negative rise with its value: one sort, by row and by falling magnitude.
        falling = -self.weight.detach().abs().view(torch.int32).long()
        by_row = torch.argsort((row_of_entry << 32) + falling, stable=True)
        rank_in_row = torch.arange(len(by_row), device=by_row.device) - self.row_pointers[row_of_entry]
        is_kept = torch.zeros_like(by_row, dtype=torch.bool)
        is_kept[by_row[rank_in_row < nonzeros[row_of_entry]]] = True
        return is_kept.nonzero().squeeze(1)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # The form, and which buffers there are, changes during training: they follow the saved state, not this module.
        for name in _CHANGING_BUFFERS:
            saved = state_dict.get(prefix + name)
            setattr(self, name, None if saved is None else torch.empty_like(saved, device=self.weight.device))
        # An optimiser made before keeps the old Parameter if this one is new; see PruningTrainer.resume_checkpoint.
        saved = state_dict.get(prefix + "weight")
        if saved is not None and saved.shape != self.weight.shape:
            self.weight = nn.Parameter(torch.empty_like(saved, device=self.weight.device))
        self._compact_support = None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.embedding_size = int(self.shape[1])


def csr_of_state(state: Mapping[str, torch.Tensor], prefix: str = "") -> SparseRows:
    """The item embeddings in a saved state of a `TopKEmbedding`, of whichever form; see `TopKEmbedding.to_csr`.

    Parameters
    ----------
    state : mapping
        What ``state_dict`` returned, of the layer or of a model that holds it.
    prefix : str
        Of the layer's entries in ``state``, for instance ``"item_embedding."``.

    Returns
    -------
    SparseRows
        In float32; the tensors may be those of ``state``.

    Raises
    ------
    KeyError
        There is no such layer in ``state``: names the entry that is missing.
    """
    n_items, embedding_size = state[f"{prefix}shape"].tolist()
    weight = state[f"{prefix}weight"].detach().float()
    row_pointers, support = state.get(f"{prefix}row_pointers"), state.get(f"{prefix}support")
    if row_pointers is not None:
        return SparseRows(weight, state[f"{prefix}column_indices"], row_pointers, (n_items, embedding_size))
    return SparseRows.of_dense(weight if support is None else weight * support)


def is_unpruned_state(state: Mapping[str, torch.Tensor], prefix: str = "") -> bool:
    """Whether a saved state, as of `csr_of_state`, is of a dense layer of which nothing was pruned yet."""
    return f"{prefix}row_pointers" not in state and f"{prefix}support" not in state


_CHANGING_BUFFERS = ("support", "row_pointers", "column_indices", "initial_weight", "item_scale")


def _users_per_block(batch):
    on_cpu = batch.item_index.device.type == "cpu"
    return max(64, _BLOCK_SIZE // batch.n_items) if on_cpu else batch.n_users


def _unit_values(weight, places):
    """The values of rows of norm 1."""
    squares = weight.new_zeros(places.n_items).index_add(0, places.row_of_entry, weight.square())
    return weight / squares.sqrt().clamp(min=1e-12)[places.row_of_entry]
