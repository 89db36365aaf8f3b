"""Runs the cells of a leaderboard in parallel, on this machine or on a cluster, through joblib."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import joblib

import recbole_sparse_elsa
from recbole_sparse_elsa.errors import OptionError, printable
from recbole_sparse_elsa.leaderboard.specification import Cell
from recbole_sparse_elsa.machine import processes

#: How the line in the log of a cell begins that says why the cell failed.
FAILED = "The cell failed: "

_THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def run_cells(
    cells: Sequence[Cell], folder: str, backend: str, jobs: int, threads: int
) -> Iterator[tuple[Cell, str | None]]:
    """Train and evaluate cells in parallel.

    Parameters
    ----------
    cells : list of Cell
        What to train.
    folder : str
        Each cell leaves its files in ``folder/<id of the cell>``. With a cluster, all machines must see this folder.
    backend : str
        ``loky``, ``dask`` (a local cluster, or the one that the environment variable DASK_SCHEDULER_ADDRESS names),
        ``ray``, or any other of joblib's.
    jobs : int
        Number of cells at a time, at least 1; a cluster that exists already takes as many as it has workers.
    threads : int
        Number of threads of each cell.

    Yields
    ------
    cell : Cell
        As it ends, in any order; all at the end with back ends that give no results before (ray, multiprocessing).
    failure : str or None
        Why it failed, in one line.

    Raises
    ------
    OptionError
        joblib does not know the back end, or a library that it needs is missing.
    """
    if not cells:  # then no workers are needed
        return
    folder = os.path.abspath(folder)
    with _backend(backend, jobs):
        gives_results_early = joblib.parallel.get_active_backend()[0].supports_return_generator
        run = joblib.Parallel(
            n_jobs=jobs,
            batch_size=1,
            pre_dispatch="all",
            return_as="generator_unordered" if gives_results_early else "list",
        )
        # Workers of these back ends may be on other machines, and end by themselves. Those of the others go on with the
        # cells that they were given when this process is killed; there the cells watch over it.
        end_with = [] if backend in ("dask", "ray") else [os.getpid()]
        tasks = (joblib.delayed(_run_in_own_process)(cell, folder, threads, end_with) for cell in cells)
        yield from run(tasks)


@contextlib.contextmanager
def _backend(name: str, jobs: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if name == "dask":
            try:
                from dask.distributed import Client
            except ImportError:
                raise OptionError(_missing(name, '"recbole_sparse_elsa[leaderboard]"')) from None
            stack.enter_context(Client(n_workers=jobs, threads_per_worker=1, dashboard_address=None))
        if name == "ray":
            try:
                from ray.util.joblib import register_ray
            except ImportError:
                raise OptionError(_missing(name, '"ray[default]"')) from None
            register_ray()
        try:
            stack.enter_context(joblib.parallel_config(backend=name, n_jobs=jobs))
        except ValueError as error:
            raise OptionError(
                f"backend is {name!r}, but must be loky, dask, ray or another that joblib knows: {error}"
            ) from None
        yield


def _missing(backend: str, package: str) -> str:
    return f"backend is {backend}, which is not installed; run: pip install {package}"


def _run_in_own_process(
    cell: Cell, folder: str, threads: int, end_with: Sequence[int]
) -> tuple[Cell, str | None]:
    """What a worker does: start a process for the cell, and wait for it."""
    for pid in end_with:
        processes.end_with(pid)  # a worker without a cell would wait for minutes
    folder = os.path.join(folder, cell.id)
    os.makedirs(folder, exist_ok=True)
    task = {
        "end_with": [os.getpid(), *end_with],
        "threads": threads,
        "cell": {
            "model": cell.model_to_make,
            "dataset": cell.dataset,
            "seed": cell.seed,
            "options": cell.options,
            "data_path": cell.data_path,
            "folder": folder,
        },
    }
    # The package need not be installed: it can be in the folder in which Python was started.
    package_path = os.path.dirname(os.path.dirname(recbole_sparse_elsa.__file__))
    python_path = os.pathsep.join(filter(None, [package_path, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **dict.fromkeys(_THREAD_LIMITS, str(threads)), "PYTHONPATH": python_path}
    log = os.path.join(folder, "log.txt")
    with open(log, "wb") as opened:
        status = subprocess.run(
            [sys.executable, "-m", "recbole_sparse_elsa.leaderboard.train_cell"],
            input=json.dumps(task).encode(),
            stdout=opened,
            stderr=subprocess.STDOUT,
            env=environment,
        ).returncode
    return cell, None if status == 0 else f"{_reason(status, log)}; see {log}"


def _reason(status: int, log: str) -> str:
    if status < 0:
        return f"ended by signal {signal.Signals(-status).name}"
    with open(log, encoding="utf-8", errors="replace") as opened:
        lines = [line.strip() for line in opened if line.strip()]
    said = [line.removeprefix(FAILED) for line in lines if line.startswith(FAILED)]
    # Without such a line Python did not come as far as the cell.
    return printable((said or lines or [f"ended with status {status}"])[-1])
