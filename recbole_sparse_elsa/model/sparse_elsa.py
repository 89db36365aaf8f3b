"""SparseELSA.

Reference:
    Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in WWW 2026.
"""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch.nn import functional as F

from recbole_sparse_elsa.core import (
    PruningSchedule,
    SparseAutoencoder,
    TopKEmbedding,
    allocate_nonzeros,
    spectral_start,
)
from recbole_sparse_elsa.core.starts import STARTS, SparseStart
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.coded_embeddings import CodedEmbeddings
from recbole_sparse_elsa.model.recipe import Recipe, choices_before_data, choose_recipe, schedule_of, sparse_start_k
from recbole_sparse_elsa.options import require_number, require_whole_number

# Of rows that training is to change a little, see regression_start: those of singular vectors, and of codes and a
# regression side by side.
_ROW_NORM = 7.0


class SparseELSA(CodedEmbeddings):
    """ELSA with k non-zeros per item embedding, reached by pruning during training (method page, section 2).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``, ``pruning_schedule``, ``start``, ``start_k``, ``reg_weight``, ``l1_weight``, ``length_exponent``,
        ``stage_epochs``, ``stepwise_k``, ``code_size``, ``regression_share``, ``restart``, ``popularity_exponent``,
        ``min_k`` and ``scale_input`` beside ELSA's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Attributes
    ----------
    regression_size : int
        Number of latent dimensions beside those of the codes.
    """

    regression_size = 0

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.restart = config["restart"]
        self.code_size = config["code_size"]
        self.min_k = config["min_k"]
        self.regression_share = config["regression_share"]
        wanted = round(self.regression_share * config["k"])
        self.regression_nonzeros = min(wanted, config["k"] - 1, self.histories.n_items)
        if self.regression_nonzeros:
            self.regression_size = self.histories.n_items
            # Of the training interactions: the histories that an evaluation sets instead play no part.
            self._regression = self._sparse_start("regression", config, self.regression_nonzeros)
        # An item without users would have no share at all; it counts as one with a single user.
        self.nonzero_shares = self.users_of_items().clamp(min=1).double() ** config["popularity_exponent"]
        if self.restart:
            self.item_embedding.keep_initial_weight()

    def choose_recipe(self, config: Mapping[str, Any]) -> Recipe:
        """Choose the width and the start where ``embedding_size`` is auto, and ``scale_input`` where that is."""
        facts = self.data_facts()
        recipe = choose_recipe(config, facts)
        if config["embedding_size"] == "auto":
            self.logger.info(
                f"embedding_size is {recipe.embedding_size}, start is {recipe.start}: users have "
                f"{facts.mean_length:.1f} training items on average"
            )
        return recipe

    @classmethod
    def schedules_of(cls, config: Mapping[str, Any]) -> list[PruningSchedule]:
        """As of ELSA: one for each length of histories while ``embedding_size`` is auto."""
        return [
            schedule_of(choice, choice["embedding_size"], sparse_start_k(choice))
            for choice in choices_before_data(config)
        ]

    @classmethod
    def schedule_of(cls, config: Mapping[str, Any], recipe: Recipe) -> PruningSchedule:
        """The pruning schedule of the options and a recipe."""
        return schedule_of(config, recipe.embedding_size, recipe.start_k)

    def nonzeros_at(self, epoch: int) -> torch.Tensor:
        """As of ELSA: in proportion to a power of the item's popularity, with the schedule's k as their mean.

        A pruned entry does not come back, so no item gets more than it has.
        """
        return self._allocated(self.pruning_schedule.k_at(epoch))

    def code_nonzeros_at(self, epoch: int) -> torch.Tensor:
        """As `nonzeros_at`, of the codes alone: less those that every item has of the regression."""
        return self._allocated(self.pruning_schedule.k_at(epoch) - self.regression_nonzeros)

    def _allocated(self, k):
        present = self.item_embedding.nonzeros()
        if present.sum() <= k * len(present):
            return present
        return allocate_nonzeros(k, self.nonzero_shares, self.min_k, present)

    @torch.no_grad()
    def replace_item_embeddings(self, autoencoder: SparseAutoencoder, nonzeros: int | torch.Tensor) -> None:
        """As of CodedEmbeddings; with a ``regression_share``, a regression follows in latent dimensions of its own.

        The regression has that share of the squared norm, so that the similarity of two items is the mean of their
        similarities by it and by the codes.
        """
        layer = self.item_embedding
        super().replace_item_embeddings(autoencoder, nonzeros)
        if self.regression_nonzeros:
            layer.replace_rows(F.normalize(layer.weight, dim=1) * (_ROW_NORM * (1 - self.regression_share) ** 0.5))
            layer.prune(nonzeros)
            layer.compress()
            places, values = self._regression
            values = F.normalize(values, dim=1) * (_ROW_NORM * self.regression_share**0.5)
            layer.append_dimensions(self.regression_size, places, values)
            del self._regression

    def saved_widths(self) -> list[int]:
        """As of CodedEmbeddings, where the codes have the regression's latent dimensions beside them."""
        dense, *codes = super().saved_widths()
        return [dense, *(width + self.regression_size for width in codes)]

    def new_embedding(self, config: Mapping[str, Any], start: SparseStart | None = None) -> TopKEmbedding:
        """As of ELSA, from the start that the recipe names."""
        if self.recipe.start == "spectral":
            return self._spectral_embedding(config)
        if self.recipe.starts_sparse:
            start = self._sparse_start(self.recipe.start, config, self.pruning_schedule.k_at(0))
        return super().new_embedding(config, start)

    def _sparse_start(self, name, config, nonzeros):
        options = {option: config[option] for option in ("reg_weight", "l1_weight", "length_exponent")}
        return STARTS[name].make(self.histories, {**options, "embedding_size": self.embedding_size}, nonzeros)

    def _spectral_embedding(self, config):
        # Where the histories are, of which the start is made.
        layer = super().new_embedding(config).to(self.device)
        rows, norms = spectral_start(self.histories, self.embedding_size)
        # The others keep their random rows: a row of zeros has no direction.
        layer.weight.data = torch.where(norms[:, None] > 0, _ROW_NORM * rows, layer.weight.data)
        scale = (norms / norms.max()).sqrt()
        if layer.item_scale is not None:
            scale = scale * layer.item_scale.float()
        layer.item_scale = scale.clamp(min=torch.finfo(torch.float16).tiny).half()
        return layer

    def memory_parts(self, config: Mapping[str, Any]) -> list[tuple[float, str]]:
        """As of ELSA, and what a regression needs."""
        parts = super().memory_parts(config)
        if self.recipe.start == "regression" or config["regression_share"]:
            # A place and a count for each pair of items of a user, as measured: 23 bytes on Gowalla.
            pairs = 32 * self.histories.row_pointers.diff().square().sum().item()
            parts.append((pairs, "for the items that share users, which only a regression needs"))
        return parts

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        super().check_options(config)
        require_number("popularity_exponent", config["popularity_exponent"], at_least=0)
        require_whole_number("min_k", config["min_k"], at_least=1)
        if not isinstance(config["restart"], bool):
            raise OptionError(f"restart is {config['restart']!r}, but must be True or False")
        starts = ("auto", *STARTS)
        if config["start"] not in starts:
            raise OptionError(f"start is {config['start']!r}, but must be one of {', '.join(starts)}")
        if config["scale_input"] != "auto" and not isinstance(config["scale_input"], bool):
            raise OptionError(f"scale_input is {config['scale_input']!r}, but must be auto, True or False")
        require_number("reg_weight", config["reg_weight"], above=0)
        require_number("l1_weight", config["l1_weight"], at_least=0)
        require_number("length_exponent", config["length_exponent"], at_least=-1)
        require_number("regression_share", config["regression_share"], at_least=0, below=1)
        if config["regression_share"] and config["code_size"] is None:
            raise OptionError(f"regression_share is {config['regression_share']}, but must be 0 without a code_size")
        if config["start"] in STARTS:
            STARTS[config["start"]].check_options(config)
        if config["code_size"] is not None:
            cls._check_code_size(config)

    @classmethod
    def _check_code_size(cls, config):
        cls.check_autoencoder_options(config)
        given = f"code_size is {config['code_size']}, but"
        starts_dense = sparse_start_k(config) is None and config["pruning_schedule"] != "constant"
        if config["embedding_size"] == "auto" or not starts_dense:
            raise OptionError(
                f"{given} must be none unless training starts dense: with an embedding_size in numbers, start_k none "
                "and a pruning_schedule that is not constant"
            )
        if config["code_size"] < config["embedding_size"]:
            raise OptionError(f"{given} must be at least embedding_size, which is {config['embedding_size']}")
        if config["restart"]:
            raise OptionError(f"{given} must be none with restart: codes have no initial values")
