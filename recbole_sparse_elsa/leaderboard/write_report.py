"""``sparse-elsa tables``: tables, plots and significance tests, made again from a leaderboard's results.csv."""

import os
import re

from recbole_sparse_elsa import figures, report
from recbole_sparse_elsa.leaderboard import plots
from recbole_sparse_elsa.leaderboard.read_results import choose_metrics, mean_over_seeds, read_results
from recbole_sparse_elsa.leaderboard.significance import NoUserMetrics, compare_with_baseline, significance_tables
from recbole_sparse_elsa.leaderboard.tables import latex_page, markdown_page, results_table, size_table

_PLOTS = (plots.accuracy_by_size, plots.schedule_ablation, plots.width_ablation)


def add_subcommand(subparsers) -> None:
    """Add ``tables``."""
    parser = subparsers.add_parser("tables", help=__doc__.split("``: ")[1], description=__doc__, allow_abbrev=False)
    parser.add_argument("results", metavar="RESULTS.csv", help="a leaderboard's results.csv")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the tables and plots")
    parser.add_argument("--baseline", metavar="LABEL", help="label that the significance tests compare the others with")
    parser.add_argument(
        "--metric", nargs="+", help="metrics of size tables, tests and plots (default: NDCG@100, or else the first)"
    )
    parser.set_defaults(run=run)


def run(options) -> None:
    """Write what the options of ``sparse-elsa tables`` ask for; see `write_report`."""
    write_report(options.results, options.output, options.baseline, options.metric)


def write_report(results_csv, output, baseline=None, metrics=None) -> None:
    """Write the tables and plots of a leaderboard, print the tables, and say what was written.

    The folder gets tables.md and tables.tex (per data set every metric of every method, and a table by size for each
    chosen metric), the paper's figures that the results allow as PNG and SVG, if matplotlib is installed, and, with a
    baseline and the cells' per-user metrics at hand, significance.md, .tex and .csv.

    Parameters
    ----------
    results_csv : str or os.PathLike
        A leaderboard's results.csv. Per-user metrics are looked for in cells/ beside it.
    output : str or os.PathLike
        The folder, made if it is not there.
    baseline : str, optional
        Label of the method that the others are tested against; no tests by default.
    metrics : list of str, optional
        Metrics of size tables, tests and plots; NDCG@100 by default, or else the first metric there is.

    Raises
    ------
    OptionError
        The file is no result of a leaderboard, it has no such baseline or metric, or the folder cannot be written to.
    """
    results = read_results(results_csv)
    metrics = choose_metrics(results, metrics)
    comparisons = _compare(results, os.path.dirname(os.path.abspath(results_csv)), baseline, metrics)
    report.open_output(output)
    means = mean_over_seeds(results)
    datasets = list(results["dataset"].unique())
    tables = []
    for dataset in datasets:
        by_size = [size_table(results, means, dataset, metric) for metric in metrics]
        tables += [results_table(results, means, dataset), *(table for table in by_size if table)]
    written = _write_tables(output, "tables", "Results", tables)
    if comparisons is not None:
        title = f"Significance of differences from {baseline}"
        written += _write_tables(output, "significance", title, significance_tables(comparisons, results))
        written.append(os.path.join(output, "significance.csv"))
        report.write_csv(written[-1], comparisons.to_dict("records"))
    if figures.matplotlib_is_installed():
        for dataset in datasets:
            for metric in metrics:
                written += _write_plots(output, means, dataset, metric)
    print(f"Written: {', '.join(written)}")


def _compare(results, folder, baseline, metrics):
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


def _write_tables(output, name, title, tables):
    page = markdown_page(title, tables)
    print(f"\n{page}")
    file = os.path.join(output, name)
    report.write_text(f"{file}.md", page)
    report.write_text(f"{file}.tex", latex_page(tables))
    return [f"{file}.md", f"{file}.tex"]


def _write_plots(output, means, dataset, metric):
    written = []
    for plot in _PLOTS:
        axes = plot(means, dataset, metric)
        if axes is not None:
            name = re.sub(r"[^\w.@-]+", "_", f"{plot.__name__}-{dataset}-{metric}")
            footer = "Test data, mean over seeds; bars: standard deviation over seeds."
            written += figures.save_figure(axes.figure, os.path.join(output, name), footer)
    return written
