"""PrunedEASE.

Reference:
    Steck. "Embarrassingly Shallow Autoencoders for Sparse Data." in WWW 2019; pruned as the baseline of
    Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in WWW 2026.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.data.dataset import Dataset
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csr_matrix

from recbole_sparse_elsa import output
from recbole_sparse_elsa.core import bytes_per_item, embedding_size_report
from recbole_sparse_elsa.errors import OptionError, TrainingError
from recbole_sparse_elsa.machine.memory import available_memory
from recbole_sparse_elsa.model.traditional_recommender import TraditionalRecommender
from recbole_sparse_elsa.options import require_number, require_whole_number

# Entries of the dense matrix that are worked on at a time, beside the matrix itself.
_BLOCK_SIZE = 2**22
# A block, its magnitudes and places (pruning), or the sparse product that it is made from.
_BYTES_PER_BLOCK_ENTRY = 32
# A weight that is kept: by row its place and value. By matrix it is chosen among all, with its place in the matrix
# (int64), and then sorted into rows.
_BYTES_PER_WEIGHT = {"row": 8, "matrix": 52}


class PrunedEASE(TraditionalRecommender):
    """EASE of whose item-item weights only those of largest magnitude are kept, k an item (method page, section 5).

    The paper keeps k of every row. With ``prune_by`` matrix, which ranks better at small sizes, they are the largest of
    the whole matrix, so that rows have k on average.

    The scores of a user are ``x B``, so row ``i`` of ``B`` is what is stored for item ``i``: how it speaks for and
    against all the others. The weights are solved for in one dense items x items matrix, by Cholesky decomposition and
    in place, and kept sparse from then on.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``reg_weight``, ``k``, ``prune_by`` and ``solver_dtype``.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Attributes
    ----------
    item_weights : scipy.sparse.csr_matrix
        ``B``: float32, shape ``(n_items - 1, n_items - 1)``, at most k non-zeros in a row, or on average; empty before
        training.

    Raises
    ------
    OptionError
        ``k`` is more than the number of items.
    """

    other_parameter_name = ["item_weights"]

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.reg_weight = config["reg_weight"]
        self.k = config["k"]
        self.prune_by = config["prune_by"]
        self.solver_dtype = np.dtype(config["solver_dtype"])
        n_items = self.interactions.shape[1]
        if self.k > n_items:
            raise OptionError(f"k is {self.k}, but must be at most the number of items, which is {n_items}")
        self.item_weights = csr_matrix((n_items, n_items), dtype=np.float32)

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed (OptionError), before any data are loaded."""
        require_number("reg_weight", config["reg_weight"], above=0)
        require_whole_number("k", config["k"], at_least=1)
        if config["prune_by"] not in ("row", "matrix"):
            raise OptionError(f"prune_by is {config['prune_by']!r}, but must be row or matrix")
        if config["solver_dtype"] not in ("float32", "float64"):
            raise OptionError(f"solver_dtype is {config['solver_dtype']!r}, but must be float32 or float64")

    def learn(self, show_progress: bool = False) -> None:
        """Solve for the weights and prune them.

        Raises
        ------
        TrainingError
            The memory that is needed is not available, or the matrix cannot be decomposed in this precision.
        """
        self._require_memory()
        matrix = _regularised_gram_matrix(self.interactions, self.reg_weight, self.solver_dtype, show_progress)
        with output.progress(f"Invert {len(matrix)} x {len(matrix)}", shown=show_progress):
            _invert_in_place(matrix, self.reg_weight)
        prune = _pruned_by_row if self.prune_by == "row" else _pruned_by_matrix
        self.item_weights = prune(matrix, self.k, show_progress)
        report = embedding_size_report(self._nonzeros_per_item(), self.item_weights.shape)
        logging.getLogger().info(f"item embeddings: {report}")

    def score(self, users: np.ndarray) -> np.ndarray:
        """Scores ``x B`` of the users (int64, shape ``(n,)``): float32, shape ``(n, n_items - 1)``."""
        return (self.histories[users] @ self.item_weights).toarray()

    def bytes_per_item(self) -> float:
        """Mean size of a row of the weights in bytes; see `recbole_sparse_elsa.core.bytes_per_item`."""
        return bytes_per_item(self._nonzeros_per_item(), self.item_weights.shape[1])

    def saved_bytes(self) -> int:
        """Bytes of k weights an item, as they are saved."""
        n_items = self.interactions.shape[1]
        return 8 * min(self.k, n_items) * n_items

    def _nonzeros_per_item(self):
        n_items = self.item_weights.shape[0]
        # With nothing pruned this is EASE's dense matrix, whose diagonal of zeros is stored too.
        return n_items if self.k >= n_items - 1 else self.item_weights.nnz / n_items

    def _require_memory(self):
        """Log the memory that learning will take; raise TrainingError if it is not there."""
        n_items = self.interactions.shape[1]
        matrix = n_items**2 * self.solver_dtype.itemsize
        weights = n_items * min(self.k, n_items) * _BYTES_PER_WEIGHT[self.prune_by]
        blocks = max(_BLOCK_SIZE, n_items) * _BYTES_PER_BLOCK_ENTRY
        needed, available = matrix + weights + blocks, available_memory()
        message = (
            f"{needed / 2**30:.2f} GiB: {matrix / 2**30:.2f} for a dense {n_items} x {n_items} matrix of "
            f"{self.solver_dtype}, {weights / 2**30:.2f} to choose {self.k} weights of each item, "
            f"{blocks / 2**30:.2f} to work in; {available / 2**30:.2f} GiB are available"
        )
        if needed > available:
            raise TrainingError(f"PrunedEASE does not fit into memory; it needs {message}")
        logging.getLogger().info(f"PrunedEASE takes {message}")


