"""SparseELSA.

Reference:
    Vančura et al. "Efficient Learning of Sparse Representations from Interactions." in WWW 2026.
"""

import torch
from torch.nn import functional as F

from recbole_sparse_elsa.core import (
    PruningSchedule,
    allocate_nonzeros,
    neighbour_start,
    regression_start,
    spectral_start,
)
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model.elsa import ELSA, check_autoencoder_options
from recbole_sparse_elsa.options import require_number, require_whole_number

# What embedding_size auto stands for. Where users have fewer items, training from a random start soon fits chance, and a
# regularised regression is the better start; where that cannot be, dense training of few latent dimensions.
_WIDE, _NARROW = 4096, 256
_LONG_HISTORY = 45
_STARTS = ("auto", "neighbours", "regression", "spectral")
# Of rows that training is to change a little, see regression_start: those of singular vectors, and of codes and a
# regression side by side.
_ROW_NORM = 7.0
_SCHEDULES_FROM_START_K = ("exponential", "linear")


class SparseELSA(ELSA):
    """ELSA with k non-zeros per item embedding, reached by pruning during training (method page, section 2).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``k``, ``pruning_schedule``, ``start``, ``start_k``, ``reg_weight``, ``l1_weight``, ``length_exponent``,
        ``stage_epochs``, ``stepwise_k``, ``code_size``, ``regression_share``, ``restart``, ``popularity_exponent``,
        ``min_k`` and ``scale_input`` beside ELSA's options.
    dataset : recbole.data.dataset.Dataset
        The training interactions.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.restart = config["restart"]
        self.code_size = config["code_size"]
        self.min_k = config["min_k"]
        self.regression_share = config["regression_share"]
        wanted = round(self.regression_share * config["k"])
        self.regression_nonzeros = min(wanted, config["k"] - 1, self.histories.n_items)
        if self.regression_nonzeros:
            self.regression_size = self.histories.n_items
            # Of the training interactions: what an evaluation puts in their place plays no part.
            self._regression = self._regression_start(config, self.regression_nonzeros)
        # An item without users would have no share at all; it counts as one with a single user.
        self.nonzero_shares = self.users_of_items().clamp(min=1).double() ** config["popularity_exponent"]
        if self.restart:
            self.item_embedding.keep_initial_weight()

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
    def replace_item_embeddings(self, autoencoder, nonzeros) -> None:
        """As of ELSA; with a ``regression_share``, a regression start follows in latent dimensions of its own.

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

    def _new_embedding(self, config):
        if config["start"] == "spectral":
            return self._spectral_embedding(config)
        if not self.starts_sparse(config):
            return super()._new_embedding(config)
        start_k = self.pruning_schedule.k_at(0)
        if config["start"] == "regression":
            start = self._regression_start(config, start_k)
        else:
            start = neighbour_start(self.histories, config["embedding_size"], start_k)
        return super()._new_embedding(config, start)

    def _regression_start(self, config, nonzeros):
        regression = (config[option] for option in ("reg_weight", "l1_weight", "length_exponent"))
        return regression_start(self.histories, nonzeros, *regression)

    def _spectral_embedding(self, config):
        # Where the histories are, of which the start is made.
        layer = super()._new_embedding(config).to(self.device)
        rows, norms = spectral_start(self.histories, config["embedding_size"])
        # The others keep their random rows: a row of zeros has no direction.
        layer.weight.data = torch.where(norms[:, None] > 0, _ROW_NORM * rows, layer.weight.data)
        scale = (norms / norms.max()).sqrt()
        if layer.item_scale is not None:
            scale = scale * layer.item_scale.float()
        layer.item_scale = scale.clamp(min=torch.finfo(torch.float16).tiny).half()
        return layer

    @classmethod
    def check_options(cls, config) -> None:
        """Refuse options that are not allowed, before any data are loaded; see `ELSA.check_options`."""
        super().check_options(config)
        require_number(config, "popularity_exponent", at_least=0)
        require_whole_number(config, "min_k", at_least=1)
        if not isinstance(config["restart"], bool):
            raise OptionError(f"restart is {config['restart']!r}, but must be True or False")
        if config["start"] not in _STARTS:
            raise OptionError(f"start is {config['start']!r}, but must be one of {', '.join(_STARTS)}")
        if config["scale_input"] != "auto" and not isinstance(config["scale_input"], bool):
            raise OptionError(f"scale_input is {config['scale_input']!r}, but must be auto, True or False")
        require_number(config, "reg_weight", above=0)
        require_number(config, "l1_weight", at_least=0)
        require_number(config, "length_exponent", at_least=-1)
        require_number(config, "regression_share", at_least=0, below=1)
        if config["regression_share"] and config["code_size"] is None:
            raise OptionError(f"regression_share is {config['regression_share']}, but must be 0 without a code_size")
        if config["start"] == "regression":
            _check_regression(config)
        if config["start"] == "spectral":
            _check_spectral(config)
        if config["code_size"] is not None:
            _check_code_size(config)

    @classmethod
    def starts_sparse(cls, config) -> bool:
        """Whether training has no dense phase."""
        return _start_k(config) is not None

    @classmethod
    def schedules_of(cls, config) -> list:
        """As of ELSA: one for each length of histories while ``embedding_size`` is auto."""
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
        """Choose the width and the start where ``embedding_size`` is auto, and ``scale_input`` where that is."""
        if config["embedding_size"] == "auto":
            self._choose_width(config)
        else:
            self._check_width_of_start(config)
        if config["scale_input"] == "auto":
            config["scale_input"] = config["start"] == "regression"
        self.scales_input = config["scale_input"]

    def _choose_width(self, config):
        """Of auto, by the length of the training histories."""
        lengths, n_items = self.histories.row_pointers.diff(), self.histories.n_items
        mean_length = lengths.sum().item() / max(1, torch.count_nonzero(lengths).item())
        chosen, *for_shorter = _choices(config)
        if for_shorter and mean_length < _LONG_HISTORY:
            chosen, *from_regression = for_shorter
            # A catalogue smaller than the narrow width has no room for the schedule.
            if from_regression and n_items >= chosen["embedding_size"]:
                (chosen,) = from_regression
        for option in ("embedding_size", "start", "start_k"):
            config[option] = chosen[option]
        if config["start"] == "regression":
            config["embedding_size"] = n_items
        start = config["start"] if self.starts_sparse(config) else "dense"
        self.logger.info(
            f"embedding_size is {config['embedding_size']}, start is {start}: users have {mean_length:.1f} training "
            "items in the mean"
        )

    def _check_width_of_start(self, config):
        n_items = self.histories.n_items
        n_users = torch.count_nonzero(self.histories.row_pointers.diff()).item()
        if config["start"] == "spectral" and config["embedding_size"] > min(n_items, n_users):
            raise OptionError(
                f"embedding_size is {config['embedding_size']}, but must be at most the number of items, which is "
                f"{n_items}, and of users, which is {n_users}, where start is spectral"
            )
        if config["start"] == "regression" and config["embedding_size"] != n_items:
            raise OptionError(
                f"embedding_size is {config['embedding_size']}, but must be auto, or the number of items, which is "
                f"{n_items}, where start is regression"
            )


