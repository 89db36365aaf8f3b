"""FineTunedELSASAE.

Reference:
    The baseline "ELSA + SAE" of Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in
    WWW 2026, whose codes are trained on here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_sparse_elsa.core import PruningSchedule, popularity_shares
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.coded_embeddings import CodedEmbeddings
from recbole_sparse_elsa.model.recipe import Recipe
from recbole_sparse_elsa.options import require_number, require_whole_number


class FineTunedELSASAE(CodedEmbeddings):
    """ELSASAE whose codes are trained on: dense ELSA, its item embeddings made sparse, then ELSA on their support.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``, ``code_size``, ``dense_epochs`` and ``popularity_exponent`` beside ELSA's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.nonzero_shares = popularity_shares(self.histories.users_of_items(), config["popularity_exponent"])

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        require_whole_number("dense_epochs", config["dense_epochs"], at_least=1)
        super().check_options(config)
        require_number("popularity_exponent", config["popularity_exponent"], at_least=0)
        k, code_size, width = config["k"], config["code_size"], config["embedding_size"]
        if k >= width:
            raise OptionError(f"k is {k}, but must be below embedding_size, which is {width}")
        if code_size < width:
            raise OptionError(f"code_size is {code_size}, but must be at least embedding_size, which is {width}")

    @classmethod
    def schedule_of(cls, config: Mapping[str, Any], recipe: Recipe) -> PruningSchedule:
        """All latent dimensions for ``dense_epochs``, then k non-zeros of the codes."""
        width = recipe.embedding_size
        return PruningSchedule.create("stepwise", width, config["k"], config["dense_epochs"], [width], None)

    def nonzeros_at(self, epoch: int) -> torch.Tensor:
        """As of ELSA; those of the codes are in proportion to a power of the item's popularity, of mean k."""
        return self.allocated(self.pruning_schedule.k_at(epoch), self.nonzero_shares)

    def recipe_in_words(self) -> str:
        """How the model is made."""
        return (
            f"dense item embeddings of width {self.embedding_size}, learnt by gradient in "
            f"{self.pruning_schedule.first_final_epoch} epochs; their codes of width {self.code_size} by a sparse "
            f"autoencoder, with {self.k} non-zeros per item on average, are trained on"
        )
