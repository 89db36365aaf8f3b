"""Significance tests of a leaderboard's test results on per-user metrics.

A user is the unit. The metric of a user is the mean over the user's folds; method and baseline are paired by user token
within each seed that both have; and a user's values are averaged over the seeds in which the user was tested. What is
tested is whether the differences, one a user, are centred at 0, two-sided: by the paired t-test and by the Wilcoxon
signed-rank test (scipy.stats; differences of 0 are left out of the ranks). The p-values of each test are Holm-corrected
over all comparisons of a table, which is of one data set and metric.
"""

import functools
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy
import pandas
from scipy import stats
from tqdm import tqdm

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.leaderboard.intervals import IN_WORDS, LEVEL, confidence_intervals, interval_in_words
from recbole_sparse_elsa.leaderboard.read_results import (
    columns_of_equal_size,
    mean_over_seeds,
    paper_name,
    smaller_is_better,
)
from recbole_sparse_elsa.leaderboard.tables import Table, provenance, provenance_in_words
from recbole_sparse_elsa.leaderboard.user_values import read_users, users_over_seeds

_EXPLANATION = (
    "Test data. Means are over users; difference: method minus baseline. Two-sided p-values of the paired t-test and "
    "the Wilcoxon signed-rank test on the users' differences; a user's folds and seeds are averaged first. Holm: "
    f"corrected over all comparisons of this table. {IN_WORDS}, and of a difference both methods' values of a user are "
    "drawn together."
)
_HEADINGS = (
    *("method", "baseline", "mean", "baseline's mean", "difference", f"{LEVEL:.0%} interval", "better"),
    *("t-test p", "t-test p, Holm", "Wilcoxon p", "Wilcoxon p, Holm", "users", "seeds"),
)

_COLUMNS = (
    *("dataset", "metric", "method", "baseline", "users", "seeds", "method_mean", "baseline_mean", "difference"),
    *("difference_low", "difference_high", "better", "t_test_p", "t_test_holm_p", "wilcoxon_p", "wilcoxon_holm_p"),
)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm, Scandinavian Journal of Statistics 1979), in the order of the input.

    The i-th smallest of m p-values is multiplied by m - i + 1, made at least its predecessor, and at most 1. NaN stays
    NaN and does not count as a comparison.
    """
    corrected, largest = list(p_values), 0.0
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[i]))
        corrected[i] = largest
    return corrected


def compare(differences: Iterable[float]) -> tuple[float, float]:
    """Two-sided p-values of the paired t-test and of the Wilcoxon signed-rank test.

    Parameters
    ----------
    differences : array_like
        float, one a user. All 0 give 1; fewer than two users give NaN.
    """
    differences = numpy.asarray(differences, dtype=float)
    if len(differences) < 2:
        return math.nan, math.nan
    if not differences.any():
        return 1.0, 1.0
    with warnings.catch_warnings():
        # scipy warns of lost precision where all differences are (nearly) the same; the p-value is about 0 then.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ttest_1samp(differences, 0.0).pvalue), float(stats.wilcoxon(differences).pvalue)


def compare_with_baseline(
    results: pandas.DataFrame, folder: str | os.PathLike[str], baseline: str, metrics: Sequence[str]
) -> pandas.DataFrame:
    """Every method and size against the baseline, on each data set and metric.

    A baseline with several sizes is compared at equal size (see `columns_of_equal_size`), one with a single size with
    every size of the others.

    Parameters
    ----------
    results : pandas.DataFrame
        As from `read_results`.
    folder : str or os.PathLike
        The folder that holds cells/CELL/per_user.parquet.
    baseline : str
        A label of the results.
    metrics : sequence of str
        Names of metrics.

    Returns
    -------
    pandas.DataFrame
        A row per comparison, with columns ``dataset``, ``metric``, ``method`` and ``baseline`` (names with sizes),
        ``users``, ``seeds`` (number), ``method_mean``, ``baseline_mean``, ``difference``, ``difference_low`` and
        ``difference_high`` (its interval; see `confidence_intervals`), ``better`` (method, baseline or neither),
        ``t_test_p``, ``t_test_holm_p``, ``wilcoxon_p`` and ``wilcoxon_holm_p``. Users with a value that is not finite
        are left out.

    Raises
    ------
    OptionError
        There is no such baseline.
    NoUserMetrics
        A cell's file is missing or has no such metric, or pyarrow is not installed.
    """
    labels = list(results["label"].unique())
    if baseline not in labels:
        raise OptionError(f"baseline is {baseline!r}, but the results have {', '.join(labels)}")
    means = mean_over_seeds(results)
    comparisons = []
    for dataset in results["dataset"].unique():
        of_dataset, differences = [], []
        for metric in metrics:
            table, read = [], functools.cache(functools.partial(read_users, folder, metric=metric))
            cells = results[(results["dataset"] == dataset) & (results["metric"] == metric)]
            pairs = list(_pairs(means[(means["dataset"] == dataset) & (means["metric"] == metric)], baseline))
            what = f"Tests on {dataset}, {paper_name(metric)}"
            for method, other in tqdm(pairs, desc=what, unit="comparison", delay=1, leave=False):
                of_method, of_baseline = (
                    cells[(cells["label"] == row.label) & (cells["size"] == row.size)].set_index("seed")["cell"]
                    for row in (method, other)
                )
                users = _paired_users(of_method, of_baseline, read)
                table.append({"dataset": dataset, "metric": metric, "method": method.name, "baseline": other.name})
                table[-1].update(_comparison(users, len(of_method.index.intersection(of_baseline.index)), metric))
                differences.append(users["method"] - users["baseline"])
            for test in ("t_test", "wilcoxon"):
                for row, corrected in zip(table, holm([row[f"{test}_p"] for row in table])):
                    row[f"{test}_holm_p"] = corrected
            of_dataset += table
        for row, (low, high) in zip(of_dataset, confidence_intervals(differences)):
            comparisons.append({**row, "difference_low": low, "difference_high": high})
    return pandas.DataFrame(comparisons, columns=_COLUMNS)


def _pairs(means, baseline):
    """Rows of methods, each with the row of the baseline that it is compared with."""
    headings = columns_of_equal_size(means)
    rows = list(means.itertuples())
    baselines = [row for row in rows if row.label == baseline]
    for row in rows:
        if row.label == baseline:
            continue
        heading = headings.get((row.method, row.size))
        equal = [other for other in baselines if heading and headings.get((other.method, other.size)) == heading]
        compared_with = baselines if len(baselines) == 1 else equal
        yield from ((row, other) for other in compared_with)


def _paired_users(of_method, of_baseline, read):
    """Values of method and baseline, a row a user, from each one's cells by seed."""
    seeds = []
    for seed in of_method.index.intersection(of_baseline.index):
        method, other = (read(cells[seed]) for cells in (of_method, of_baseline))
        seeds.append(pandas.concat({"method": method, "baseline": other}, axis=1, join="inner"))
    if not seeds:
        return pandas.DataFrame({"method": [], "baseline": []})
    return users_over_seeds(seeds)