def _choices(config):
    """The options, or those that ``embedding_size`` auto stands for: for long histories, and two for shorter ones.

    The last, which is chosen where it can be, has as many latent dimensions as there are items; here the fewest of them.
    """
    if config["embedding_size"] != "auto":
        return [config]
    least_width = 4 * config["k"] if isinstance(config["k"], int) else 0
    narrow = min(max(_NARROW, least_width), _WIDE)
    names = ("pruning_schedule", "k", "stage_epochs", "stepwise_k", "start_k", "start")
    options = {name: config[name] for name in names}
    an_item_each = {**options, "embedding_size": narrow, "start": "regression"}
    if config["start"] == "regression":
        return [an_item_each]
    short_start = None if options["start_k"] == "auto" else options["start_k"]
    choices = [
        {**options, "embedding_size": _WIDE, "start": "neighbours"},
        {**options, "embedding_size": narrow, "start": "neighbours", "start_k": short_start},
    ]
    return [*choices, an_item_each] if config["start"] == "auto" and _start_k(an_item_each) is not None else choices


def _check_regression(config):
    if config["start_k"] is None or config["pruning_schedule"] not in _SCHEDULES_FROM_START_K:
        raise OptionError(
            f"start is regression, but must be auto or neighbours with start_k {config['start_k']} and "
            f"pruning_schedule {config['pruning_schedule']}: it needs a start_k, or auto, and one of "
            f"{', '.join(_SCHEDULES_FROM_START_K)}"
        )


def _check_spectral(config):
    if config["embedding_size"] == "auto" or config["start_k"] not in ("auto", None):
        raise OptionError(
            f"start is spectral, but must be another one with embedding_size {config['embedding_size']} and start_k "
            f"{config['start_k']}: it needs an embedding_size in numbers, and start_k auto or none"
        )


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
    if config["start"] == "spectral":
        return None
    k, width, start_k = config["k"], config["embedding_size"], config["start_k"]
    if start_k != "auto":
        return start_k
    # The other schedules say themselves where they begin; what is not a number is refused by the schedule.
    if config["pruning_schedule"] not in _SCHEDULES_FROM_START_K or not all(isinstance(n, int) for n in (k, width)):
        return None
    # Popular items need room to end with more than k non-zeros.
    return min(2 * k if config["start"] == "regression" else max(4 * k, 128), width)
