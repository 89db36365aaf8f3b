"""ELSASAE.

Reference:
    The baseline "ELSA + SAE" of Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in
    WWW 2026.
"""

import torch

from recbole_sparse_elsa.core import SparseAutoencoder, TopKEmbedding
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.elsa import ELSA
from recbole_sparse_elsa.options import require_number, require_whole_number


class ELSASAE(ELSA):
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

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.k = config["k"]
        self.code_size = config["code_size"]
        self.embedding_size = config["embedding_size"]

    @classmethod
    def check_options(cls, config) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        super().check_options(config)
        for option in ("k", "code_size", "autoencoder_epochs", "autoencoder_batch_size"):
            require_whole_number(config, option, at_least=1)
        require_number(config, "autoencoder_learning_rate", above=0)
        if config["k"] > config["code_size"]:
            raise OptionError(
                f"k is {config['k']}, but must lie in [1, code_size], and code_size is {config['code_size']}"
            )

    def create_autoencoder(self, generator: torch.Generator) -> SparseAutoencoder:
        """An autoencoder for the present item embeddings, not yet fitted."""
        return SparseAutoencoder(self.item_embedding.embedding_size, self.code_size, generator).to(self.device)

    @torch.no_grad()
    def replace_item_embeddings(self, autoencoder: SparseAutoencoder) -> None:
        """Put the codes of the item embeddings in their place."""
        codes = autoencoder.encode(self.item_embedding(), self.k)
        self._resize(self.code_size)
        self.item_embedding.weight.copy_(codes)
        self.item_embedding.prune(self.k)
        self.item_embedding.compress()

    def load_state_dict(self, state_dict, *args, **kwargs):
        """As of ELSA; the state may be that of the dense embeddings or that of the codes."""
        saved = state_dict.get("item_embedding.shape")
        if saved is not None and int(saved[1]) in (self.embedding_size, self.code_size):
            self._resize(int(saved[1]))
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _resize(self, width):
        if width != self.item_embedding.embedding_size:
            layer = self.item_embedding
            self.item_embedding = TopKEmbedding(
                layer.n_items, width, layer.value_dtype, output_scale=layer.output_scale
            ).to(self.device)
