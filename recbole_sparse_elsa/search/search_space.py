"""The search space of a model: which options are searched, and over which values."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from recbole.utils.argument_list import dataset_arguments, evaluation_arguments, general_arguments

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.leaderboard.specification import read_yaml
from recbole_sparse_elsa.options import shown

# The kinds of range: whether its values are whole numbers, and whether they are spread evenly on a log scale.
_RANGES = {"uniform": (False, False), "loguniform": (False, True), "int": (True, False), "logint": (True, True)}
_KINDS = "uniform, loguniform, int, logint or choice"

# Trials that differ in one of these would be judged on different data or by different metrics.
_PROTOCOL = {
    *("model", "dataset", "config_files", "test_mask", "valid_share", "refit_epochs"),
    *(*general_arguments, *evaluation_arguments, *dataset_arguments),
}


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``, both included.

    Attributes
    ----------
    low, high : int or float
        The bounds.
    integer : bool
        Whole numbers only.
    log : bool
        Spread evenly on a log scale.
    """

    low: float
    high: float
    integer: bool
    log: bool

    def suggest(self, trial: Any, option: str) -> Any:
        """Draw a value of the option in an Optuna trial."""
        suggest = trial.suggest_int if self.integer else trial.suggest_float
        return suggest(option, self.low, self.high, log=self.log)

    def value(self, stored: Any) -> Any:
        """The option's value, of which Optuna stored ``stored``."""
        return stored


@dataclass(frozen=True)
class Choice:
    """One of ``values``, which have no order: numbers, texts, booleans, null, or lists of these."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, option: str) -> Any:
        """Draw a value of the option in an Optuna trial."""
        return self.value(trial.suggest_categorical(option, [_storable(value) for value in self.values]))

    def value(self, stored: Any) -> Any:
        """The option's value, of which Optuna stored ``stored``."""
        return next(value for value in self.values if _storable(value) == stored)


#: The searched options with their values.
SearchSpace: TypeAlias = dict[str, Range | Choice]


def _storable(value: Any) -> Any:
    # Optuna stores no lists, so they are known to it by their text.
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def read_search_space(file: str | os.PathLike[str]) -> SearchSpace:
    """Read a search space: a YAML file that maps each option to ``{kind: [...]}``.

    The kinds are ``uniform: [low, high]``, ``loguniform: [low, high]``, ``int: [low, high]``, ``logint: [low, high]``
    and ``choice: [value, ...]``.

    Parameters
    ----------
    file : str or os.PathLike
        The file.

    Returns
    -------
    dict of str to Range or Choice
        By option, in the order of the file.

    Raises
    ------
    OptionError
        Names the file, the option, its value and what is allowed.
    """
    space = read_yaml(file)
    if not space:
        raise OptionError(
            f"{file} searches no option; give at least one, such as learning_rate: {{loguniform: [0.001, 0.1]}}"
        )
    return {option: _parse(file, option, given) for option, given in space.items()}


def require_searchable(
    space: SearchSpace, file: str | os.PathLike[str], config: Any, fixed: Iterable[str]
) -> None:
    """Raise OptionError unless every searched option is one of the model and its training, and nothing else fixes it.

    Parameters
    ----------
    space : dict
        What `read_search_space` returned for ``file``.
    file : str or os.PathLike
        The file, for the message.
    config : recbole.config.Config
        The options of the model without the search.
    fixed : iterable of str
        Options that the size sets.
    """
    for option in space:
        if option in _PROTOCOL:
            raise OptionError(
                f"{file} searches {option}, but only options of a model and of its training can be searched: "
                "with others, trials would not be judged alike"
            )
        if option in fixed:
            raise OptionError(f"{file} searches {option}, which the size fixes; leave it out of one of the two")
        if option not in config.final_config_dict:
            raise OptionError(f"{file} searches {option}, which is not an option of {config['model']}")


def _parse(file: str | os.PathLike[str], option: str, given: Any) -> Range | Choice:
    where = f"{file}: {option} is {shown(given)}, but must be"
    if not isinstance(option, str) or not isinstance(given, dict) or len(given) != 1:
        raise OptionError(f"{where} one of {_KINDS} with its list, such as {{loguniform: [0.001, 0.1]}}")
    ((kind, values),) = given.items()
    if kind == "choice":
        if not isinstance(values, list) or not values or any(values.count(value) > 1 for value in values):
            raise OptionError(f"{where} {{choice: [...]}} with a list of different values")
        return Choice(tuple(values))
    if kind not in _RANGES:
        raise OptionError(f"{where} one of {_KINDS} with its list, not {kind}")
    integer, log = _RANGES[kind]
    numbers = "whole numbers" if integer else "finite numbers"
    smallest = f", low {'at least 1' if integer else 'above 0'}" if log else ""
    if (
        not isinstance(values, list)
        or len(values) != 2
        or not all(_is_number(value, integer) for value in values)
        or not values[0] < values[1]
        or (log and values[0] <= 0)
    ):
        raise OptionError(f"{where} {{{kind}: [low, high]}} with {numbers}, low below high{smallest}")
    low, high = values
    return Range(low, high, integer, log)


def _is_number(value: Any, integer: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
        return False
    # Of whole numbers those that a database can hold.
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)
