"""The interactions of each user, kept sparse and turned dense one batch at a time."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from recbole_sparse_elsa.core.sparse_products import CsrMatrix


@dataclass
class UserBatch:
    """A batch of users with their interactions, still sparse.

    Attributes
    ----------
    user_index : torch.Tensor
        int64, shape ``(n_interactions,)``: the place in the batch of each interaction's user, rising.
    item_index : torch.Tensor
        int64, same shape: the item of each interaction.
    input_value : torch.Tensor
        float32, same shape: what the model sees of each interaction, 0 where it was dropped from the input.
    lengths : torch.Tensor
        int64, shape ``(n_users,)``: number of interactions of each user.
    n_items : int
        Number of items.
    weights : torch.Tensor, optional
        float32, shape ``(n_users,)``: how much the loss of each user counts; by default all count as much.
    """

    user_index: torch.Tensor
    item_index: torch.Tensor
    input_value: torch.Tensor
    lengths: torch.Tensor
    n_items: int
    weights: torch.Tensor | None = None

    @property
    def n_users(self) -> int:
        """Number of users in the batch."""
        return len(self.lengths)

    def rows(self) -> torch.Tensor:
        """The input as dense rows: float32, shape ``(n_users, n_items)``."""
        rows = torch.zeros(self.n_users, self.n_items, device=self.item_index.device)
        rows[self.user_index, self.item_index] = self.input_value
        return rows

    def columns(self) -> torch.Tensor:
        """The input as dense columns: float32, shape ``(n_items, n_users)``."""
        columns = torch.zeros(self.n_items, self.n_users, device=self.item_index.device)
        columns[self.item_index, self.user_index] = self.input_value
        return columns

    def sparse_rows(self) -> CsrMatrix:
        """The input as a sparse matrix, users x items."""
        pointers = torch.cat([self.lengths.new_zeros(1), self.lengths.cumsum(0)])
        return CsrMatrix(pointers, self.item_index, self.input_value, self.n_items)

    def sparse_columns(self) -> CsrMatrix:
        """The input, transposed, as a sparse matrix, items x users."""
        order = torch.argsort(self.item_index, stable=True)
        counts = torch.bincount(self.item_index, minlength=self.n_items)
        pointers = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return CsrMatrix(pointers, self.user_index[order], self.input_value[order], self.n_users)

    def sparse_tensor(self) -> torch.Tensor:
        """The input as torch's own sparse matrix (COO), users x items, for what a CsrMatrix does not offer."""
        places = torch.stack([self.user_index, self.item_index])
        return torch.sparse_coo_tensor(places, self.input_value, (self.n_users, self.n_items), check_invariants=False)

    def drop_input(self, input_dropout: float) -> UserBatch:
        """This batch with a part of its input dropped, drawn again each time; the targets stay whole.

        Parameters
        ----------
        input_dropout : float
            Probability, in [0, 1), with which an interaction is dropped from the input; those that stay are divided by
            ``1 - input_dropout``.
        """
        return dataclasses.replace(self, input_value=torch.nn.functional.dropout(self.input_value, input_dropout))

    def divide_input(self, item_scale: torch.Tensor) -> UserBatch:
        """This batch with its input divided by the scale (float32, shape ``(n_items,)``) of each item."""
        return dataclasses.replace(self, input_value=self.input_value / item_scale[self.item_index])

    def sample_items(self, max_output: int) -> tuple[torch.Tensor, torch.Tensor, UserBatch]:
        """Draw the items over which the loss of this batch is taken (method page, section 1, large catalogues).

        All items of the batch are among them; the rest is drawn uniformly, without replacement, from the other items.

        Parameters
        ----------
        max_output : int
            Number of items; raised, with a warning, to the number of items in the batch if that is more.

        Returns
        -------
        items : torch.Tensor
            int64, shape ``(n_drawn_items,)``: the items.
        item_weights : torch.Tensor
            float32, same shape: how many items each one stands for, 1 for those of the batch.
        batch : UserBatch
            This batch with ``items`` as its catalogue.
        """
        batch_items, item_index = torch.unique(self.item_index, return_inverse=True)
        n_drawn = max_output - len(batch_items)
        if n_drawn < 0:
            # The same words for every batch, so that Python shows them once.
            warnings.warn(
                f"max_output is {max_output}, but batches have more items than that: it is raised to the items of each "
                "batch; a smaller train_batch_size has fewer",
                stacklevel=2,
            )
            n_drawn = 0
        is_other = torch.ones(self.n_items, dtype=torch.bool, device=batch_items.device)
        is_other[batch_items] = False
        others = is_other.nonzero().squeeze(1)
        drawn = others[torch.randperm(len(others), device=others.device)[:n_drawn]]
        items = torch.cat([batch_items, drawn])
        item_weights = torch.ones(len(items), device=items.device)
        item_weights[len(batch_items) :] = len(others) / max(n_drawn, 1)
        return items, item_weights, dataclasses.replace(self, item_index=item_index, n_items=len(items))

    def split(self, n_users: int) -> Iterator[UserBatch]:
        """Yield batches of at most ``n_users`` users that together are this one."""
        for first in range(0, self.n_users, n_users):
            lengths = self.lengths[first : first + n_users]
            start = int(self.lengths[:first].sum())
            part = slice(start, start + int(lengths.sum()))
            yield UserBatch(
                self.user_index[part] - first,
                self.item_index[part],
                self.input_value[part],
                lengths,
                self.n_items,
                None if self.weights is None else self.weights[first : first + n_users],
            )


class UserHistories:
    """The users x items matrix of the training interactions in compressed sparse row (CSR) form.

    It takes 4 bytes an interaction and 8 a user, where a matrix of users by longest history takes 12 bytes for every
    place of the longest history: about 100 MB against 12 GB for MovieLens-20M.

    Parameters
    ----------
    row_pointers : torch.Tensor
        int64, shape ``(n_users + 1,)``: user ``u``'s interactions stand at ``row_pointers[u]:row_pointers[u + 1]``.
    item_indices : torch.Tensor
        Integer, shape ``(n_interactions,)``: the items of the users, each in ``[0, n_items)``, once a user.
    n_items : int
        Number of items.
    """

    def __init__(self, row_pointers: torch.Tensor, item_indices: torch.Tensor, n_items: int) -> None:
        self.row_pointers = row_pointers.long()
        self.item_indices = item_indices.int()
        self.n_items = n_items

    def to(self, device: torch.device | str) -> UserHistories:
        """The same histories on another device."""
        return UserHistories(self.row_pointers.to(device), self.item_indices.to(device), self.n_items)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.row_pointers) - 1

    def users_of_items(self) -> torch.Tensor:
        """Number of users who have each item: int64, shape ``(n_items,)``."""
        return torch.bincount(self.item_indices, minlength=self.n_items)

    def lengths(self, users: torch.Tensor) -> torch.Tensor:
        """Number of interactions of each of the users: int64, same shape as ``users``."""
        return self.row_pointers[users + 1] - self.row_pointers[users]

    def batch(self, users: torch.Tensor) -> UserBatch:
        """The interactions of a batch of users (int64, shape ``(n_batch_users,)``), who may occur more than once."""
        lengths = self.lengths(users)
        user_index = torch.repeat_interleave(lengths)
        first = lengths.cumsum(0) - lengths
        place_in_row = torch.arange(len(user_index), device=users.device) - first[user_index]
        item_index = self.item_indices[self.row_pointers[users][user_index] + place_in_row].long()
        input_value = torch.ones(len(item_index), device=users.device)
        return UserBatch(user_index, item_index, input_value, lengths, self.n_items)
