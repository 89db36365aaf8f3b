"""SparseELSA.

Reference:
    Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in WWW 2026.
"""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_sparse_elsa import output
from recbole_sparse_elsa.core import PruningSchedule, TopKEmbedding, UserBatch, cooccurrence_start, popularity_shares
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.elsa import ELSA
from recbole_sparse_elsa.model.recipe import Recipe, choose_recipe, schedule_before_data, schedule_of
from recbole_sparse_elsa.options import require_number

_SLIM = "the model SparseSLIM is what start: regression was"
_CODES = "the model FineTunedELSASAE trains codes of dense embeddings on"
# Options of version 0.1.0, with what to do instead.
_FORMER_OPTIONS = {
    "start": f"a sparse start is always made of co-occurrences, start_k none is a dense one, and {_SLIM}",
    "scale_input": f"only SparseSLIM scales histories: {_SLIM}",
    "reg_weight": _SLIM,
    "l1_weight": _SLIM,
    "min_k": "an item keeps at least 2",
    "code_size": _CODES,
    "regression_share": _CODES,
    "autoencoder_epochs": _CODES,
    "autoencoder_batch_size": _CODES,
    "autoencoder_learning_rate": _CODES,
}


class SparseELSA(ELSA):
    """ELSA with k non-zeros per item embedding, reached by pruning during training (method page, section 2).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``, ``pruning_schedule``, ``start_k``, ``stage_epochs``, ``stepwise_k``, ``restart``,
        ``popularity_exponent``, ``length_exponent`` and ``noise_variance`` beside ELSA's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.restart = config["restart"]
        self.nonzero_shares = popularity_shares(self.histories.users_of_items(), config["popularity_exponent"])
        self.length_exponent = config["length_exponent"]
        self.noise_variance = config["noise_variance"]
        lengths = self.histories.row_pointers.diff()
        self._mean_weight = (lengths[lengths > 0].double() ** self.length_exponent).mean().item()
        if self.restart:
            self.item_embedding.keep_initial_weight()

    def choose_recipe(self, config: Mapping[str, Any]) -> Recipe:
        """Choose the width where ``embedding_size`` is auto."""
        # Only checkpoints of version 0.1.0 have this option, with what was chosen for them.
        if config["start"] is not None:
            return Recipe.of_checkpoint({"config": config})
        return choose_recipe(config, self.histories.n_items)

    def advice(self) -> str:
        """As of ItemEmbeddingRecommender."""
        if self.facts.has_long_histories:
            return ""
        return "On such short histories --model=SparseSLIM usually ranks better"

    @classmethod
    def schedule_before_data(cls, config: Mapping[str, Any]) -> PruningSchedule:
        """As of ELSA."""
        return schedule_before_data(config)

    @classmethod
    def schedule_of(cls, config: Mapping[str, Any], recipe: Recipe) -> PruningSchedule:
        """The pruning schedule of the options and a recipe."""
        return schedule_of(config, recipe.embedding_size, recipe.start_k)

    def nonzeros_at(self, epoch: int) -> torch.Tensor:
        """As of ELSA: in proportion to a power of the item's popularity, with the schedule's k as their mean.

        A pruned entry does not come back, so no item gets more than it has.
        """
        return self.allocated(self.pruning_schedule.k_at(epoch), self.nonzero_shares)

    def new_embedding(self, config: Mapping[str, Any]) -> TopKEmbedding:
        """As of ELSA, or made of how often items occur together."""
        if not self.recipe.starts_sparse:
            return super().new_embedding(config)
        histories, start_k = self.histories.to("cpu"), self.pruning_schedule.k_at(0)
        with output.progress("Start from co-occurrences", total=1, shown=config["show_progress"]) as bar:
            start = cooccurrence_start(histories, self.embedding_size, start_k, bar.update)
        return self.layer(config, start)

    def log_size(self) -> None:
        """As of ItemEmbeddingRecommender; also where a start gave items fewer non-zeros than k."""
        super().log_size()
        self.log_too_few(self.pruning_schedule.k, "too few other items share users with them")

    def batch_of(self, interaction: Interaction, share: slice = slice(None)) -> UserBatch:
        """As of ELSA, with each user's weight in the loss."""
        batch = super().batch_of(interaction, share)
        if self.length_exponent:
            batch.weights = (batch.lengths.double() ** self.length_exponent / self._mean_weight).float()
        return batch

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        for option, successor in _FORMER_OPTIONS.items():
            if config[option] is not None:
                raise OptionError(f"{option} is {config[option]!r}, but SparseELSA has no such option: {successor}")
        super().check_options(config)
        require_number("popularity_exponent", config["popularity_exponent"], at_least=0)
        require_number("length_exponent", config["length_exponent"], at_least=-1)
        require_number("noise_variance", config["noise_variance"], at_least=0)
        if not isinstance(config["restart"], bool):
            raise OptionError(f"restart is {config['restart']!r}, but must be True or False")
