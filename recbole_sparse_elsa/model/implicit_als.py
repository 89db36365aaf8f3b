"""ImplicitALS.

Reference:
    Hu et al. "Collaborative Filtering for Implicit Feedback Datasets." in ICDM 2008, as in the library implicit.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.traditional_recommender import TraditionalRecommender
from recbole_sparse_elsa.options import require_number, require_whole_number


class ImplicitALS(TraditionalRecommender):
    """Matrix factorisation by alternating least squares, through the library implicit (extra ``als``), on the CPU.

    Every user is scored by the factors that are solved for from their history, training users too, so that training
    users and new ones are treated alike.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``embedding_size``, ``reg_weight``, ``alpha`` and ``iterations``.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Attributes
    ----------
    item_factors : numpy.ndarray
        float32, shape ``(n_items - 1, embedding_size)``; 0 before training.
    """

    other_parameter_name = ["item_factors"]

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.solver_options = {
            "factors": config["embedding_size"],
            "regularization": config["reg_weight"],
            "alpha": config["alpha"],
            "iterations": config["iterations"],
            "random_state": config["seed"],
        }
        self.item_factors = np.zeros((self.interactions.shape[1], config["embedding_size"]), dtype=np.float32)

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed, and a missing library (OptionError), before any data are loaded."""
        require_whole_number("embedding_size", config["embedding_size"], at_least=1)
        require_number("reg_weight", config["reg_weight"], above=0)
        require_number("alpha", config["alpha"], above=0)
        require_whole_number("iterations", config["iterations"], at_least=1)
        if importlib.util.find_spec("implicit") is None:
            raise OptionError(
                'model is ImplicitALS, which needs the library implicit; run: pip install "recbole_sparse_elsa[als]"'
            )

    def learn(self, show_progress: bool = False) -> None:
        """Factorise the training interactions."""
        with _one_blas_thread():
            solver = self._solver()
            solver.fit(self.interactions, show_progress=show_progress)
        self.item_factors = solver.item_factors

    def score(self, users: np.ndarray) -> np.ndarray:
        """Scores of the users (int64, shape ``(n,)``): float32, shape ``(n, n_items - 1)``."""
        with _one_blas_thread():
            solver = self._solver()
            solver.item_factors = self.item_factors
            user_factors = solver.recalculate_user(users, self.histories[users])
        return user_factors @ self.item_factors.T

    def bytes_per_item(self) -> float:
        """Size of an item's factors in bytes, 4 a value, as `TopKEmbedding.bytes_per_item` counts it."""
        return 4.0 * self.item_factors.shape[1]

    def _solver(self):
        from implicit.cpu.als import AlternatingLeastSquares

        return AlternatingLeastSquares(num_threads=torch.get_num_threads(), **self.solver_options)


def _one_blas_thread():
    # implicit's own threads and those of BLAS would get in each other's way; it warns if there are such.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")
