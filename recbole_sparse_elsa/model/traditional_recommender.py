"""What the models have in common that learn from all interactions at once and score a user from a history."""

from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.errors import CheckpointError


class TraditionalRecommender(GeneralRecommender):
    """A model without gradients, of the kind that RecBole calls traditional.

    RecBole's own traditional models learn when they are made, and so once more when a checkpoint is read. These learn
    in their trainer, `WholeDataTrainer`, before which there is nothing to score with. A subclass has the methods
    ``learn(show_progress)`` and ``score(users)``, and names what is learnt, matrices with a row for each item or each
    user, in ``other_parameter_name``, which RecBole's checkpoints save.

    Parameters
    ----------
    config : recbole.config.Config
        RecBole's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Attributes
    ----------
    interactions : scipy.sparse.csr_matrix
        The training interactions, all that is learnt from: float32, 0 or 1, shape ``(n_users, n_items - 1)``, without
        the padding item. Repeated interactions count once.
    histories : scipy.sparse.csr_matrix
        The histories that users are scored from, alike; those of training unless `set_histories` gave others.
    """

    input_type = InputType.POINTWISE
    type = ModelType.TRADITIONAL

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        # RecBole's trainer makes an optimiser, and an optimiser needs a parameter.
        self.dummy_param = torch.nn.Parameter(torch.zeros(1))
        self.interactions = _binary_rows(dataset.inter_matrix(form="csr"))
        self.histories = self.interactions

    def set_histories(self, histories: csr_matrix) -> None:
        """Score users from other histories; what was or will be learnt stays the same.

        Parameters
        ----------
        histories : scipy.sparse.csr_matrix
            float32, 0 or 1, shape ``(n_users, n_items)``, RecBole's internal ids with the padding user and item.
        """
        self.histories = _binary_rows(histories)

    def predict(self, interaction: Interaction) -> torch.Tensor:
        """Scores of user-item pairs: float32, shape ``(n_pairs,)``; 0 for the padding item."""
        users, inverse = torch.unique(interaction[self.USER_ID], return_inverse=True)
        scores = self.full_sort_predict({self.USER_ID: users}).view(len(users), -1)
        return scores[inverse, interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction: Interaction | dict[str, torch.Tensor]) -> torch.Tensor:
        """Scores of all items for each user: float32, shape ``(n_users * n_items,)``; 0 for the padding item."""
        users = interaction[self.USER_ID].cpu().numpy()
        scores = np.zeros((len(users), self.n_items), dtype=np.float32)
        scores[:, 1:] = self.score(users)
        return torch.from_numpy(scores.reshape(-1)).to(self.device)

    def saved_bytes(self) -> int:
        """Bytes of what is learnt, or about as many as it is going to be."""
        learnt = [getattr(self, name) for name in self.other_parameter_name]
        return sum(array.nbytes for value in learnt for array in _arrays_of(value))

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """As in RecBole, but what is of another model or of other data is refused in one line (CheckpointError)."""
        if not isinstance(para, dict) or not set(self.other_parameter_name) <= set(para):
            raise CheckpointError(f"the checkpoint holds no {type(self).__name__}: it has no such parameters")
        for name in self.other_parameter_name:
            value = para[name]
            saved, expected = value.shape, getattr(self, name).shape
            if saved != expected:
                raise CheckpointError(
                    f"the checkpoint holds {name} of shape {saved}, but the data set and the options make it {expected}"
                    ": it was trained on other data or with other options"
                )
        super().load_other_parameter(para)


def _arrays_of(value):
    return (value.data, value.indices, value.indptr) if isinstance(value, csr_matrix) else (value,)


def _binary_rows(matrix):
    rows = csr_matrix(matrix)[:, 1:].astype(np.float32)
    rows.sum_duplicates()
    rows.data[:] = 1.0
    return rows
