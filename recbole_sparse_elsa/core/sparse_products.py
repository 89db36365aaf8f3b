"""The products of a sparse item embedding matrix with a batch of users, and their gradient on its support alone.

Matrices of users are kept items x users or latent dimensions x users, so that one non-zero of the embeddings meets a
contiguous row of users.
"""

from __future__ import annotations

import warnings

import torch
from torch.nn.functional import embedding_bag

# What is used of torch's sparse tensors here is tested; that their interface may change is said once a run otherwise.
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)


class CsrMatrix:
    """A sparse matrix by rows (CSR), to be multiplied by dense ones.

    Parameters
    ----------
    row_pointers : torch.Tensor
        Integer, shape ``(n_rows + 1,)``.
    column_indices : torch.Tensor
        Integer, shape ``(n_nonzeros,)``, rising within each row.
    values : torch.Tensor
        Float, shape ``(n_nonzeros,)``.
    n_columns : int
        Number of columns.
    """

    def __init__(
        self, row_pointers: torch.Tensor, column_indices: torch.Tensor, values: torch.Tensor, n_columns: int
    ) -> None:
        self.row_pointers = row_pointers.int()
        self.column_indices = column_indices.int()
        self.values = values
        self.n_columns = n_columns

    def __matmul__(self, dense: torch.Tensor) -> torch.Tensor:
        """The product with a dense matrix of ``n_columns`` rows, in its dtype; not differentiable."""
        if dense.device.type != "cpu":
            # Not every GPU has the CSR product in half precision.
            return (self.tensor() @ dense.to(self.values.dtype)).to(dense.dtype)
        # A bag of rows, weighted and summed, is a row of the product: two to three times faster than the CSR product.
        return embedding_bag(
            self.column_indices,
            dense,
            self.row_pointers,
            mode="sum",
            per_sample_weights=self.values.to(dense.dtype),
            include_last_offset=True,
        )

    def tensor(self) -> torch.Tensor:
        """The matrix as a CSR tensor of torch."""
        # The parts are valid: they are not checked again, which would cost a pass over them at every product.
        return torch.sparse_csr_tensor(
            self.row_pointers,
            self.column_indices,
            self.values,
            size=(len(self.row_pointers) - 1, self.n_columns),
            check_invariants=False,
        )

    def to_dense(self) -> torch.Tensor:
        """The matrix with its zeros: float, shape ``(n_rows, n_columns)``."""
        return self.tensor().to_dense()


class Support:
    """The places of the non-zeros of an items x latent dimensions matrix, in CSR form and transposed.

    Rows may have different numbers of non-zeros.

    Parameters
    ----------
    row_pointers : torch.Tensor
        int32, shape ``(n_items + 1,)``.
    column_indices : torch.Tensor
        int32, shape ``(n_nonzeros,)``, rising within each row.
    embedding_size : int
        Number of latent dimensions (columns).
    """

    def __init__(self, row_pointers: torch.Tensor, column_indices: torch.Tensor, embedding_size: int) -> None:
        self.row_pointers = row_pointers
        self.column_indices = column_indices
        self.embedding_size = embedding_size
        self.row_of_entry = torch.repeat_interleave(row_pointers.diff().long())
        # Entries in the order of the transposed matrix: by column, and within a column by row.
        self._transposed_order = torch.argsort(column_indices, stable=True)
        counts = torch.bincount(column_indices, minlength=embedding_size)
        self._transposed_pointers = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
        self._transposed_indices = self.row_of_entry[self._transposed_order].int()

    @property
    def n_items(self) -> int:
        """Number of items (rows)."""
        return len(self.row_pointers) - 1

    def of_items(self, items: torch.Tensor) -> tuple[Support, torch.Tensor]:
        """The support of some rows only.

        Parameters
        ----------
        items : torch.Tensor
            int64, shape ``(n,)``: the rows, in the order wanted.

        Returns
        -------
        support : Support
            Theirs.
        entries : torch.Tensor
            int64: the places of its entries among the entries of this one.
        """
        counts = self.row_pointers.diff().long()[items]
        pointers = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        row_of_entry = torch.repeat_interleave(counts)
        place_in_row = torch.arange(len(row_of_entry), device=items.device) - pointers[row_of_entry]
        entries = self.row_pointers[items].long()[row_of_entry] + place_in_row
        return Support(pointers.int(), self.column_indices[entries], self.embedding_size), entries

    def matrix(self, values: torch.Tensor) -> CsrMatrix:
        """The items x latent dimensions matrix with these values (float32, ``(n_nonzeros,)``)."""
        return CsrMatrix(self.row_pointers, self.column_indices, values, self.embedding_size)

    def transposed_matrix(self, values: torch.Tensor) -> CsrMatrix:
        """The latent dimensions x items matrix with these values."""
        values = values[self._transposed_order]
        return CsrMatrix(self._transposed_pointers, self._transposed_indices, values, self.n_items)

    def sampled_product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """The entries of ``left @ right.T`` on the support: float32, shape ``(n_nonzeros,)``.

        Parameters
        ----------
        left, right : torch.Tensor
            float32, shapes ``(n_items, n_users)`` and ``(embedding_size, n_users)``.
        """
        pattern = self.matrix(left.new_zeros(len(self.column_indices))).tensor()
        return torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0).values()
