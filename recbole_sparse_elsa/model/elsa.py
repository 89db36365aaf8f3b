"""ELSA.

Reference:
    Vančura et al. "Scalable Linear Shallow Autoencoder for Collaborative Filtering." in RecSys 2022.
"""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_sparse_elsa.core import PruningSchedule, TopKEmbedding, UserBatch
from recbole_sparse_elsa.errors import OptionError, TrainingError
from recbole_sparse_elsa.machine.memory import available_memory
from recbole_sparse_elsa.model.item_embeddings import ItemEmbeddingRecommender
from recbole_sparse_elsa.model.recipe import Recipe
from recbole_sparse_elsa.options import require_number, require_whole_number
from recbole_sparse_elsa.training.user_batches import GatheredUsers


class ELSA(ItemEmbeddingRecommender):
    """Linear autoencoder whose item-item matrix is ``Â Âᵀ`` with its diagonal removed (method page, section 1).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``embedding_size``, ``value_dtype``, ``popularity_scale``, ``input_dropout`` and ``max_output``.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Attributes
    ----------
    pruning_schedule : PruningSchedule
        The number of non-zeros per item embedding of each epoch; for ELSA always ``embedding_size``.
    """

    # Of noise in the input, see `InputNoise`: ELSA has none.
    noise_variance = 0.0

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.input_dropout = config["input_dropout"]
        self.recipe = self.choose_recipe(config)
        self.embedding_size = self.recipe.embedding_size
        self.pruning_schedule = self.schedule_of(config, self.recipe)
        self.max_output = config["max_output"]
        self._require_memory(config)
        self.item_embedding = self.new_embedding(config)

    def choose_recipe(self, config: Mapping[str, Any]) -> Recipe:
        """Make the choices that the options leave to the data; ELSA's leave none."""
        return Recipe(config["embedding_size"])

    def new_embedding(self, config: Mapping[str, Any]) -> TopKEmbedding:
        """The item embeddings before training: dense."""
        return self.layer(config)

    def recipe_in_words(self) -> str:
        """As of ItemEmbeddingRecommender."""
        k = self.pruning_schedule.k
        return self.recipe.in_words(None if k == self.embedding_size else k)

    @classmethod
    def check_options(cls, config: Mapping[str, Any]) -> None:
        """Refuse options that are not allowed, before any data are loaded.

        Parameters
        ----------
        config : mapping
            The options by name.

        Raises
        ------
        OptionError
            Names the option, its value and what is allowed.
        """
        require_whole_number("epochs", config["epochs"], at_least=1)
        require_whole_number("save_step", config["save_step"], at_least=0)
        if config["max_output"] is not None:
            require_whole_number("max_output", config["max_output"], at_least=1)
        require_number("input_dropout", config["input_dropout"], at_least=0, below=1)
        require_number("nadam_epsilon", config["nadam_epsilon"], above=0)
        if not isinstance(config["learning_rate_decay"], bool):
            raise OptionError(f"learning_rate_decay is {config['learning_rate_decay']!r}, but must be True or False")
        cls.check_scoring_options(config)
        if config["embedding_form"] not in ("auto", "dense", "compact"):
            raise OptionError(f"embedding_form is {config['embedding_form']!r}, but must be auto, dense or compact")
        cls.schedule_before_data(config)

    @classmethod
    def schedule_before_data(cls, config: Mapping[str, Any]) -> PruningSchedule:
        """The pruning schedule of the options, which the data do not change."""
        return cls.schedule_of(config, Recipe(config["embedding_size"]))

    @classmethod
    def schedule_of(cls, config: Mapping[str, Any], recipe: Recipe) -> PruningSchedule:
        """The pruning schedule of the options and a recipe."""
        return PruningSchedule.create("constant", recipe.embedding_size, recipe.embedding_size)

    def nonzeros_at(self, epoch: int) -> torch.Tensor:
        """Number of non-zeros that each item embedding is to have in ``epoch``: int64, shape ``(n_items - 1,)``."""
        return self.item_embedding.nonzeros().clamp(max=self.pruning_schedule.k_at(epoch))

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """NMSE loss of a batch of users, of whom those without a training interaction are left out."""
        batch = interaction.batch if isinstance(interaction, GatheredUsers) else self.batch_of(interaction)
        if batch.n_users == 0:
            return self.item_embedding.weight.sum() * 0.0
        # The target stays whole: what was dropped from the input has to be predicted from the rest.
        batch = batch.drop_input(self.input_dropout)
        return self.item_embedding.nmse_loss(batch, self.max_output, self.noise_variance)

    def batch_of(self, interaction: Interaction, share: slice = slice(None)) -> UserBatch:
        """The training interactions of the users of ``interaction`` who have any, or of a ``share`` of these users."""
        users = interaction[self.USER_ID].to(self.device)
        return self.histories.batch(users[self.histories.lengths(users) > 0][share])

    def memory_parts(self, config: Mapping[str, Any]) -> list[tuple[float, str]]:
        """What training needs memory for: bytes, and in words what needs and what reduces them."""
        d, users = self.embedding_size, config["train_batch_size"]
        n_items, mean_history = self.histories.n_items, len(self.histories.item_indices) / self.histories.n_users
        outputs = min(config["max_output"] or n_items, n_items)
        # Weight, gradient, two moments and the initial weight, the embeddings of norm 1 and their gradient.
        bytes_per_weight = 7 * 4
        if self.recipe.starts_sparse and config["embedding_form"] != "dense":
            start_k = self.pruning_schedule.k_at(0)
            # Rows and columns of the entries, also in the transposed order.
            embeddings = n_items * start_k * (bytes_per_weight + 28)
            reduced_by = f"a smaller start_k ({start_k})"
        else:
            embeddings = n_items * d * (bytes_per_weight + 1)  # and the mask
            reduced_by = f"a smaller embedding_size ({d})"
        # The predictions, user vectors and their gradient, and the interactions with their places.
        batch = users * (4 * outputs + 8 * d + 40 * mean_history)
        return [
            (embeddings, f"for {n_items} items, which {reduced_by} reduces"),
            (
                batch,
                f"for a batch, which a smaller train_batch_size ({users}) or max_output ({outputs}) reduces",
            ),
        ]

    def _require_memory(self, config):
        """Raise TrainingError if what training needs cannot fit, before it is made."""
        parts = self.memory_parts(config)
        needed, available = sum(n_bytes for n_bytes, _ in parts), available_memory(config["device"])
        if needed > available:
            raise TrainingError(
                f"training needs about {needed / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are available: "
                + ", ".join(f"{n_bytes / 2**30:.1f} GiB {what}" for n_bytes, what in parts)
            )
