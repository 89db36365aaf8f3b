"""Checks of single options, worded the same everywhere."""

import math

from recbole_sparse_elsa.errors import OptionError


def add_whole_number_options(parser, *options) -> None:
    """Add options to an argparse parser, each given as a tuple of its name, its default and its meaning."""
    for name, default, meaning in options:
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: {default})")


def require_whole_number(config, name, at_least) -> None:
    """Raise OptionError unless the option is a whole number of at least ``at_least``."""
    value = config[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise OptionError(f"{name} is {value!r}, but must be a whole number of at least {at_least}")


def require_k_within(k, embedding_size) -> None:
    """Raise OptionError if there are to be more non-zeros than latent dimensions."""
    if k > embedding_size:
        raise OptionError(f"k is {k}, but must be at most embedding_size, which is {embedding_size}")


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
