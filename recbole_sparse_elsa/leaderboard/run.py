"""A leaderboard: its cells trained in parallel, and their results written."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import joblib

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import OptionError, TrainingError
from recbole_sparse_elsa.leaderboard.parallel import run_cells
from recbole_sparse_elsa.leaderboard.results import read_result, write_results
from recbole_sparse_elsa.leaderboard.specification import Cell, Specification, read_specification
from recbole_sparse_elsa.leaderboard.write_report import write_report
from recbole_sparse_elsa.options import require_whole_number

Results = Mapping[str, Mapping[str, Any] | None]


def run_leaderboard(file: str, folder: str, jobs: int = 1, threads: int | None = None, backend: str = "loky") -> None:
    """Train every cell that is not finished, and write results.csv, tables and plots of all finished cells of the file.

    Parameters
    ----------
    file : str
        A YAML file; see `read_specification`.
    folder : str
        For results.csv, the tables and plots, and the cells' own files.
    jobs : int
        Cells trained at a time.
    threads : int, optional
        Threads of each cell; by default the CPUs shared out among the jobs.
    backend : str
        loky, dask, ray or another back end of joblib; see `run_cells`.

    Raises
    ------
    OptionError
        The file or an argument is not allowed, or the folder cannot be written to or is in use by another process
        (OutputError); nothing has been trained yet.
    DatasetError
        A data set cannot be found.
    TrainingError
        A cell failed. It is said at the end, when all other cells are trained.
    """
    if threads is None:
        threads = max(1, joblib.cpu_count() // max(1, jobs))
    for name, value in (("jobs", jobs), ("threads", threads)):
        require_whole_number(name, value, at_least=1)
    if importlib.util.find_spec("pyarrow") is None:
        raise OptionError(
            "metrics per user are written as Parquet, for which pyarrow is missing; run: "
            'pip install "recbole_sparse_elsa[leaderboard]"'
        )
    specification = read_specification(file)
    with output.reserve_folder(folder):
        _train_and_report(specification, folder, jobs, threads, backend)


def _train_and_report(specification: Specification, folder: str, jobs: int, threads: int, backend: str) -> None:
    cells = specification.cells
    results_csv, folder_of_cells = os.path.join(folder, "results.csv"), os.path.join(folder, "cells")
    # Cells of the same options under two labels are trained once.
    results = {cell.id: read_result(folder_of_cells, cell) for cell in cells}
    to_run = list({cell.id: cell for cell in cells if results[cell.id] is None}.values())
    print(f"{len(results)} cells: {len(results) - len(to_run)} finished before, {len(to_run)} to train")
    failed = []
    write_results(results_csv, _finished(cells, results))
    waiting = list(to_run)
    with output.progress("Leaderboard", len(results), "cell", initial=len(results) - len(to_run)) as bar:
        # Cells begin in their order; how many a cluster that exists already trains at a time is not known here.
        bar.set_postfix_str(_named(waiting[:jobs]))
        for cell, failure in run_cells(to_run, folder_of_cells, backend, jobs, threads):
            waiting.remove(cell)
            bar.update()
            bar.set_postfix_str(_named(waiting[:jobs]))
            if failure is None:
                results[cell.id] = read_result(folder_of_cells, cell)
                write_results(results_csv, _finished(cells, results))
            else:
                failed.append(cell)
                bar.write(f"Failed: {cell}: {failure}")
    if _finished(cells, results):
        print(f"Metrics per user are in {folder_of_cells}")
        datasets = {cell.dataset for cell, _ in _finished(cells, results)}
        published = [name for dataset, name in specification.published.items() if dataset in datasets]
        published_file = specification.published_file if published else None
        write_report(results_csv, folder, specification.baseline, None, published, published_file)
    if failed:
        raise TrainingError(
            f"{len(failed)} of {len(results)} cells failed (see above); the same command trains them again, and only "
            "them"
        )


def _named(underway: Sequence[Cell]) -> str:
    return f"now {underway[0]}" + f" and {len(underway) - 1} more" * (len(underway) > 1) if underway else ""


def _finished(cells: Sequence[Cell], results: Results) -> list[tuple[Cell, Mapping[str, Any]]]:
    return [(cell, result) for cell in cells if (result := results[cell.id]) is not None]
