"""How a model is made, by its options and by what it chose by the data: logged, saved with it, read by the index."""

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from recbole_sparse_elsa.core import SCHEDULES_FROM_START_K, PruningSchedule

# What embedding_size auto stands for where training starts dense: the paper's.
_DENSE_WIDTH = 4096
# From as many training items a user on average SparseELSA usually ranks better than SparseSLIM.
_LONG_HISTORY = 45


@dataclass(frozen=True)
class Recipe:
    """How item embeddings are made.

    Attributes
    ----------
    embedding_size : int
        Width d of the item embeddings.
    start : str
        What they are made from: ``co-occurrence`` or ``dense`` (learnt by gradient from there), or ``regression``
        (closed form, nothing is learnt by gradient); version 0.1.0 had random ones chosen by ``neighbours``.
    start_k : int or None
        Non-zeros per item embedding of a sparse start; None where training starts dense.
    scales_input : bool
        Whether each item of a history is divided by the scale of its scores.
    own_weight : float or None
        Of a regression, see `embeddings_of_regression`.
    reason : str
        In words, why it is so where the data decided; empty where the options did.
    """

    embedding_size: int
    start: str = "dense"
    start_k: int | None = None
    scales_input: bool = False
    own_weight: float | None = None
    reason: str = ""

    @property
    def starts_sparse(self) -> bool:
        """Whether training has no dense phase."""
        return self.start_k is not None

    def in_words(self, k: int | None = None) -> str:
        """This recipe in a sentence without a full stop.

        Parameters
        ----------
        k : int, optional
            Non-zeros per item embedding at the end, on average; None for dense embeddings.
        """
        width = f"width {self.embedding_size}"
        if self.start == "regression":
            own_weight = "not chosen yet" if self.own_weight is None else f"{self.own_weight:g}"
            # Version 0.1.0 had it as a start of training.
            steps = "then trained by gradient" if self.starts_sparse else "without gradient steps"
            words = (
                f"a regression of every item on its neighbours, {steps}: {width}, a latent dimension an "
                f"item; up to {k} non-zeros an item on average, own weight {own_weight}"
            )
        elif k is None:
            words = f"dense item embeddings of {width}, learnt by gradient"
        elif self.start_k is None:
            words = f"item embeddings of {width}, learnt by gradient from a dense start, pruned to {k} non-zeros each"
        else:
            words = (
                f"item embeddings of {width}, learnt by gradient from a {self.start} start, pruned from {self.start_k} "
                f"to {k} non-zeros an item on average"
            )
        return words + (f" ({self.reason})" if self.reason else "")

    def saved(self) -> dict[str, Any]:
        """This recipe as plain data."""
        return asdict(self)

    @classmethod
    def of_saved(cls, saved: Mapping[str, Any]) -> "Recipe":
        """The recipe that `saved` gave, or that an earlier version did."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in saved.items() if name in names})

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> "Recipe":
        """The recipe of a saved model of this package with item embeddings.

        Parameters
        ----------
        checkpoint : mapping
            As RecBole's trainers save it. Version 0.1.0 wrote its choices into ``config`` instead, and had the
            regression as a start of SparseELSA.
        """
        saved = (checkpoint.get("other_parameter") or {}).get("recipe")
        if saved is not None:
            return cls.of_saved(saved)
        config = checkpoint["config"]
        start_k = sparse_start_k(config)
        start, own_weight = "dense" if start_k is None else "neighbours", None
        if config["start"] == "regression" or (config["scale_input"] is True and config["start"] == "auto"):
            start, own_weight = "regression", 0.15
        return cls(config["embedding_size"], start, start_k, bool(config["scale_input"]), own_weight)


@dataclass(frozen=True)
class DataFacts:
    """What a recipe depends on.

    Attributes
    ----------
    mean_length : float
        Training items of the users who have any, on average.
    """

    mean_length: float

    @property
    def has_long_histories(self) -> bool:
        """Whether users have 45 training items or more on average."""
        return self.mean_length >= _LONG_HISTORY


def choose_recipe(options: Mapping[str, Any], n_items: int) -> Recipe:
    """Make the choices that SparseELSA's options leave to the data.

    Parameters
    ----------
    options : mapping
        The options by name.
    n_items : int
        Number of items.
    """
    width, start_k = options["embedding_size"], sparse_start_k(options)
    if start_k is None:
        return Recipe(_DENSE_WIDTH if width == "auto" else width)
    if width != "auto":
        return Recipe(width, "co-occurrence", start_k)
    # A catalogue of fewer items than an item may have non-zeros leaves some dimensions without any.
    return Recipe(max(n_items, start_k), "co-occurrence", start_k, reason="a latent dimension an item")


def sparse_start_k(options: Mapping[str, Any]) -> int | None:
    """Non-zeros per item embedding of a sparse start, or None for a dense one."""
    k, width, start_k = options["k"], options["embedding_size"], options["start_k"]
    if start_k != "auto":
        return start_k
    # The other schedules say themselves where they begin; what is not a number is refused by the schedule.
    if options["pruning_schedule"] not in SCHEDULES_FROM_START_K or not isinstance(k, int):
        return None
    # Popular items need room to end with more than k non-zeros.
    wanted = max(4 * k, 128)
    return min(wanted, width) if isinstance(width, int) else wanted


def schedule_of(options: Mapping[str, Any], embedding_size: int, start_k: int | None) -> PruningSchedule:
    """The pruning schedule of SparseELSA's options from a width and a start.

    Raises
    ------
    OptionError
        See `PruningSchedule.create`.
    """
    return PruningSchedule.create(
        options["pruning_schedule"],
        embedding_size,
        options["k"],
        options["stage_epochs"],
        options["stepwise_k"],
        start_k,
    )


def schedule_before_data(options: Mapping[str, Any]) -> PruningSchedule:
    """The pruning schedule that SparseELSA's options lead to, which the data do not change.

    Raises
    ------
    OptionError
        See `PruningSchedule.create`.
    """
    start_k = sparse_start_k(options)
    width = options["embedding_size"]
    if width == "auto":
        width = _DENSE_WIDTH if not isinstance(start_k, int) else max(_DENSE_WIDTH, start_k)
    return schedule_of(options, width, start_k)
