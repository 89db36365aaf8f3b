"""The metrics of a leaderboard's users, as tests and intervals take them: one value a user."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import numpy
import pandas

from recbole_sparse_elsa.leaderboard.user_metrics import read_user_metrics

Values = TypeVar("Values", pandas.Series, pandas.DataFrame)


class NoUserMetrics(Exception):
    """Significance cannot be tested, since the metrics of single users are not at hand; the message says why."""


def read_users(folder: str | os.PathLike[str], cell: str, metric: str) -> pandas.Series:
    """A cell's metric of each user, the mean over the user's folds, by user token.

    Raises
    ------
    NoUserMetrics
        The cell's file is missing or has no such metric, or pyarrow is not installed.
    """
    file = os.path.join(folder, "cells", cell, "per_user.parquet")
    try:
        users = read_user_metrics(file)
    except ImportError:
        raise NoUserMetrics('pyarrow is not installed; run: pip install "recbole_sparse_elsa[leaderboard]"') from None
    except FileNotFoundError:
        raise NoUserMetrics(f"{file} was not found") from None
    except (OSError, ValueError) as error:
        raise NoUserMetrics(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if metric not in users:
        raise NoUserMetrics(f"{file} has no {metric}")
    # pandas would leave NaN out of a mean, and with it a fold that is harder or easier than others.
    finite = numpy.isfinite(users[metric]).groupby(users["user"]).all()
    return users.groupby("user")[metric].mean().where(finite)


def users_over_seeds(seeds: Sequence[Values]) -> Values:
    """The mean over the seeds in which each user was tested, sorted by user.

    Parameters
    ----------
    seeds : list of pandas.Series or of pandas.DataFrame
        float values of a seed, indexed by user. A user of a seed with a value that is not finite is left out there.
    """
    values = pandas.concat(seeds)
    finite = numpy.isfinite(values.to_numpy()).reshape(len(values), -1).all(axis=1)
    return values[finite].groupby(level=0).mean()
