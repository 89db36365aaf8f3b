"""SparseELSA.

Reference:
    Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in WWW 2026.
"""

from recbole_sparse_elsa.core import PruningSchedule, TopKEmbedding, neighbour_start
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.elsa import ELSA


class SparseELSA(ELSA):
    """ELSA with k non-zeros per item embedding, reached by pruning during training (method page, section 2).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``, ``pruning_schedule``, ``start_k``, ``stage_epochs``, ``stepwise_k`` and ``restart`` beside ELSA's
        options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.restart = config["restart"]
        if self.restart:
            self.item_embedding.keep_initial_weight()

    def _new_embedding(self, config):
        if config["start_k"] is None:
            return super()._new_embedding(config)
        start = neighbour_start(self.histories, config["embedding_size"], self.pruning_schedule.k_at(0))
        return TopKEmbedding(self.histories.n_items, config["embedding_size"], start)

    @classmethod
    def check_options(cls, config) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        super().check_options(config)
        if not isinstance(config["restart"], bool):
            raise OptionError(f"restart is {config['restart']!r}, but must be True or False")

    @staticmethod
    def schedule_of(config) -> PruningSchedule:
        """The pruning schedule that the options ask for."""
        return PruningSchedule.create(
            config["pruning_schedule"],
            config["embedding_size"],
            config["k"],
            config["stage_epochs"],
            config["stepwise_k"],
            config["start_k"],
        )
