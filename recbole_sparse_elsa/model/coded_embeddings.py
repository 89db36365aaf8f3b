"""What the models have in common whose dense item embeddings an autoencoder replaces by sparse codes."""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch.nn import functional as F

from recbole_sparse_elsa.core import SparseAutoencoder
from recbole_sparse_elsa.model.elsa import ELSA
from recbole_sparse_elsa.options import require_number, require_whole_number


class CodedEmbeddings(ELSA):
    """ELSA whose dense item embeddings are replaced by codes of them at some time (method page, section 5).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k`` and ``code_size`` beside ELSA's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Attributes
    ----------
    k : int
        Non-zeros of a code.
    code_size : int
        Width of the codes.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.k: int = config["k"]
        self.code_size: int = config["code_size"]

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        for option in ("k", "code_size", "autoencoder_epochs", "autoencoder_batch_size"):
            require_whole_number(option, config[option], at_least=1)
        require_number("autoencoder_learning_rate", config["autoencoder_learning_rate"], above=0)
        super().check_options(config)

    def create_autoencoder(self, generator: torch.Generator) -> SparseAutoencoder:
        """An autoencoder for the present item embeddings, with codes of ``code_size``, not yet fitted."""
        return SparseAutoencoder(self.item_embedding.embedding_size, self.code_size, generator).to(self.device)

    @torch.no_grad()
    def replace_item_embeddings(self, autoencoder: SparseAutoencoder, nonzeros: int | torch.Tensor) -> None:
        """Replace the dense item embeddings by their codes.

        Parameters
        ----------
        autoencoder : SparseAutoencoder
            A fitted one.
        nonzeros : int or torch.Tensor
            Number of non-zeros of every code, or (int64, shape ``(n_items - 1,)``) of each; in [1, code_size].
        """
        layer = self.item_embedding
        # Rows keep their norms: by them an optimiser's steps are large or small.
        norms = layer.weight.norm(dim=1, keepdim=True)
        layer.replace_rows(F.normalize(autoencoder.encode(layer(), nonzeros), dim=1) * norms)

    def saved_widths(self) -> list[int]:
        """As of ELSA, and the width of the codes."""
        return [*super().saved_widths(), self.code_size]
