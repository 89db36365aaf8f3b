"""ELSASAE.

Reference:
    The baseline "ELSA + SAE" of Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in
    WWW 2026.
"""

from collections.abc import Mapping
from typing import Any

import torch

from recbole_sparse_elsa.core import SparseAutoencoder
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.coded_embeddings import CodedEmbeddings


class ELSASAE(CodedEmbeddings):
    """Dense ELSA whose finished item embeddings are made sparse by an autoencoder (method page, section 5).

    Until `AutoencoderTrainer` has fitted the autoencoder this is ELSA. From then on its item embeddings are the codes,
    of k non-zeros and scaled to norm 1, and users are scored by them just as by Sparse ELSA's embeddings: neither the
    dense embeddings nor the decoder are needed, stored or counted. Scores from decoded codes come closer to those of
    the dense ELSA, but need dense vectors again.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k`` and ``code_size`` beside ELSA's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.
    """

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        super().check_options(config)
        if config["k"] > config["code_size"]:
            raise OptionError(
                f"k is {config['k']}, but must lie in [1, code_size], and code_size is {config['code_size']}"
            )

    def recipe_in_words(self) -> str:
        """As of ELSA, and the codes."""
        return (
            f"{super().recipe_in_words()}; then their codes of width {self.code_size} by a sparse autoencoder, with "
            f"{self.k} non-zeros per item"
        )

    def replace_item_embeddings(self, autoencoder: SparseAutoencoder, nonzeros: int | torch.Tensor) -> None:
        """As of CodedEmbeddings; from now on only the non-zeros are stored."""
        super().replace_item_embeddings(autoencoder, nonzeros)
        self.item_embedding.prune(nonzeros)
        self.item_embedding.compress()
