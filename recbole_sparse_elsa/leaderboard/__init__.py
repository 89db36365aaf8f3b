"""``sparse-elsa leaderboard``: models, data sets, seeds and sizes under one protocol, trained in parallel."""

import importlib.util
import os

import joblib
from tqdm import tqdm

from recbole_sparse_elsa import report
from recbole_sparse_elsa.errors import OptionError, TrainingError
from recbole_sparse_elsa.leaderboard import write_report
from recbole_sparse_elsa.leaderboard.parallel import run_cells
from recbole_sparse_elsa.leaderboard.results import read_result, write_results
from recbole_sparse_elsa.leaderboard.specification import read_specification
from recbole_sparse_elsa.options import require_whole_number


def add_subcommand(subparsers) -> None:
    """Add ``leaderboard``."""
    summary = __doc__.split("``: ")[1]
    parser = subparsers.add_parser("leaderboard", help=summary, description=__doc__, allow_abbrev=False)
    parser.add_argument("file", metavar="FILE.yaml", help="what to train; see configs/leaderboard/")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for results.csv and the cells")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells trained at a time (default: 1)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each cell (default: the CPUs shared out)")
    parser.add_argument("--backend", default="loky", help="loky (default), dask, ray or another back end of joblib")
    parser.set_defaults(run=run)


def run(options) -> None:
    """Train every cell that is not finished, and write results.csv with all finished cells of the file.

    Raises
    ------
    UserError
        The file or an option is not allowed, or (at the end) a cell failed.
    """
    if options.threads is None:
        options.threads = max(1, joblib.cpu_count() // max(1, options.jobs))
    for name in ("jobs", "threads"):
        require_whole_number(vars(options), name, at_least=1)
    if importlib.util.find_spec("pyarrow") is None:
        raise OptionError(
            "metrics per user are written as Parquet, for which pyarrow is missing; run: "
            'pip install "recbole_sparse_elsa[leaderboard]"'
        )
    specification = read_specification(options.file)
    cells = specification.cells
    report.open_output(options.output)
    folder = os.path.join(options.output, "cells")
    # Cells of the same options under two labels are trained once.
    results = {cell.id: read_result(folder, cell) for cell in cells}
    to_run = list({cell.id: cell for cell in cells if results[cell.id] is None}.values())
    print(f"{len(results)} cells: {len(results) - len(to_run)} finished before, {len(to_run)} to train")
    failed = []
    _write(options, cells, results)
    with tqdm(total=len(results), initial=len(results) - len(to_run), unit="cell") as progress:
        for cell, failure in run_cells(to_run, folder, options.backend, options.jobs, options.threads):
            progress.update()
            if failure is None:
                results[cell.id] = read_result(folder, cell)
                _write(options, cells, results)
            else:
                failed.append(cell)
                progress.write(f"Failed: {cell}: {failure}")
    finished = _finished(cells, results)
    if finished:
        print(f"Metrics per user are in {folder}")
        write_report.write_report(os.path.join(options.output, "results.csv"), options.output, specification.baseline)
    if failed:
        raise TrainingError(
            f"{len(failed)} of {len(results)} cells failed (see above); the same command trains them again, and only "
            "them"
        )


def _finished(cells, results):
    return [(cell, results[cell.id]) for cell in cells if results[cell.id] is not None]


def _write(options, cells, results):
    write_results(os.path.join(options.output, "results.csv"), _finished(cells, results))
