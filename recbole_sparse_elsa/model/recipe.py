"""What a model chose from its options and the data: it is logged, saved with the model, and read by the index."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from recbole_sparse_elsa.core import SCHEDULES_FROM_START_K, PruningSchedule
from recbole_sparse_elsa.core.starts import STARTS

# What embedding_size auto stands for. Where users have fewer items, training from a random start soon fits chance, and
# a regularised regression is the better start; where that cannot be, dense training of few latent dimensions.
_WIDE, _NARROW = 4096, 256
_LONG_HISTORY = 45


@dataclass(frozen=True)
class Recipe:
    """The choices that options leave to the data, made.

    Attributes
    ----------
    embedding_size : int
        Width d of the item embeddings.
    start : str
        What training starts from: neighbours, regression, spectral or dense.
    start_k : int or None
        Non-zeros per item embedding of a sparse start; None where training starts dense.
    scales_input : bool
        Whether each item of a history is divided by the scale of its scores.
    """

    embedding_size: int
    start: str = "dense"
    start_k: int | None = None
    scales_input: bool = False

    @property
    def starts_sparse(self) -> bool:
        """Whether training has no dense phase."""
        return self.start_k is not None

    def saved(self) -> dict[str, Any]:
        """This recipe as plain data."""
        return asdict(self)

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> "Recipe":
        """The recipe of a saved model of this package with item embeddings.

        Parameters
        ----------
        checkpoint : mapping
            As RecBole's trainers save it. Version 0.1.0 wrote its choices into ``config`` instead.
        """
        saved = (checkpoint.get("other_parameter") or {}).get("recipe")
        if saved is not None:
            return cls(**saved)
        config = checkpoint["config"]
        start_k = sparse_start_k(config)
        start = _start_name(config["start"], start_k)
        return cls(config["embedding_size"], start, start_k, bool(config["scale_input"]))


@dataclass(frozen=True)
class DataFacts:
    """What a recipe depends on.

    Attributes
    ----------
    n_items, n_users : int
        Items of the catalogue, and users with training interactions.
    mean_length : float
        Training items of these users, on average.
    """

    n_items: int
    n_users: int
    mean_length: float


def choose_recipe(options: Mapping[str, Any], facts: DataFacts) -> Recipe:
    """Make the choices that SparseELSA's options leave to the data.

    Parameters
    ----------
    options : mapping
        The options by name.
    facts : DataFacts
        Of the training data.

    Raises
    ------
    OptionError
        A width that was given does not fit the start and the data.
    """
    chosen = options if options["embedding_size"] != "auto" else _choice_for(options, facts)
    start_k = sparse_start_k(chosen)
    STARTS.get(chosen["start"], STARTS["neighbours"]).check_width(
        chosen["embedding_size"], facts.n_items, facts.n_users
    )
    scales_input = options["scale_input"]
    if scales_input == "auto":
        scales_input = chosen["start"] == "regression"
    return Recipe(chosen["embedding_size"], _start_name(chosen["start"], start_k), start_k, scales_input)


def _start_name(start, start_k):
    if start == "spectral":
        return start
    if start_k is None:
        return "dense"
    return "regression" if start == "regression" else "neighbours"


def _choice_for(options, facts):
    """The width, the start and start_k that ``embedding_size`` auto stands for, by the length of histories."""
    chosen, *for_shorter = choices_before_data(options)
    if for_shorter and facts.mean_length < _LONG_HISTORY:
        chosen, *from_regression = for_shorter
        # A catalogue smaller than the narrow width has no room for the schedule.
        if from_regression and facts.n_items >= chosen["embedding_size"]:
            (chosen,) = from_regression
    return {**chosen, "embedding_size": facts.n_items} if chosen["start"] == "regression" else chosen


def choices_before_data(options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The options, or those that ``embedding_size`` auto stands for: for long histories, and two for shorter ones.

    The last, which is chosen where it can be, has as many latent dimensions as there are items; here the fewest.
    """
    if options["embedding_size"] != "auto":
        return [options]
    least_width = 4 * options["k"] if isinstance(options["k"], int) else 0
    narrow = min(max(_NARROW, least_width), _WIDE)
    names = ("pruning_schedule", "k", "stage_epochs", "stepwise_k", "start_k", "start")
    named = {name: options[name] for name in names}
    an_item_each = {**named, "embedding_size": narrow, "start": "regression"}
    if named["start"] == "regression":
        return [an_item_each]
    short_start = None if named["start_k"] == "auto" else named["start_k"]
    choices: list[Mapping[str, Any]] = [
        {**named, "embedding_size": _WIDE, "start": "neighbours"},
        {**named, "embedding_size": narrow, "start": "neighbours", "start_k": short_start},
    ]
    if named["start"] == "auto" and sparse_start_k(an_item_each) is not None:
        choices.append(an_item_each)
    return choices


def sparse_start_k(options: Mapping[str, Any]) -> int | None:
    """Non-zeros per item embedding of a sparse start, or None for a dense one."""
    auto_k = STARTS.get(options["start"], STARTS["neighbours"]).auto_k
    if auto_k is None:
        return None
    k, width, start_k = options["k"], options["embedding_size"], options["start_k"]
    if start_k != "auto":
        return start_k
    # The other schedules say themselves where they begin; what is not a number is refused by the schedule.
    if options["pruning_schedule"] not in SCHEDULES_FROM_START_K or not all(isinstance(n, int) for n in (k, width)):
        return None
    return min(auto_k(k), width)


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
