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
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from recbole_sparse_elsa.core import PruningSchedule, TopKEmbedding, UserBatch, UserHistories, popularity_scales
from recbole_sparse_elsa.core.starts import SparseStart
from recbole_sparse_elsa.errors import CheckpointError, OptionError, TrainingError
from recbole_sparse_elsa.machine.memory import available_memory
from recbole_sparse_elsa.model.recipe import DataFacts, Recipe
from recbole_sparse_elsa.options import require_number, require_whole_number
from recbole_sparse_elsa.training.user_batches import GatheredUsers
from recbole_sparse_elsa.value_types import VALUE_TYPES


class ELSA(GeneralRecommender):
    """Linear autoencoder whose item-item matrix is ``Â Âᵀ`` with its diagonal removed (method page, section 1).

    ``Â`` holds one embedding of norm 1 for each item; the padding item has none. A user is nothing but their history,
    so any user can be scored, and the model has no user parameters.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``embedding_size``, ``value_dtype``, ``popularity_scale``, ``input_dropout`` and ``max_output``.
    dataset : recbole.data.dataset.Dataset
        The training interactions.

    Attributes
    ----------
    recipe : Recipe
        What the options leave to the data; it is saved with the model.
    item_embedding : TopKEmbedding
        Row ``i`` belongs to RecBole's internal item id ``i + 1``.
    pruning_schedule : PruningSchedule
        The number of non-zeros per item embedding of each epoch; for ELSA always ``embedding_size``.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.input_dropout = config["input_dropout"]
        self.set_histories(dataset.inter_matrix(form="csr"))
        self.recipe = self.choose_recipe(config)
        self.embedding_size = self.recipe.embedding_size
        self.pruning_schedule = self.schedule_of(config, self.recipe)
        self.max_output = config["max_output"]
        self._require_memory(config)
        self.item_embedding = self.new_embedding(config)

    def choose_recipe(self, config: Mapping[str, Any]) -> Recipe:
        """Make the choices that the options leave to the data; ELSA's leave none."""
        return Recipe(config["embedding_size"])

    def data_facts(self) -> DataFacts:
        """What a recipe depends on, of the training histories."""
        lengths = self.histories.row_pointers.diff()
        n_users = int(torch.count_nonzero(lengths))
        return DataFacts(self.histories.n_items, n_users, lengths.sum().item() / max(1, n_users))

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

    def new_embedding(self, config: Mapping[str, Any], start: SparseStart | None = None) -> TopKEmbedding:
        """The item embeddings before training: dense, unless there is a sparse start."""
        n_items, popularity_scale = self.histories.n_items, config["popularity_scale"]
        item_scale = None
        if popularity_scale > 0:
            item_scale = popularity_scales(self.users_of_items(), popularity_scale)
        return TopKEmbedding(
            n_items, self.embedding_size, config["value_dtype"], start, item_scale, self.recipe.scales_input
        )

    def users_of_items(self) -> torch.Tensor:
        """Number of users who have each item: int64, shape ``(n_items - 1,)``."""
        return torch.bincount(self.histories.item_indices, minlength=self.histories.n_items)

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
        require_number("popularity_scale", config["popularity_scale"], at_least=0)
        require_number("nadam_epsilon", config["nadam_epsilon"], above=0)
        if not isinstance(config["learning_rate_decay"], bool):
            raise OptionError(f"learning_rate_decay is {config['learning_rate_decay']!r}, but must be True or False")
        if config["value_dtype"] not in VALUE_TYPES:
            raise OptionError(f"value_dtype is {config['value_dtype']!r}, but must be one of {', '.join(VALUE_TYPES)}")
        if config["embedding_form"] not in ("auto", "dense", "compact"):
            raise OptionError(f"embedding_form is {config['embedding_form']!r}, but must be auto, dense or compact")
        cls.schedules_of(config)

    @classmethod
    def schedules_of(cls, config: Mapping[str, Any]) -> list[PruningSchedule]:
        """The pruning schedules that the options allow before the data are known."""
        return [cls.schedule_of(config, Recipe(config["embedding_size"]))]

    @classmethod
    def schedule_of(cls, config: Mapping[str, Any], recipe: Recipe) -> PruningSchedule:
        """The pruning schedule of the options and a recipe."""
        return PruningSchedule.create("constant", recipe.embedding_size, recipe.embedding_size)

    def nonzeros_at(self, epoch: int) -> torch.Tensor:
        """Number of non-zeros that each item embedding is to have in ``epoch``: int64, shape ``(n_items - 1,)``."""
        return self.item_embedding.nonzeros().clamp(max=self.pruning_schedule.k_at(epoch))

    def forward(self, batch: UserBatch) -> torch.Tensor:
        """Predicted rows of a UserBatch, see `TopKEmbedding.predict`: float32, ``(n_users, n_items - 1)``."""
        return self.item_embedding.predict(batch)

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """NMSE loss of a batch of users, of whom those without a training interaction are left out."""
        batch = interaction.batch if isinstance(interaction, GatheredUsers) else self.batch_of(interaction)
        if batch.n_users == 0:
            return self.item_embedding.weight.sum() * 0.0
        # The target stays whole: what was dropped from the input has to be predicted from the rest.
        return self.item_embedding.nmse_loss(batch.drop_input(self.input_dropout), self.max_output)

    def batch_of(self, interaction: Interaction, share: slice = slice(None)) -> UserBatch:
        """The training interactions of the users of ``interaction`` who have any, or of a ``share`` of these users."""
        users = interaction[self.USER_ID].to(self.device)
        return self.histories.batch(users[self.histories.lengths(users) > 0][share])

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
        return {**(super().other_parameter() or {}), "recipe": self.recipe.saved()}

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """As in RecBole; a checkpoint of version 0.1.0 holds no recipe, and leaves this model's."""
        others = dict(para or {})
        recipe = others.pop("recipe", None)
        if recipe is not None:
            self.recipe = Recipe(**recipe)
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
                f"{self.histories.n_items} and embedding_size is {self.embedding_size}: it was trained on other data "
                "or with other options"
            )
        return super().load_state_dict(state_dict, *args, **kwargs)

    def saved_widths(self) -> list[int]:
        """The widths that the item embeddings have at some time of a training."""
        return [self.embedding_size]

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
