"""The two functions that RecBole hands to other processes.

Pickled, they name this module, so the worker imports this package (and with RecBole the repairs and the models) before
it does anything else.
"""

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.plugin.patching import replaces


def run_recboles(rank: int, *args: Any) -> Any:
    """RecBole's function of this name, which a process of ``run`` runs."""
    with output.loading() if rank == 0 else contextlib.nullcontext():
        importlib.import_module("recbole")  # which installs the plug-in, in a worker too
    return run_recboles.__wrapped__(rank, *args)  # type: ignore[attr-defined]


def objective_function(*args: Any, **kwargs: Any) -> Any:
    """RecBole's function of this name, which a process of a search runs."""
    importlib.import_module("recbole")
    return objective_function.__wrapped__(*args, **kwargs)  # type: ignore[attr-defined]


def _names_a_module_of_recbole(original: Callable[..., Any]) -> bool:
    return original.__module__.startswith("recbole.")


@replaces(
    "recbole.quick_start.quick_start.run_recboles",
    parameters="rank args",
    kind="feature",
    until="RecBole's processes import what the program imported",
    probe=_names_a_module_of_recbole,
)
def let_workers_of_run_import_us(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the processes of ``run`` know the repairs and our models.

    A process that is started imports only what the pickled function names.
    """
    return run_recboles


@replaces(
    "recbole.quick_start.quick_start.objective_function",
    parameters="config_dict config_file_list saved",
    kind="feature",
    until="RecBole's processes import what the program imported",
    probe=_names_a_module_of_recbole,
)
def let_workers_of_a_search_import_us(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the processes of a search with Ray know the repairs and our models.

    A process that is started imports only what the pickled function names.
    """
    return objective_function
