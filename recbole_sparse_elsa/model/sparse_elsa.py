"""SparseELSA.

Reference:
    Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in WWW 2026.
"""

import torch

from recbole_sparse_elsa.core import PruningSchedule, allocate_nonzeros, neighbour_start
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.elsa import ELSA, check_autoencoder_options
from recbole_sparse_elsa.options import require_number, require_whole_number

# What embedding_size auto stands for. Where users have few items, an item's neighbours are too few to choose its places
# by, and more latent dimensions fit chance: dense training of few comes first.
_WIDE, _NARROW = 4096, 256
_LONG_HISTORY = 50


class SparseELSA(ELSA):
    """ELSA with k non-zeros per item embedding, reached by pruning during training (method page, section 2).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``, ``pruning_schedule``, ``start_k``, ``stage_epochs``, ``stepwise_k``, ``code_size``, ``restart``,
        ``popularity_exponent`` and ``min_k`` beside ELSA's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.restart = config["restart"]
        self.code_size = config["code_size"]
        self.min_k = config["min_k"]
        # An item without users would have no share at all; it counts as one with a single user.
        self.nonzero_shares = self.users_of_items().clamp(min=1).double() ** config["popularity_exponent"]
        if self.restart:
            self.item_embedding.keep_initial_weight()

    def nonzeros_at(self, epoch: int) -> torch.Tensor:
        """As of ELSA: in proportion to a power of the item's popularity, with the schedule's k as their mean.

        A pruned entry does not come back, so no item gets more than it has.
        """
        k, present = self.pruning_schedule.k_at(epoch), self.item_embedding.nonzeros()
        if present.sum() <= k * len(present):
            return present
        return allocate_nonzeros(k, self.nonzero_shares, self.min_k, present)

    def _new_embedding(self, config):
        if not self.starts_sparse(config):
            return super()._new_embedding(config)
        start = neighbour_start(self.histories, config["embedding_size"], self.pruning_schedule.k_at(0))
        return super()._new_embedding(config, start)

    @classmethod
    def check_options(cls, config) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        super().check_options(config)
        require_number(config, "popularity_exponent", at_least=0)
        require_whole_number(config, "min_k", at_least=1)
        if not isinstance(config["restart"], bool):
            raise OptionError(f"restart is {config['restart']!r}, but must be True or False")
        if config["code_size"] is not None:
            _check_code_size(config)

    @classmethod
    def sparse_widths(cls, config) -> list:
        """As of ELSA: that of the codes, if any, or of what is trained."""
        if config["code_size"] is not None:
            return [config["code_size"]]
        return [choice["embedding_size"] for choice in _choices(config)]

    @classmethod
    def starts_sparse(cls, config) -> bool:
        """Whether training has no dense phase."""
        return _start_k(config) is not None

    @classmethod
    def schedules_of(cls, config) -> list:
        """As of ELSA: two of them while ``embedding_size`` is auto."""
        return [
            PruningSchedule.create(
                choice["pruning_schedule"],
                choice["embedding_size"],
                choice["k"],
                choice["stage_epochs"],
                choice["stepwise_k"],
                _start_k(choice),
            )
            for choice in _choices(config)
        ]

    def resolve_options(self, config) -> None:
        """Choose the width and the start where ``embedding_size`` is auto: by the length of the training histories."""
        if config["embedding_size"] != "auto":
            return
        lengths = self.histories.row_pointers.diff()
        mean_length = lengths.sum().item() / max(1, torch.count_nonzero(lengths).item())
        wide, narrow = _choices(config)
        chosen = wide if mean_length >= _LONG_HISTORY else narrow
        for option in ("embedding_size", "start_k"):
            config[option] = chosen[option]
        start = "sparse" if self.starts_sparse(config) else "dense"
        self.logger.info(
            f"embedding_size is {config['embedding_size']} with a {start} start: users have {mean_length:.1f} training "
            "items in the mean"
        )


def _choices(config):
    """The options, or those that ``embedding_size`` auto stands for: for long histories, and for short ones."""
    if config["embedding_size"] != "auto":
        return [config]
    least_width = 4 * config["k"] if isinstance(config["k"], int) else 0
    names = ("pruning_schedule", "k", "stage_epochs", "stepwise_k", "start_k")
    options = {name: config[name] for name in names}
    short_start = None if options["start_k"] == "auto" else options["start_k"]
    return [
        {**options, "embedding_size": _WIDE},
        {**options, "embedding_size": min(max(_NARROW, least_width), _WIDE), "start_k": short_start},
    ]


def _check_code_size(config):
    check_autoencoder_options(config)
    given = f"code_size is {config['code_size']}, but"
    starts_dense = _start_k(config) is None and config["pruning_schedule"] != "constant"
    if config["embedding_size"] == "auto" or not starts_dense:
        raise OptionError(
            f"{given} must be none unless training starts dense: with an embedding_size in numbers, start_k none and a "
            "pruning_schedule that is not constant"
        )
    if config["code_size"] < config["embedding_size"]:
        raise OptionError(f"{given} must be at least embedding_size, which is {config['embedding_size']}")
    if config["restart"]:
        raise OptionError(f"{given} must be none with restart: codes have no initial values")


def _start_k(config):
    """Non-zeros per item embedding of a sparse start, or None for a dense one."""
    k, width, start_k = config["k"], config["embedding_size"], config["start_k"]
    if start_k != "auto":
        return start_k
    # The other schedules say themselves where they begin; what is not a number is refused by the schedule.
    if config["pruning_schedule"] not in ("exponential", "linear") or not all(isinstance(n, int) for n in (k, width)):
        return None
    # Popular items need room to end with more than k non-zeros.
    return min(max(4 * k, 128), width)
