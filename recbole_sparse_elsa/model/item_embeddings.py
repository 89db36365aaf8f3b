"""What the models have in common that score a user by the item embeddings of a history."""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, set_color
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from recbole_sparse_elsa.core import (
    MIN_NONZEROS,
    TopKEmbedding,
    UserBatch,
    UserHistories,
    allocate_nonzeros,
    embedding_size_report,
    popularity_scales,
)
from recbole_sparse_elsa.errors import CheckpointError, OptionError
from recbole_sparse_elsa.model.recipe import DataFacts, Recipe
from recbole_sparse_elsa.options import require_number
from recbole_sparse_elsa.value_types import VALUE_TYPES


class ItemEmbeddingRecommender(GeneralRecommender):
    """A model whose item-item matrix is ``Â Âᵀ`` with its diagonal removed (method page, section 1).

    ``Â`` holds one embedding of norm 1 for each item; the padding item has none. A user is nothing but their history,
    so any user can be scored, and the model has no user parameters.

    Parameters
    ----------
    config : recbole.config.Config
        RecBole's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Attributes
    ----------
    recipe : Recipe
        What the model is made by, in data: it is logged, saved with the model, and read by the index.
    item_embedding : TopKEmbedding
        Row ``i`` belongs to RecBole's internal item id ``i + 1``.
    facts : DataFacts
        Of the training interactions: what a recipe depends on.
    histories : UserHistories
        What users are scored from: their training interactions, unless `set_histories` gave others.
    """

    input_type = InputType.POINTWISE
    recipe: Recipe
    item_embedding: TopKEmbedding

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.set_histories(dataset.inter_matrix(form="csr"))
        self.facts = self._facts()

    def set_histories(self, histories: csr_matrix) -> None:
        """Replace the histories that users are scored from; what was learnt stays as it is.

        Parameters
        ----------
        histories : scipy.sparse.csr_matrix
            Shape ``(n_users, n_items)``, in RecBole's internal ids (row and column 0 are padding): an entry for each
            item of a user's history. There may be other users than those that were trained on.
        """
        interactions = histories[:, 1:]
        # Repeated interactions count once, and are stored once.
        interactions.sum_duplicates()
        self.histories = UserHistories(
            torch.from_numpy(interactions.indptr), torch.from_numpy(interactions.indices), interactions.shape[1]
        ).to(self.device)

    def layer(self, config: Mapping[str, Any], start: tuple[torch.Tensor, torch.Tensor] | None = None) -> TopKEmbedding:
        """Item embeddings of the recipe's width, with the scales of the items' scores; see `TopKEmbedding`."""
        exponent, scale = config["popularity_scale"], None
        if exponent > 0:
            scale = popularity_scales(self.histories.users_of_items(), exponent)
        n_items, recipe = self.histories.n_items, self.recipe
        return TopKEmbedding(n_items, recipe.embedding_size, config["value_dtype"], start, scale, recipe.scales_input)

    def allocated(self, k: int, nonzero_shares: torch.Tensor) -> torch.Tensor:
        """Numbers of non-zeros of mean k in proportion to shares, of which no item gets more than it has."""
        present = self.item_embedding.nonzeros()
        if present.sum() <= k * len(present):
            return present
        return allocate_nonzeros(k, nonzero_shares, MIN_NONZEROS, present)

    @staticmethod
    def check_scoring_options(config: Mapping[str, Any]) -> None:
        """Raise OptionError if an option that decides how users are scored is not allowed."""
        require_number("popularity_scale", config["popularity_scale"], at_least=0)
        if config["value_dtype"] not in VALUE_TYPES:
            raise OptionError(f"value_dtype is {config['value_dtype']!r}, but must be one of {', '.join(VALUE_TYPES)}")

    def forward(self, batch: UserBatch) -> torch.Tensor:
        """Predicted rows of a UserBatch, see `TopKEmbedding.predict`: float32, ``(n_users, n_items - 1)``."""
        return self.item_embedding.predict(batch)

    def predict(self, interaction: Interaction) -> torch.Tensor:
        """Scores of user-item pairs: float32, shape ``(n_pairs,)``; 0 for the padding item."""
        users, inverse = torch.unique(interaction[self.USER_ID], return_inverse=True)
        scores = self.full_sort_predict({self.USER_ID: users}).view(len(users), -1)
        return scores[inverse, interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction: Interaction | dict[str, torch.Tensor]) -> torch.Tensor:
        """Scores of all items for each user: float32, shape ``(n_users * n_items,)``; 0 for the padding item."""
        scores = self(self.histories.batch(interaction[self.USER_ID]))
        return F.pad(scores, (1, 0)).reshape(-1)

    def bytes_per_item(self) -> float:
        """Mean size of an item embedding in bytes; see `recbole_sparse_elsa.core.bytes_per_item`."""
        return self.item_embedding.bytes_per_item()

    def other_parameter(self) -> dict[str, Any]:
        """What a checkpoint holds beside the weights: the recipe, as plain data."""
        recipe = {**self.recipe.saved(), "words": self.recipe_in_words()}
        return {**(super().other_parameter() or {}), "recipe": recipe}

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """As in RecBole; a checkpoint of version 0.1.0 holds no recipe, and leaves this model's."""
        others = dict(para or {})
        recipe = others.pop("recipe", None)
        if recipe is not None:
            self.recipe = Recipe.of_saved(recipe)
            self.item_embedding.scales_input = self.recipe.scales_input
        super().load_other_parameter(others)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in torch, but a catalogue or width other than this model's is refused in one line (CheckpointError).

        The state may be that of the dense embeddings or that of their codes.
        """
        saved = state_dict.get("item_embedding.shape")
        if saved is None:
            raise CheckpointError(f"the checkpoint holds no {type(self).__name__}: it has no such item embeddings")
        n_items, width = saved.tolist()
        if n_items != self.histories.n_items or width not in self.saved_widths():
            raise CheckpointError(
                f"the checkpoint holds {n_items} items of embedding_size {width}, but the data set has "
                f"{self.histories.n_items} and embedding_size is {self.recipe.embedding_size}: it was trained on other "
                "data or with other options"
            )
        return super().load_state_dict(state_dict, *args, **kwargs)

    def saved_widths(self) -> list[int]:
        """The widths that the item embeddings have at some time of a training."""
        return [self.recipe.embedding_size]

    def recipe_in_words(self) -> str:
        """How the model is made, in a sentence without a full stop: what a run says first."""
        raise NotImplementedError

    def advice(self) -> str:
        """Which other model usually ranks better on such data, in a sentence without a full stop; empty for none."""
        return ""

    def log_recipe(self) -> None:
        """Say how the model is made, and give advice."""
        name = set_color(type(self).__name__, "blue")
        self.logger.info(". ".join(filter(None, (f"{name}: {self.recipe_in_words()}", self.advice()))))

    def log_size(self) -> None:
        """Say how large the item embeddings are."""
        layer, name = self.item_embedding, set_color("item embeddings", "blue")
        has_scale = layer.item_scale is not None
        report = embedding_size_report(layer.nonzeros(), layer.shape.tolist(), layer.value_dtype, has_scale)
        self.logger.info(f"{name}: {report}")

    def log_too_few(self, k: int, why: str) -> None:
        """Say that items have fewer than k non-zeros on average, where they do, and why."""
        nonzeros = self.item_embedding.nonzeros()
        if nonzeros.sum() < k * len(nonzeros):
            n_below = int((nonzeros < k).sum())
            self.logger.info(
                f"That is {nonzeros.double().mean():.4g} non-zeros on average, fewer than k = {k}: of {len(nonzeros)} "
                f"items {n_below} have fewer, since {why}"
            )

    def _facts(self):
        lengths = self.histories.row_pointers.diff()
        return DataFacts(lengths.sum().item() / max(1, int(torch.count_nonzero(lengths))))
