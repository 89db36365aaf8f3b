"""UserKNN.

Reference:
    Herlocker et al. "An Algorithmic Framework for Performing Collaborative Filtering." in SIGIR 1999.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.data.dataset import Dataset
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.traditional_recommender import TraditionalRecommender
from recbole_sparse_elsa.options import require_whole_number

# Similarities that are held at a time.
_BLOCK_SIZE = 2**23


class UserKNN(TraditionalRecommender):
    """User k-nearest neighbours: an item's score is the sum of the similarities of the neighbours who have it.

    The similarity is the cosine of the user's history and a training user's interactions. Any history can be scored,
    which RecBole's ItemKNN with ``knn_method: user`` cannot do: it knows training users only. A training user is not
    their own neighbour. Of users who are equally similar, any may be chosen, but always the same.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Raises
    ------
    OptionError
        ``k`` is more than the number of users.
    """

    # There is nothing to learn: the neighbours' interactions are the model.
    other_parameter_name = ["interactions"]

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.k = config["k"]
        if self.k > self.n_users - 1:
            raise OptionError(f"k is {self.k}, but must be at most the number of users, which is {self.n_users - 1}")

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed (OptionError), before any data are loaded."""
        require_whole_number("k", config["k"], at_least=1)

    def learn(self, show_progress: bool = False) -> None:
        """Nothing: all work is done when a user is scored."""

    def score(self, users: np.ndarray) -> np.ndarray:
        """Scores of the users (int64, shape ``(n,)``): float32, shape ``(n, n_items - 1)``."""
        lengths = np.diff(self.interactions.indptr)
        inverse_norm = 1 / np.sqrt(np.maximum(lengths, 1, dtype=np.float32))
        users_of_items = self.interactions.T.tocsr()
        users_per_block = max(1, _BLOCK_SIZE // self.n_users)
        scores = np.empty((len(users), self.interactions.shape[1]), dtype=np.float32)
        for start in range(0, len(users), users_per_block):
            block = slice(start, start + users_per_block)
            similarities = self._similarities(users[block], users_of_items, inverse_norm)
            scores[block] = (self._nearest(similarities) @ self.interactions).toarray()
        return scores

    def _similarities(self, users, users_of_items, inverse_norm):
        histories = self.histories[users]
        similarities = (histories @ users_of_items).toarray()
        similarities *= inverse_norm
        similarities /= np.sqrt(np.maximum(np.diff(histories.indptr), 1, dtype=np.float32))[:, None]
        similarities[np.arange(len(users)), users] = 0.0
        return similarities

    def _nearest(self, similarities):
        """All but the k largest of each row left out."""
        n_left_out = similarities.shape[1] - self.k
        nearest = np.argpartition(similarities, n_left_out, axis=1)[:, n_left_out:]
        values = np.take_along_axis(similarities, nearest, axis=1)
        pointers = np.arange(len(similarities) + 1) * self.k
        return csr_matrix((values.reshape(-1), nearest.reshape(-1), pointers), shape=similarities.shape)
