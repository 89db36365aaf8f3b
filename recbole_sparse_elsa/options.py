"""Checks of single options, worded the same everywhere."""

import math

from recbole_sparse_elsa.errors import OptionError


def require_whole_number(config, name, at_least) -> None:
    """Raise OptionError unless the option is a whole number of at least ``at_least``."""
    value = config[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise OptionError(f"{name} is {value!r}, but must be a whole number of at least {at_least}")


def require_number(config, name, at_least=None, above=None, below=None) -> None:
    """Raise OptionError unless the option is a finite number within the bounds that are given."""
    value = config[name]
    bounds = [
        f"{word} {bound}"
        for word, bound in (("at least", at_least), ("above", above), ("below", below))
        if bound is not None
    ]
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or (at_least is not None and value < at_least)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    ):
        raise OptionError(f"{name} is {value!r}, but must be a finite number {' and '.join(bounds)}")
