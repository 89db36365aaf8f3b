"""SparseELSA.

Reference:
    Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in WWW 2026.
"""

import torch

from recbole_sparse_elsa.core import PruningSchedule, TopKEmbedding, allocate_nonzeros, neighbour_start
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.elsa import ELSA
from recbole_sparse_elsa.options import require_number, require_whole_number


class SparseELSA(ELSA):
    """ELSA with k non-zeros per item embedding, reached by pruning during training (method page, section 2).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``, ``pruning_schedule``, ``start_k``, ``stage_epochs``, ``stepwise_k``, ``restart``,
        ``popularity_exponent`` and ``min_k`` beside ELSA's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.restart = config["restart"]
        self.min_k = config["min_k"]
        users_of_item = torch.bincount(self.histories.item_indices, minlength=self.histories.n_items)
        # An item without users would have no share at all; it counts as one with a single user.
        self.nonzero_shares = users_of_item.clamp(min=1).double() ** config["popularity_exponent"]
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
        return TopKEmbedding(self.histories.n_items, config["embedding_size"], config["value_dtype"], start)

    @classmethod
    def check_options(cls, config) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        super().check_options(config)
        require_number(config, "popularity_exponent", at_least=0)
        require_whole_number(config, "min_k", at_least=1)
        if not isinstance(config["restart"], bool):
            raise OptionError(f"restart is {config['restart']!r}, but must be True or False")

    @classmethod
    def starts_sparse(cls, config) -> bool:
        """Whether training has no dense phase."""
        return _start_k(config) is not None

    @staticmethod
    def schedule_of(config) -> PruningSchedule:
        """The pruning schedule that the options ask for."""
        return PruningSchedule.create(
            config["pruning_schedule"],
            config["embedding_size"],
            config["k"],
            config["stage_epochs"],
            config["stepwise_k"],
            _start_k(config),
        )


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
