"""Confidence intervals of a leaderboard's test results, and of differences between them, by bootstrap over users.

The users are resampled, each with all that is averaged of them, so an interval says how far a figure would move with
other users of the same kind; it says nothing of other training seeds, whose spread is the standard deviation over
seeds. As in the significance tests, a user's value is the mean over the user's folds, and then over the seeds in which
the user was tested: it counts once, however many seeds there are. Of a difference the users of both methods are
resampled together, so it is paired.

The interval is the percentile interval: of means over many users it hardly differs from BCa, whose jackknife would
take as many means as there are users, over all of them, and which is not defined where all values are the same. The
basic interval would leave [0, 1], where the metrics lie.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy
import pandas
from tqdm import tqdm

from recbole_sparse_elsa.leaderboard.read_results import mean_over_seeds, paper_name
from recbole_sparse_elsa.leaderboard.tables import Table, Value, provenance, provenance_in_words
from recbole_sparse_elsa.leaderboard.user_values import read_users, users_over_seeds

LEVEL = 0.95
N_RESAMPLES = 9999
SEED = 2020
IN_WORDS = (
    f"{LEVEL:.0%} intervals: percentile bootstrap over users, {N_RESAMPLES:,} resamples, seed {SEED}; a user's folds "
    "and seeds are averaged first"
)
# Numbers of users, over all resamples that are drawn at a time: 32 MiB.
_AT_A_TIME = 2**22
_COLUMNS = ("dataset", "metric", "method", "users", "seeds", "mean", "low", "high")


def confidence_intervals(samples: Sequence[pandas.Series]) -> numpy.ndarray:
    """Intervals of means over users.

    Parameters
    ----------
    samples : list of pandas.Series
        float, one a user, indexed by user; those of the same users are resampled together.

    Returns
    -------
    numpy.ndarray
        float64, shape ``(len(samples), 2)``: the lower and the upper end of each; NaN with fewer than two users.
    """
    intervals = numpy.full((len(samples), 2), math.nan)
    of_same_users: list[list[int]] = []
    for i, sample in enumerate(samples):
        group = next((group for group in of_same_users if samples[group[0]].index.equals(sample.index)), None)
        if group is None:
            of_same_users.append([i])
        else:
            group.append(i)
    groups = [group for group in of_same_users if len(samples[group[0]]) > 1]
    with tqdm(total=len(groups) * N_RESAMPLES, desc="Intervals", unit="resample", delay=1, leave=False) as progress:
        for group in groups:
            intervals[group] = _intervals_of_means(numpy.stack([samples[i].to_numpy(float) for i in group]), progress)
    return intervals


def _intervals_of_means(values: numpy.ndarray, progress: tqdm) -> numpy.ndarray:
    """Intervals, shape (n, 2), of the means of rows, shape (n, n_users)."""
    from scipy import stats

    n_users = values.shape[1]

    def means_of(drawn: numpy.ndarray, axis: int) -> numpy.ndarray:
        """The means of all rows, shape (n, n_resamples), from the users that were drawn, (n_resamples, n_users)."""
        n_resamples = len(drawn)
        first = numpy.arange(n_resamples)[:, None] * n_users
        # How often each user was drawn. One product then gives all rows, where taking the values would copy them.
        times = numpy.bincount((drawn + first).ravel(), minlength=n_resamples * n_users).reshape(n_resamples, n_users)
        progress.update(n_resamples)
        return values @ times.T.astype(float) / n_users

    result = stats.bootstrap(
        (numpy.arange(n_users),),
        means_of,
        vectorized=True,
        method="percentile",
        confidence_level=LEVEL,
        n_resamples=N_RESAMPLES,
        batch=max(1, _AT_A_TIME // n_users),
        random_state=numpy.random.default_rng(SEED),
    )
    return numpy.stack([result.confidence_interval.low, result.confidence_interval.high], axis=-1)


def intervals_of_results(
    results: pandas.DataFrame, folder: str | os.PathLike[str], metrics: Sequence[str]
) -> pandas.DataFrame:
    """The interval of every method and size, on each data set and metric.

    Parameters
    ----------
    results : pandas.DataFrame
        As from `read_results`.
    folder : str or os.PathLike
        The folder that holds cells/CELL/per_user.parquet.
    metrics : sequence of str
        Names of metrics.

    Returns
    -------
    pandas.DataFrame
        A row per data set, metric, method and size, with columns ``dataset``, ``metric``, ``method`` (with its size),
        ``users``, ``seeds`` (number), ``mean`` (over users), ``low`` and ``high``. Users with a value that is not
        finite are left out.

    Raises
    ------
    NoUserMetrics
        A cell's file is missing or has no such metric, or pyarrow is not installed.
    """
    rows: list[dict[str, Any]] = []
    for dataset in results["dataset"].unique():
        of_dataset, samples = [], []
        for metric in metrics:
            read = functools.partial(read_users, folder, metric=metric)
            cells = results[(results["dataset"] == dataset) & (results["metric"] == metric)]
            groups = cells.groupby("name", sort=False)
            what = f"Users of {dataset}, {paper_name(metric)}"
            for name, of_name in tqdm(groups, desc=what, unit="method", delay=1, leave=False):
                users = users_over_seeds([read(cell) for cell in of_name["cell"]])
                row = {"dataset": dataset, "metric": metric, "method": name, "users": len(users)}
                of_dataset.append({**row, "seeds": of_name["seed"].nunique(), "mean": users.mean()})
                samples.append(users)
        for row, (low, high) in zip(of_dataset, confidence_intervals(samples)):
            rows.append({**row, "low": low, "high": high})
    return pandas.DataFrame(rows, columns=_COLUMNS)


def interval_in_words(low: float, high: float, sign: str = "") -> str:
    """An interval as tables show it."""
    return f"[{low:{sign}.4f}, {high:{sign}.4f}]" if math.isfinite(low) and math.isfinite(high) else "–"


def interval_tables(intervals: pandas.DataFrame, results: pandas.DataFrame) -> list[Table]:
    """A table per data set and metric.

    Parameters
    ----------
    intervals : pandas.DataFrame
        As from `intervals_of_results`.
    results : pandas.DataFrame
        What they are of.
    """
    tables = []
    groups: Any = intervals.groupby(["dataset", "metric"], sort=False)
    for (dataset, metric), group in groups:
        rows = [
            [row.method, Value(row.mean), interval_in_words(row.low, row.high), f"{row.users:,}", str(row.seeds)]
            for row in group.itertuples()
        ]
        notes = [f"Test data, mean over users. {IN_WORDS}."]
        notes += _differing_means(group, results, dataset, metric)
        if (group["users"] < 2).any():
            notes.append("–: there is no interval with fewer than two users.")
        of_table = results[(results["dataset"] == dataset) & (results["metric"] == metric)]
        title = f"{dataset}: {paper_name(metric)} with {LEVEL:.0%} intervals"
        headings = ["method", "mean", f"{LEVEL:.0%} interval", "users", "seeds"]
        paper_notes = notes + provenance_in_words(of_table)
        tables.append(Table(title, headings, rows, notes + provenance(of_table), paper_notes))
    return tables


def _differing_means(group: pandas.DataFrame, results: pandas.DataFrame, dataset: str, metric: str) -> list[str]:
    """Of which rows the mean over users is not the mean over seeds of the other tables."""
    means = mean_over_seeds(results[(results["dataset"] == dataset) & (results["metric"] == metric)])
    over_seeds = means.set_index("name")["mean"]
    rows: Any = group.itertuples()
    differing = [
        row.method
        for row in rows
        if not math.isclose(row.mean, over_seeds[row.method], rel_tol=1e-6, abs_tol=5e-5)
    ]
    if not differing:
        return []
    return [
        "The mean over users is not the mean over seeds where seeds test different users, or where a user's value is "
        f"not finite: {'; '.join(differing)}."
    ]
