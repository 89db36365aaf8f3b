"""How a model is made, by its options and by what it chose by the data: logged, saved with it, read by the index."""

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from recbole_sparse_elsa.core import SCHEDULES_FROM_START_K, PruningSchedule

# What embedding_size auto stands for. Where users have fewer items, there is too little in a history to choose places
# by neighbours, and dense training of few latent dimensions ranks better.
_WIDE, _NARROW = 4096, 256
_LONG_HISTORY = 45


@dataclass(frozen=True)
class Recipe:
    """How item embeddings are made.

    Attributes
    ----------
    embedding_size : int
        Width d of the item embeddings.
    start : str
        What they are made from: ``neighbours`` or ``dense`` (learnt by gradient from there), or ``regression`` (closed
        form, nothing is learnt by gradient).
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
                f"item embeddings of {width}, learnt by gradient from a neighbour start, pruned from {self.start_k} to "
                f"{k} non-zeros an item"
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

    def length_in_words(self) -> str:
        """The length of histories beside the bound."""
        comparison = f"{_LONG_HISTORY} or more" if self.has_long_histories else f"fewer than {_LONG_HISTORY}"
        return f"users have {self.mean_length:.1f} training items on average, {comparison}"


def choose_recipe(options: Mapping[str, Any], facts: DataFacts) -> Recipe:
    """Make the choices that SparseELSA's options leave to the data.

    Parameters
    ----------
    options : mapping
        The options by name.
    facts : DataFacts
        Of the training data.
    """
    wide, *narrow = choices_before_data(options)
    chosen = narrow[0] if narrow and not facts.has_long_histories else wide
    start_k = sparse_start_k(chosen)
    reason = facts.length_in_words() if options["embedding_size"] == "auto" else ""
    return Recipe(chosen["embedding_size"], "dense" if start_k is None else "neighbours", start_k, reason=reason)


def choices_before_data(options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The options, or those that ``embedding_size`` auto stands for: for long histories, and for shorter ones."""
    if options["embedding_size"] != "auto":
        return [options]
    least_width = 4 * options["k"] if isinstance(options["k"], int) else 0
    narrow = min(max(_NARROW, least_width), _WIDE)
    names = ("pruning_schedule", "k", "stage_epochs", "stepwise_k", "start_k")
    named = {name: options[name] for name in names}
    short_start = None if named["start_k"] == "auto" else named["start_k"]
    return [{**named, "embedding_size": _WIDE}, {**named, "embedding_size": narrow, "start_k": short_start}]


def sparse_start_k(options: Mapping[str, Any]) -> int | None:
    """Non-zeros per item embedding of a sparse start, or None for a dense one."""
    k, width, start_k = options["k"], options["embedding_size"], options["start_k"]
    if start_k != "auto":
        return start_k
    # The other schedules say themselves where they begin; what is not a number is refused by the schedule.
    if options["pruning_schedule"] not in SCHEDULES_FROM_START_K or not all(isinstance(n, int) for n in (k, width)):
        return None
    # Popular items need room to end with more than k non-zeros.
    return min(max(4 * k, 128), width)


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