def _comparison(pairs, n_seeds, metric):
    differences = (pairs["method"] - pairs["baseline"]).to_numpy()
    t_test_p, wilcoxon_p = compare(differences)
    difference = differences.mean() if len(differences) else math.nan
    gain = -difference if smaller_is_better(metric) else difference
    return {
        "users": len(pairs),
        "seeds": n_seeds,
        "method_mean": pairs["method"].mean(),
        "baseline_mean": pairs["baseline"].mean(),
        "difference": difference,
        "better": "method" if gain > 0 else "baseline" if gain < 0 else "neither",
        "t_test_p": t_test_p,
        "wilcoxon_p": wilcoxon_p,
    }


def significance_tables(comparisons: pandas.DataFrame, results: pandas.DataFrame) -> list[Table]:
    """A table per data set and metric.

    Parameters
    ----------
    comparisons : pandas.DataFrame
        As from `compare_with_baseline`.
    results : pandas.DataFrame
        What was compared.
    """
    tables = []
    groups: Any = comparisons.groupby(["dataset", "metric"], sort=False)
    for (dataset, metric), group in groups:
        rows = []
        for row in group.itertuples():
            better = {"method": row.method, "baseline": row.baseline, "neither": "–"}[row.better]
            p_values = (row.t_test_p, row.t_test_holm_p, row.wilcoxon_p, row.wilcoxon_holm_p)
            means = (f"{row.method_mean:.4f}", f"{row.baseline_mean:.4f}", f"{row.difference:+.4f}")
            interval = interval_in_words(row.difference_low, row.difference_high, sign="+")
            tested = (f"{p:.2g}" for p in p_values)
            rows.append([row.method, row.baseline, *means, interval, better, *tested, f"{row.users:,}", str(row.seeds)])
        of_table = results[(results["dataset"] == dataset) & (results["metric"] == metric)]
        notes = [_EXPLANATION + (" Smaller values are better." if smaller_is_better(metric) else "")]
        left_out = [name for name in of_table["name"].unique() if name not in {*group["method"], *group["baseline"]}]
        if left_out:
            notes.append(f"Not compared, since the baseline has no result of that size: {', '.join(left_out)}.")
        title = f"{dataset}: {paper_name(metric)} of each user"
        paper_notes = notes + provenance_in_words(of_table)
        tables.append(Table(title, list(_HEADINGS), rows, notes + provenance(of_table), paper_notes, keys=2))
    return tables
