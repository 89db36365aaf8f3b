"""ELSA.

Reference:
    Vančura et al. "Scalable Linear Shallow Autoencoder for Collaborative Filtering." in RecSys 2022.
"""

import psutil
import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch.nn import functional as F

from recbole_sparse_elsa.core import (
    VALUE_DTYPES,
    PruningSchedule,
    SparseAutoencoder,
    TopKEmbedding,
    UserBatch,
    UserHistories,
    popularity_scales,
)
from recbole_sparse_elsa.errors import CheckpointError, OptionError, TrainingError
from recbole_sparse_elsa.options import require_number, require_whole_number
from recbole_sparse_elsa.user_batches import GatheredUsers


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
    item_embedding : TopKEmbedding
        Row ``i`` belongs to RecBole's internal item id ``i + 1``.
    pruning_schedule : PruningSchedule
        The number of non-zeros per item embedding of each epoch; for ELSA always ``embedding_size``.
    """

    input_type = InputType.POINTWISE
    #: Width of the codes that take the place of the dense item embeddings; None if none do.
    code_size = None
    #: Number of latent dimensions beside those of the codes.
    regression_size = 0
    #: Whether each item of a history is divided by the scale of its scores.
    scales_input = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.input_dropout = config["input_dropout"]
        self.set_histories(dataset.inter_matrix(form="csr"))
        self.resolve_options(config)
        self.embedding_size = config["embedding_size"]
        (self.pruning_schedule,) = self.schedules_of(config)
        self.max_output = config["max_output"]
        is_sparse = self.starts_sparse(config) and config["embedding_form"] != "dense"
        _require_memory(config, self.histories, self.pruning_schedule.k_at(0) if is_sparse else None)
        self.item_embedding = self._new_embedding(config)

    def resolve_options(self, config) -> None:
        """Put numbers in the place of what ``config`` leaves to the data; of ELSA, that is nothing."""

    def set_histories(self, histories) -> None:
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

    def _new_embedding(self, config, start=None):
        n_items, popularity_scale = self.histories.n_items, config["popularity_scale"]
        item_scale = None
        if popularity_scale > 0:
            item_scale = popularity_scales(self.users_of_items(), popularity_scale)
        return TopKEmbedding(
            n_items, config["embedding_size"], config["value_dtype"], start, item_scale, self.scales_input
        )

    def users_of_items(self) -> torch.Tensor:
        """Number of users who have each item: int64, shape ``(n_items - 1,)``."""
        return torch.bincount(self.histories.item_indices, minlength=self.histories.n_items)

    @classmethod
    def check_options(cls, config) -> None:
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
        require_whole_number(config, "epochs", at_least=1)
        require_whole_number(config, "save_step", at_least=0)
        if config["max_output"] is not None:
            require_whole_number(config, "max_output", at_least=1)
        require_number(config, "input_dropout", at_least=0, below=1)
        require_number(config, "popularity_scale", at_least=0)
        require_number(config, "nadam_epsilon", above=0)
        if not isinstance(config["learning_rate_decay"], bool):
            raise OptionError(f"learning_rate_decay is {config['learning_rate_decay']!r}, but must be True or False")
        if config["value_dtype"] not in VALUE_DTYPES:
            raise OptionError(f"value_dtype is {config['value_dtype']!r}, but must be one of {', '.join(VALUE_DTYPES)}")
        if config["embedding_form"] not in ("auto", "dense", "compact"):
            raise OptionError(f"embedding_form is {config['embedding_form']!r}, but must be auto, dense or compact")
        cls.schedules_of(config)

    @classmethod
    def starts_sparse(cls, config) -> bool:
        """Whether training has no dense phase; of ELSA, never."""
        return False

    @classmethod
    def schedules_of(cls, config) -> list:
        """The pruning schedules that the options allow before the data are known; afterwards it is one."""
        return [PruningSchedule.create("constant", config["embedding_size"], config["embedding_size"])]

    def nonzeros_at(self, epoch: int) -> torch.Tensor:
        """Number of non-zeros that each item embedding is to have in ``epoch``: int64, shape ``(n_items - 1,)``."""
        return self.item_embedding.nonzeros().clamp(max=self.pruning_schedule.k_at(epoch))

    def create_autoencoder(self, generator: torch.Generator) -> SparseAutoencoder:
        """An autoencoder for the present item embeddings, with codes of ``code_size``, not yet fitted."""
        return SparseAutoencoder(self.item_embedding.embedding_size, self.code_size, generator).to(self.device)

    @torch.no_grad()
    def replace_item_embeddings(self, autoencoder: SparseAutoencoder, nonzeros) -> None:
        """Put the codes of the dense item embeddings in their place.

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

    def forward(self, batch):
        """Predicted rows of a UserBatch, see `TopKEmbedding.predict`: float32, ``(n_users, n_items - 1)``."""
        return self.item_embedding.predict(batch)

    def calculate_loss(self, interaction):
        """NMSE loss of a batch of users, of whom those without a training interaction are left out."""
        batch = interaction.batch if isinstance(interaction, GatheredUsers) else self.batch_of(interaction)
        if batch.n_users == 0:
            return self.item_embedding.weight.sum() * 0.0
        # The target stays whole: what was dropped from the input has to be predicted from the rest.
        return self.item_embedding.nmse_loss(batch.drop_input(self.input_dropout), self.max_output)

    def batch_of(self, interaction, share: slice = slice(None)) -> UserBatch:
        """The training interactions of the users of ``interaction`` who have any, or of a ``share`` of these users."""
        users = interaction[self.USER_ID].to(self.device)
        return self.histories.batch(users[self.histories.lengths(users) > 0][share])

    def predict(self, interaction):
        """Scores of user-item pairs: float32, shape ``(n_pairs,)``; 0 for the padding item."""
        users, inverse = torch.unique(interaction[self.USER_ID], return_inverse=True)
        scores = self.full_sort_predict({self.USER_ID: users}).view(len(users), -1)
        return scores[inverse, interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction):
        """Scores of all items for each user: float32, shape ``(n_users * n_items,)``; 0 for the padding item."""
        scores = self(self.histories.batch(interaction[self.USER_ID]))
        return F.pad(scores, (1, 0)).reshape(-1)

    def bytes_per_item(self) -> float:
        """Mean size of an item embedding in bytes; see `recbole_sparse_elsa.core.bytes_per_item`."""
        return self.item_embedding.bytes_per_item()

    def load_state_dict(self, state_dict, *args, **kwargs):
        """As in torch, but a catalogue or width other than this model's is refused in one line (CheckpointError).

        The state may be that of the dense embeddings or that of their codes.
        """
        saved = state_dict.get("item_embedding.shape")
        if saved is None:
            raise CheckpointError(f"the checkpoint holds no {type(self).__name__}: it has no such item embeddings")
        n_items, width = saved.tolist()
        widths = [self.embedding_size]
        if self.code_size is not None:
            widths.append(self.code_size + self.regression_size)
        if n_items != self.histories.n_items or width not in widths:
            raise CheckpointError(
                f"the checkpoint holds {n_items} items of embedding_size {width}, but the data set has "
                f"{self.histories.n_items} and embedding_size is {self.embedding_size}: it was trained on other data "
                "or with other options"
            )
        return super().load_state_dict(state_dict, *args, **kwargs)


