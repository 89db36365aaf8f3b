"""Item embeddings as their non-zeros, row by row: the form in which they leave the layer and come back to it."""

from __future__ import annotations

from typing import NamedTuple

import torch


class SparseRows(NamedTuple):
    """A matrix in compressed sparse rows (CSR); its parts are those of scipy.sparse.csr_matrix.

    Attributes
    ----------
    values : torch.Tensor
        float32, shape ``(n_nonzeros,)``: the non-zeros, row by row.
    columns : torch.Tensor
        int32, same shape: their columns, rising within each row.
    row_pointers : torch.Tensor
        int32, shape ``(n_rows + 1,)``: where each row begins, and the end of the last.
    shape : tuple of int
        Numbers of rows and columns.
    """

    values: torch.Tensor
    columns: torch.Tensor
    row_pointers: torch.Tensor
    shape: tuple[int, int]

    @classmethod
    def of_dense(cls, matrix: torch.Tensor) -> SparseRows:
        """The entries of a dense matrix (float32, two dimensions) that are not 0."""
        rows, columns = matrix.nonzero(as_tuple=True)
        pointers = pointers_of_counts(torch.bincount(rows, minlength=matrix.shape[0]))
        return cls(matrix[rows, columns], columns.int(), pointers, (matrix.shape[0], matrix.shape[1]))


def pointers_of_counts(counts: torch.Tensor) -> torch.Tensor:
    """Row pointers (int32, shape ``(n_rows + 1,)``) of rows with so many entries (int64, shape ``(n_rows,)``)."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
