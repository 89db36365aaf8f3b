"""What training starts from: a file for each start, and a table of them by the name that the option ``start`` has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from recbole_sparse_elsa.core.starts import neighbours, regression, spectral
from recbole_sparse_elsa.core.starts.neighbours import neighbour_start
from recbole_sparse_elsa.core.starts.regression import regression_start
from recbole_sparse_elsa.core.starts.spectral import spectral_start
from recbole_sparse_elsa.core.user_histories import UserHistories

SparseStart = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Start:
    """One value of the option ``start``.

    Attributes
    ----------
    make : callable or None
        Takes the training histories, the options by name, and the number of entries of each item, and returns the
        ``start`` of a `TopKEmbedding`. None for a start that is dense, which `spectral_start` makes.
    auto_k : callable or None
        Takes the option ``k`` and returns what ``start_k`` auto stands for, at most the width. None for a dense start.
    check_options : callable
        Takes the options by name, before any data are loaded; raises OptionError if they do not allow this start.
    check_width : callable
        Takes the width that was given and the numbers of items and of users; raises OptionError if it does not fit.
    """

    make: Callable[[UserHistories, Mapping[str, Any], int], SparseStart] | None = None
    auto_k: Callable[[int], int] | None = None
    check_options: Callable[[Mapping[str, Any]], None] = lambda options: None
    check_width: Callable[[int, int, int], None] = lambda embedding_size, n_items, n_users: None


def _neighbours(histories: UserHistories, options: Mapping[str, Any], nonzeros: int) -> SparseStart:
    return neighbour_start(histories, options["embedding_size"], nonzeros)


def _regression(histories: UserHistories, options: Mapping[str, Any], nonzeros: int) -> SparseStart:
    weights = (options[name] for name in ("reg_weight", "l1_weight", "length_exponent"))
    return regression_start(histories, nonzeros, *weights)


#: The starts by name.
STARTS = {
    "neighbours": Start(make=_neighbours, auto_k=neighbours.auto_k),
    "regression": Start(
        make=_regression,
        auto_k=regression.auto_k,
        check_options=regression.check_options,
        check_width=regression.check_width,
    ),
    "spectral": Start(check_options=spectral.check_options, check_width=spectral.check_width),
}

__all__ = ["STARTS", "SparseStart", "Start", "neighbour_start", "regression_start", "spectral_start"]
