"""Sparse ELSA for RecBole.

Importing this package makes RecBole 1.2.1 ready as soon as anything of it is imported: what today's Python stack breaks
is repaired, and RecBole's own entry points know this package's models by name. Nothing of RecBole or torch is imported
until then, so that a program that only recommends from an index starts quickly and stays small.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# OpenMP, which torch loads, lets threads that wait for work spin instead of sleep. Where other programs run too, that
# takes the time of the threads that work: a step on the non-zeros then takes twice as long or more.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.2.0"

from recbole_sparse_elsa.plugin import on_import  # noqa: E402

on_import.install_with_recbole()

if TYPE_CHECKING:
    from recbole_sparse_elsa.index import SparseIndex
    from recbole_sparse_elsa.model.elsa import ELSA
    from recbole_sparse_elsa.model.elsa_sae import ELSASAE
    from recbole_sparse_elsa.model.fine_tuned_elsa_sae import FineTunedELSASAE
    from recbole_sparse_elsa.model.implicit_als import ImplicitALS
    from recbole_sparse_elsa.model.pruned_ease import PrunedEASE
    from recbole_sparse_elsa.model.sparse_elsa import SparseELSA
    from recbole_sparse_elsa.model.sparse_slim import SparseSLIM
    from recbole_sparse_elsa.model.user_knn import UserKNN
    from recbole_sparse_elsa.runs import load, run

# The public names, and the modules that have them; each is imported when it is first asked for.
_MODULES = {
    "ELSA": "model.elsa",
    "ELSASAE": "model.elsa_sae",
    "FineTunedELSASAE": "model.fine_tuned_elsa_sae",
    "ImplicitALS": "model.implicit_als",
    "PrunedEASE": "model.pruned_ease",
    "SparseELSA": "model.sparse_elsa",
    "SparseIndex": "index",
    "SparseSLIM": "model.sparse_slim",
    "UserKNN": "model.user_knn",
    "load": "runs",
    "run": "runs",
}

__all__ = [
    "ELSA",
    "ELSASAE",
    "FineTunedELSASAE",
    "ImplicitALS",
    "PrunedEASE",
    "SparseELSA",
    "SparseIndex",
    "SparseSLIM",
    "UserKNN",
    "__version__",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
