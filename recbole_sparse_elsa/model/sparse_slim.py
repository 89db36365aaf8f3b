"""SparseSLIM.

Reference:
    Ning and Karypis. "SLIM: Sparse Linear Methods for Top-N Recommender Systems." in ICDM 2011; as item embeddings of
    the kind of Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in WWW 2026.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.utils import ModelType

from recbole_sparse_elsa import output
from recbole_sparse_elsa.core import (
    SparseRows,
    TopKEmbedding,
    embeddings_of_regression,
    hidden_ndcg,
    hold_out,
    popularity_shares,
    regress_items,
)
from recbole_sparse_elsa.core.sparse_rows import pointers_of_counts
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.item_embeddings import ItemEmbeddingRecommender
from recbole_sparse_elsa.model.recipe import Recipe
from recbole_sparse_elsa.options import require_number, require_whole_number

# What an item's own latent dimension may weigh, of which own_weight auto takes one.
_OWN_WEIGHTS = (0.15, 0.4)


class SparseSLIM(ItemEmbeddingRecommender):
    """Item embeddings of k non-zeros from a regression of every item on its neighbours: closed form, no gradient.

    SLIM's weights become the item embeddings of a model that scores as SparseELSA does, so that it is as small, and is
    retrieved and segmented alike (method page, section 8).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``, ``reg_weight``, ``l1_weight``, ``length_exponent``, ``own_weight``, ``popularity_exponent``,
        ``popularity_scale`` and ``value_dtype``.
    dataset : recbole.data.dataset.Dataset
        The training interactions.
    """

    type = ModelType.TRADITIONAL

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.k = config["k"]
        n_items = self.histories.n_items
        if self.k > n_items:
            raise OptionError(f"k is {self.k}, but must be at most the number of items, which is {n_items}")
        self.training_histories = self.histories.to("cpu")
        self.options = {name: config[name] for name in ("reg_weight", "l1_weight", "length_exponent")}
        self.popularity_exponent = config["popularity_exponent"]
        self.own_weight = config["own_weight"]
        given = None if self.own_weight == "auto" else self.own_weight
        self.recipe = Recipe(n_items, "regression", scales_input=True, own_weight=given)
        # Before it has learnt, an item is like no other.
        itself = torch.arange(n_items)[:, None]
        self.item_embedding = self.layer(config, (itself, torch.ones(n_items, 1)))

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed (OptionError), before any data are loaded."""
        require_whole_number("k", config["k"], at_least=1)
        require_number("reg_weight", config["reg_weight"], above=0)
        require_number("l1_weight", config["l1_weight"], at_least=0)
        require_number("length_exponent", config["length_exponent"], at_least=-1)
        require_number("popularity_exponent", config["popularity_exponent"], at_least=0)
        if config["own_weight"] != "auto":
            if isinstance(config["own_weight"], str):
                raise OptionError(f"own_weight is {config['own_weight']!r}, but must be auto or a number above 0")
            require_number("own_weight", config["own_weight"], above=0)
        cls.check_scoring_options(config)

    def learn(self, show_progress: bool = False) -> None:
        """Choose ``own_weight`` where it is auto, and compute the item embeddings.

        It is chosen on a tenth of the training interactions of some users, hidden from a first regression: the
        validation data play no part. What is hidden follows from the data alone, whatever the seed.
        """
        own_weight, reason = self.own_weight, ""
        if own_weight == "auto":
            own_weight, reason = self._chosen_own_weight(show_progress)
        starts = self._embeddings(self.training_histories, (own_weight,), "Regression", show_progress)
        columns, values = starts[own_weight]
        present = columns >= 0
        rows = SparseRows(
            values[present],
            columns[present].int(),
            pointers_of_counts(present.sum(dim=1)),
            (len(columns), self.recipe.embedding_size),
        )
        self.item_embedding.load_csr(rows)
        self.recipe = dataclasses.replace(self.recipe, own_weight=own_weight, reason=reason)
        self.log_recipe()
        self.log_size()
        self.log_too_few(self.k, "no more neighbours say anything of them")

    def _chosen_own_weight(self, show_progress):
        shown, hidden = hold_out(self.training_histories, torch.Generator().manual_seed(0))
        starts = self._embeddings(shown, _OWN_WEIGHTS, "Choose own weight", show_progress)
        layer, figures = self.item_embedding, {}
        scale = None if layer.item_scale is None else layer.item_scale.cpu()
        for own_weight, start in starts.items():
            trial = TopKEmbedding(layer.n_items, layer.n_items, layer.value_dtype, start, scale, True)
            figures[own_weight] = hidden_ndcg(trial, shown, hidden)
        # Of equal figures the first.
        chosen = max(figures, key=lambda own_weight: figures[own_weight])
        found = ", ".join(f"{figure:.4f} with {own_weight:g}" for own_weight, figure in figures.items())
        return chosen, f"own weight by NDCG@10 on hidden training interactions: {found}"

    def _embeddings(self, histories, own_weights, description, show_progress):
        with output.progress(description, total=1, shown=show_progress) as bar:
            regression = regress_items(histories, **self.options, on_progress=bar.update)
        shares = popularity_shares(histories.users_of_items(), self.popularity_exponent)
        return {own: embeddings_of_regression(regression, self.k, own, shares) for own in own_weights}

    def saved_bytes(self) -> int:
        """Bytes of k non-zeros an item, as they are saved."""
        return 8 * self.k * self.histories.n_items

    def recipe_in_words(self) -> str:
        """As of ItemEmbeddingRecommender."""
        return self.recipe.in_words(self.k)

    def advice(self) -> str:
        """As of ItemEmbeddingRecommender."""
        return "On such long histories --model=SparseELSA usually ranks better" if self.facts.has_long_histories else ""
