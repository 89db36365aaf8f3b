"""Tables, plots and significance tests of a leaderboard, from its results.csv."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pandas

from recbole_sparse_elsa import output
from recbole_sparse_elsa.leaderboard import plots
from recbole_sparse_elsa.leaderboard.intervals import LEVEL, N_RESAMPLES, SEED, interval_tables, intervals_of_results
from recbole_sparse_elsa.leaderboard.published_figures import PublishedValue, choose_published, published_table
from recbole_sparse_elsa.leaderboard.read_results import choose_metrics, mean_over_seeds, read_results
from recbole_sparse_elsa.leaderboard.significance import compare_with_baseline, significance_tables
from recbole_sparse_elsa.leaderboard.tables import Table, latex_page, markdown_page, results_table, size_table
from recbole_sparse_elsa.leaderboard.user_values import NoUserMetrics

_PLOTS = (plots.accuracy_by_size, plots.schedule_ablation, plots.width_ablation)
_Frame = TypeVar("_Frame")


def write_report(
    results_csv: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    published: Sequence[str] = (),
    published_file: str | os.PathLike[str] | None = None,
) -> None:
    """Write the tables and plots of a leaderboard, print the tables, and say what was written.

    The folder gets tables.md and tables.tex (per data set every metric of every method, a table by size for each chosen
    metric, and measured beside published figures where they are named). With the cells' per-user metrics at hand there
    are intervals.md, .tex and .csv and, with a baseline, significance.md, .tex and .csv. If matplotlib is installed,
    the plots that the results allow are written as PDF, SVG and PNG.

    Parameters
    ----------
    results_csv : str or os.PathLike
        A leaderboard's results.csv. Per-user metrics are looked for in cells/ beside it.
    folder : str or os.PathLike
        Where they go, made if it is not there.
    baseline : str, optional
        Label of the method that the others are tested against; no tests by default.
    metrics : list of str, optional
        Metrics of size tables, tests, intervals and plots; by default those that the runs were chosen by
        (``valid_metric``).
    published : list of str
        Data sets of published figures to stand beside the measured ones; see `choose_published`.
    published_file : str or os.PathLike, optional
        Published figures beside those of the package; see `read_published`.

    Raises
    ------
    OptionError
        The file is no result of a leaderboard, it has no such baseline or metric, there are no such published figures,
        or the folder cannot be written to or is in use by another process (OutputError).
    """
    folder = os.fspath(folder)
    results = read_results(results_csv)
    metrics = choose_metrics(results, metrics)
    beside = choose_published(published, list(results["dataset"].unique()), published_file)
    of_users = os.path.dirname(os.path.abspath(results_csv))
    comparisons = _compare(results, of_users, baseline, metrics)
    intervals = _unless_missing("intervals", lambda: intervals_of_results(results, of_users, metrics))
    with output.reserve_folder(folder):
        _write(results, folder, baseline, metrics, comparisons, intervals, beside)


def _write(
    results: pandas.DataFrame,
    folder: str,
    baseline: str | None,
    metrics: Sequence[str],
    comparisons: pandas.DataFrame | None,
    intervals: pandas.DataFrame | None,
    published: Mapping[str, Sequence[PublishedValue]],
) -> None:
    means = mean_over_seeds(results)
    datasets = list(results["dataset"].unique())
    tables: list[Table] = []
    for dataset in datasets:
        by_size = [size_table(results, means, dataset, metric, comparisons) for metric in metrics]
        tables += [results_table(results, means, dataset, comparisons), *(table for table in by_size if table)]
        if dataset in published:
            tables.append(published_table(results, means, dataset, published[dataset]))
    written = _write_tables(folder, "tables", "Results", tables)
    how = {"level": LEVEL, "resamples": N_RESAMPLES, "resampling_seed": SEED}
    if comparisons is not None:
        title = f"Significance of differences from {baseline}"
        written += _write_tables(folder, "significance", title, significance_tables(comparisons, results))
        written += _write_csv(folder, "significance", comparisons.assign(**how))
    if intervals is not None:
        written += _write_tables(folder, "intervals", "Intervals", interval_tables(intervals, results))
        written += _write_csv(folder, "intervals", intervals.assign(**how))
    if output.matplotlib_is_installed():
        both = [(dataset, metric) for dataset in datasets for metric in metrics]
        with output.progress("Plotting"):
            for dataset, metric in both:
                axes = {plot.__name__: plot(means, dataset, metric) for plot in _PLOTS}
                if intervals is not None:
                    axes["intervals"] = plots.intervals_of_figures(intervals, dataset, metric)
                if comparisons is not None:
                    axes["differences"] = plots.intervals_of_differences(comparisons, dataset, metric)
                written += _write_plots(folder, axes, dataset, metric)
    print(f"Written: {', '.join(written)}")


def _compare(
    results: pandas.DataFrame, folder: str, baseline: str | None, metrics: Sequence[str]
) -> pandas.DataFrame | None:
    """Comparisons with the baseline, or None and a line that says why there are none."""
    if baseline is None:
        return None
    comparisons = _unless_missing(
        "significance tests", lambda: compare_with_baseline(results, folder, baseline, metrics)
    )
    if comparisons is None:
        return None
    for dataset in results["dataset"].unique():
        if dataset not in comparisons["dataset"].values:
            print(f"No significance tests on {dataset}: nothing there can be compared with {baseline}")
    return None if comparisons.empty else comparisons


def _unless_missing(what: str, make: Callable[[], _Frame]) -> _Frame | None:
    """What is made of the metrics of users, or None and a line that says why it cannot be."""
    try:
        return make()
    except NoUserMetrics as reason:
        print(f"No {what}: {reason}")
        return None


def _write_csv(folder: str, name: str, frame: pandas.DataFrame) -> list[str]:
    file = os.path.join(folder, f"{name}.csv")
    rows: Any = frame.to_dict("records")
    output.write_csv(file, rows)
    return [file]


def _write_tables(folder: str, name: str, title: str, tables: Sequence[Table]) -> list[str]:
    page = markdown_page(title, tables)
    print(f"\n{page}")
    file = os.path.join(folder, name)
    output.write_text(f"{file}.md", page)
    output.write_text(f"{file}.tex", latex_page(tables))
    return [f"{file}.md", f"{file}.tex"]


def _write_plots(folder: str, drawn: Mapping[str, Any], dataset: str, metric: str) -> list[str]:
    written: list[str] = []
    for plot, axes in drawn.items():
        if axes is not None:
            name = re.sub(r"[^\w.@-]+", "_", f"{plot}-{dataset}-{metric}")
            written += output.save_figure(axes.figure, os.path.join(folder, name))
    return written
