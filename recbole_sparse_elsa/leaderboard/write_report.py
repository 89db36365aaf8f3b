"""Tables, plots and significance tests of a leaderboard, from its results.csv."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import pandas

from recbole_sparse_elsa import output
from recbole_sparse_elsa.leaderboard import plots
from recbole_sparse_elsa.leaderboard.read_results import choose_metrics, mean_over_seeds, read_results
from recbole_sparse_elsa.leaderboard.significance import NoUserMetrics, compare_with_baseline, significance_tables
from recbole_sparse_elsa.leaderboard.tables import Table, latex_page, markdown_page, results_table, size_table

_PLOTS = (plots.accuracy_by_size, plots.schedule_ablation, plots.width_ablation)


def write_report(
    results_csv: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
) -> None:
    """Write the tables and plots of a leaderboard, print the tables, and say what was written.

    The folder gets tables.md and tables.tex (per data set every metric of every method, and a table by size for each
    chosen metric), the paper's figures that the results allow as PNG and SVG, if matplotlib is installed, and, with a
    baseline and the cells' per-user metrics at hand, significance.md, .tex and .csv.

    Parameters
    ----------
    results_csv : str or os.PathLike
        A leaderboard's results.csv. Per-user metrics are looked for in cells/ beside it.
    folder : str or os.PathLike
        Where they go, made if it is not there.
    baseline : str, optional
        Label of the method that the others are tested against; no tests by default.
    metrics : list of str, optional
        Metrics of size tables, tests and plots; NDCG@100 by default, or else the first metric there is.

    Raises
    ------
    OptionError
        The file is no result of a leaderboard, it has no such baseline or metric, or the folder cannot be written to or
        is in use by another process (OutputError).
    """
    folder = os.fspath(folder)
    results = read_results(results_csv)
    metrics = choose_metrics(results, metrics)
    comparisons = _compare(results, os.path.dirname(os.path.abspath(results_csv)), baseline, metrics)
    with output.reserve_folder(folder):
        _write(results, folder, baseline, metrics, comparisons)


def _write(
    results: pandas.DataFrame,
    folder: str,
    baseline: str | None,
    metrics: Sequence[str],
    comparisons: pandas.DataFrame | None,
) -> None:
    means = mean_over_seeds(results)
    datasets = list(results["dataset"].unique())
    tables: list[Table] = []
    for dataset in datasets:
        by_size = [size_table(results, means, dataset, metric) for metric in metrics]
        tables += [results_table(results, means, dataset), *(table for table in by_size if table)]
    written = _write_tables(folder, "tables", "Results", tables)
    if comparisons is not None:
        title = f"Significance of differences from {baseline}"
        written += _write_tables(folder, "significance", title, significance_tables(comparisons, results))
        written.append(os.path.join(folder, "significance.csv"))
        rows: Any = comparisons.to_dict("records")
        output.write_csv(written[-1], rows)
    if output.matplotlib_is_installed():
        for dataset in datasets:
            for metric in metrics:
                written += _write_plots(folder, means, dataset, metric)
    print(f"Written: {', '.join(written)}")


def _compare(
    results: pandas.DataFrame, folder: str, baseline: str | None, metrics: Sequence[str]
) -> pandas.DataFrame | None:
    """Comparisons with the baseline, or None and a line that says why there are none."""
    if baseline is None:
        return None
    try:
        comparisons = compare_with_baseline(results, folder, baseline, metrics)
    except NoUserMetrics as reason:
        print(f"No significance tests: {reason}")
        return None
    for dataset in results["dataset"].unique():
        if dataset not in comparisons["dataset"].values:
            print(f"No significance tests on {dataset}: nothing there can be compared with {baseline}")
    return None if comparisons.empty else comparisons


def _write_tables(folder: str, name: str, title: str, tables: Sequence[Table]) -> list[str]:
    page = markdown_page(title, tables)
    print(f"\n{page}")
    file = os.path.join(folder, name)
    output.write_text(f"{file}.md", page)
    output.write_text(f"{file}.tex", latex_page(tables))
    return [f"{file}.md", f"{file}.tex"]


def _write_plots(folder: str, means: pandas.DataFrame, dataset: str, metric: str) -> list[str]:
    written: list[str] = []
    for plot in _PLOTS:
        axes = plot(means, dataset, metric)
        if axes is not None:
            name = re.sub(r"[^\w.@-]+", "_", f"{plot.__name__}-{dataset}-{metric}")
            figure: Any = axes.figure
            footer = "Test data, mean over seeds; bars: standard deviation over seeds."
            written += output.save_figure(figure, os.path.join(folder, name), footer)
    return written
