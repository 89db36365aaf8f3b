"""What the models have in common whose dense item embeddings an autoencoder replaces by sparse codes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from recbole_sparse_elsa.core import SparseAutoencoder
from recbole_sparse_elsa.model.elsa import ELSA
from recbole_sparse_elsa.options import require_number, require_whole_number


class CodedEmbeddings(ELSA):
    """ELSA whose dense item embeddings can be replaced by codes of them (method page, section 5).

    Attributes
    ----------
    code_size : int or None
        Width of the codes; None if there are to be none.
    """

    code_size: int | None = None

    @staticmethod
    def check_autoencoder_options(config: Mapping[str, Any]) -> None:
        """Raise OptionError if an option of the autoencoder is not allowed."""
        for option in ("code_size", "autoencoder_epochs", "autoencoder_batch_size"):
            require_whole_number(option, config[option], at_least=1)
        require_number("autoencoder_learning_rate", config["autoencoder_learning_rate"], above=0)

    def create_autoencoder(self, generator: torch.Generator) -> SparseAutoencoder:
        """An autoencoder for the present item embeddings, with codes of ``code_size``, not yet fitted."""
        assert self.code_size is not None
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
        """As of ELSA, and the width of the codes if there are to be any."""
        return super().saved_widths() + ([] if self.code_size is None else [self.code_size])