def check_autoencoder_options(config) -> None:
    """Raise OptionError if an option of the autoencoder that makes codes of dense item embeddings is not allowed."""
    for option in ("code_size", "autoencoder_epochs", "autoencoder_batch_size"):
        require_whole_number(config, option, at_least=1)
    require_number(config, "autoencoder_learning_rate", above=0)


def _require_memory(config, histories, start_k):
    """Raise TrainingError if a batch and the item embeddings cannot fit, before they are made.

    The embeddings start with ``start_k`` non-zeros each, or dense if it is None.
    """
    device, d, users = config["device"], config["embedding_size"], config["train_batch_size"]
    n_items, mean_history = histories.n_items, len(histories.item_indices) / histories.n_users
    outputs = min(config["max_output"] or n_items, n_items)
    # Weight, gradient, two moments and the initial weight, the embeddings of norm 1 and their gradient.
    bytes_per_weight = 7 * 4
    if start_k is None:
        embeddings = n_items * d * (bytes_per_weight + 1)  # and the mask
        reduced_by = f"a smaller embedding_size ({d})"
    else:
        # Rows and columns of the entries, also in the transposed order.
        embeddings = n_items * start_k * (bytes_per_weight + 28)
        reduced_by = f"a smaller start_k ({start_k})"
    # The predictions, user vectors and their gradient, and the interactions with their places.
    batch = users * (4 * outputs + 8 * d + 40 * mean_history)
    parts = [
        f"{embeddings / 2**30:.1f} GiB for {n_items} items, which {reduced_by} reduces",
        f"{batch / 2**30:.1f} GiB for a batch, which a smaller train_batch_size ({users}) or max_output ({outputs}) "
        "reduces",
    ]
    needed = embeddings + batch
    if config["start"] == "regression" or config["regression_share"]:
        # A place and a count for each pair of items of a user, as measured: 23 bytes on Gowalla.
        pairs = 32 * histories.row_pointers.diff().square().sum().item()
        parts.append(f"{pairs / 2**30:.1f} GiB for the items that share users, which only a regression needs")
        needed += pairs
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    else:
        available = psutil.virtual_memory().available
    if needed > available:
        raise TrainingError(
            f"training needs about {needed / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are available: "
            + ", ".join(parts)
        )