def _blocks(n_items, description, show_progress):
    rows = max(1, _BLOCK_SIZE // n_items)
    with output.progress(description, n_items, "item", show_progress) as bar:
        for start in range(0, n_items, rows):
            block = slice(start, min(start + rows, n_items))
            yield block
            bar.update(block.stop - block.start)


def _regularised_gram_matrix(interactions, reg_weight, dtype, show_progress):
    """``XᵀX + λI`` as a dense C-ordered matrix: at no time is there a second one, dense or sparse."""
    interactions = interactions.astype(dtype)
    transposed = interactions.T.tocsr()
    n_items = interactions.shape[1]
    matrix = np.empty((n_items, n_items), dtype=dtype)
    for rows in _blocks(n_items, "Count", show_progress):
        (transposed[rows] @ interactions).toarray(out=matrix[rows])
    matrix[np.diag_indices(n_items)] += dtype.type(reg_weight)
    return matrix


def _invert_in_place(matrix, reg_weight):
    """Overwrite the upper triangle of a symmetric positive definite matrix by that of its inverse."""
    # To LAPACK, which stores by column, the upper triangle is the lower one; in this order nothing is copied.
    decompose, invert = get_lapack_funcs(("potrf", "potri"), (matrix,))
    factor, failed_at = decompose(matrix.T, lower=1, clean=0, overwrite_a=1)
    if failed_at == 0:
        _, failed_at = invert(factor, lower=1, overwrite_c=1)
    if failed_at != 0:
        raise TrainingError(
            f"PrunedEASE cannot be solved with reg_weight {reg_weight} in {matrix.dtype}: use a larger reg_weight, or "
            "solver_dtype float64"
        )


def _weights_by_blocks(inverse, description, show_progress):
    """Blocks of rows of ``B = I - P / diag(P)``, given the upper triangle of P; the diagonal is 0."""
    n_items = len(inverse)
    diagonal = np.diag(inverse).copy()
    for rows in _blocks(n_items, description, show_progress):
        weights = np.empty((rows.stop - rows.start, n_items), dtype=inverse.dtype)
        weights[:, : rows.start] = inverse[: rows.start, rows].T
        weights[:, rows.start :] = inverse[rows, rows.start :]
        own = weights[:, rows]  # here the lower triangle was not written by LAPACK
        own[:] = np.triu(own) + np.triu(own, 1).T
        weights /= -diagonal
        weights[np.arange(len(weights)), np.arange(rows.start, rows.stop)] = 0.0  # an item never speaks for itself
        yield rows, weights


def _pruned_by_row(inverse, k, show_progress):
    """The k weights of largest magnitude of each row."""
    n_items = len(inverse)
    k = min(k, n_items - 1)
    columns = np.empty((n_items, k), dtype=np.int32)
    values = np.empty((n_items, k), dtype=np.float32)
    for rows, weights in _weights_by_blocks(inverse, "Prune", show_progress):
        magnitude = np.abs(weights)
        kept = np.sort(np.argpartition(magnitude, n_items - k, axis=1)[:, n_items - k :], axis=1)
        columns[rows], values[rows] = kept, np.take_along_axis(weights, kept, axis=1)
    pruned = csr_matrix((values.reshape(-1), columns.reshape(-1), np.arange(n_items + 1) * k), shape=(n_items, n_items))
    pruned.eliminate_zeros()
    return pruned


def _pruned_by_matrix(inverse, k, show_progress):
    """The k n_items weights of largest magnitude of the matrix; which of equal ones is left open."""
    n_items = len(inverse)
    n_kept = min(k, n_items - 1) * n_items
    places = np.empty(0, dtype=np.int64)
    values = np.empty(0, dtype=np.float32)
    for rows, weights in _weights_by_blocks(inverse, "Prune", show_progress):
        flat = weights.reshape(-1).astype(np.float32)
        places = np.concatenate([places, np.arange(len(flat)) + rows.start * n_items])
        values = np.concatenate([values, flat])
        if len(values) > n_kept:
            kept = np.sort(np.argpartition(-np.abs(values), n_kept - 1)[:n_kept])
            places, values = places[kept], values[kept]
    row_of_place, columns = np.divmod(places, n_items)
    pruned = csr_matrix((values, (row_of_place, columns)), shape=(n_items, n_items))
    pruned.eliminate_zeros()
    return pruned
