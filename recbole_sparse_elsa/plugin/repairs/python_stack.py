"""What newer releases of numpy, scipy, torch, ray and hyperopt break."""

import importlib
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import dok_matrix

from recbole_sparse_elsa.plugin.patching import Overlay, adjusts, overlay, replaces


def _recbole_s_calls_warn() -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.argsort(torch.ones(2))
        torch.cuda.amp.GradScaler(enabled=False)
        frame = pd.DataFrame({"value": [np.nan]})
        frame["value"].fillna(value=0, inplace=True)
    return bool(caught)


@adjusts(
    "warnings.filters",
    kind="repair",
    since="numpy 2.0, pandas 2.0, torch 2.4",
    until="RecBole's lines no longer warn",
    probe=_recbole_s_calls_warn,
)
def silence_harmless_warnings() -> None:
    """Hide warnings about lines of RecBole that are right, or that are repaired here.

    They would bury what a user can do something about.
    """
    ours = r"recbole\."
    # numpy >= 2 wants a torch tensor's __array_wrap__ to take other arguments.
    warnings.filterwarnings("ignore", "__array_wrap__ must accept", DeprecationWarning, module=r"numpy\.")
    # pandas >= 3 gives out read-only arrays; RecBole makes tensors of them and never writes to these.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning, module=ours)
    # torch >= 2.4 renamed GradScaler, and keeps the old name.
    warnings.filterwarnings("ignore", r"`torch\.cuda\.amp\.", FutureWarning, module=ours)
    # pandas >= 3.1 wants its inplace=True to be given up by pandas 4.
    warnings.filterwarnings("ignore", "The inplace keyword in", DeprecationWarning, module=ours)
    # pandas 2 warns that the fillna that reading.py repairs will do nothing, pandas >= 3 that it does nothing.
    warnings.filterwarnings("ignore", "A value is trying to be set on a copy", FutureWarning, module=ours)
    if hasattr(pd.errors, "ChainedAssignmentError"):
        warnings.filterwarnings("ignore", category=pd.errors.ChainedAssignmentError, module=ours)


_NUMPY_NAMES = {
    "bool": np.bool_,
    "int": np.int_,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "long": np.int_,
    "unicode": np.str_,
}
# Those that RecBole uses itself.
_USED_NUMPY_NAMES = ("bool", "float", "long", "str")


def _add_missing_numpy_names(names: Iterable[str]) -> None:
    for name in _missing_numpy_names(names):
        setattr(np, name, _NUMPY_NAMES[name])


def _missing_numpy_names(names: Iterable[str]) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy < 1.24 warns when the name is looked up
        return [name for name in names if not hasattr(np, name)]


@adjusts(
    "numpy",
    kind="repair",
    since="numpy 1.24",
    until="RecBole uses numpy's present names",
    probe=lambda: bool(_missing_numpy_names(_USED_NUMPY_NAMES)),
    only_where_needed=True,
)
def add_missing_numpy_names() -> None:
    """Add the names of numpy's types that RecBole uses and numpy no longer has; an existing one never changes.

    RecBole adds them itself, but only when a Config is made: a process that reads a checkpoint makes none.
    """
    _add_missing_numpy_names(_USED_NUMPY_NAMES)


def _fails_or_overwrites_numpy_s_names(compatibility_settings: Callable[..., Any]) -> bool:
    before = {name: vars(np)[name] for name in _NUMPY_NAMES if name in vars(np)}
    try:
        compatibility_settings(None)
        return any(vars(np)[name] is not value for name, value in before.items())
    except AttributeError:
        return True
    finally:
        for name in _NUMPY_NAMES:
            if name in before:
                setattr(np, name, before[name])
            else:
                vars(np).pop(name, None)


@replaces(
    "recbole.config.Config.compatibility_settings",
    parameters="self",
    kind="repair",
    since="numpy 2.0",
    until="RecBole uses numpy's present names",
    probe=_fails_or_overwrites_numpy_s_names,
)
def keep_numpy_names(original: Callable[..., Any]) -> Callable[..., Any]:
    """Add the old names of numpy's types when a Config is made, and keep those that exist.

    RecBole's version needs names that numpy >= 2 has not (np.float_), and overwrites np.bool and np.long.
    """

    def compatibility_settings(self):
        _add_missing_numpy_names(_NUMPY_NAMES)

    return compatibility_settings


@adjusts(
    "scipy.sparse.dok_matrix._update",
    kind="repair",
    since="scipy 1.13",
    until="RecBole's graph models no longer call it",
    probe=lambda: not hasattr(dok_matrix, "_update"),
    only_where_needed=True,
)
def add_dok_matrix_update() -> None:
    """Let LightGCN, NGCF, NCL, SpectralCF, GCMC, KGIN and MCCLK fill their adjacency matrix.

    They call dok_matrix._update, which scipy no longer has.
    """
    if not hasattr(dok_matrix, "_update"):
        if not isinstance(getattr(dok_matrix((1, 1)), "_dict", None), dict):
            raise ImportError("scipy's dok_matrix no longer keeps its entries in _dict; use scipy < 1.19")
        dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)


def _report_to_ray(**metrics: Any) -> Any:
    """Stands for ray.tune.report: hands the metrics on if the program uses Ray Tune, and does nothing otherwise."""
    tune = sys.modules.get("ray.tune")
    if tune is None:
        return None
    kinds = {parameter.kind for parameter in inspect.signature(tune.report).parameters.values()}
    # Ray took keywords up to 2.6, and takes a dictionary since.
    return tune.report(**metrics) if inspect.Parameter.VAR_KEYWORD in kinds else tune.report(metrics)


_QUICK_START = "recbole.quick_start.quick_start"


@adjusts(
    f"{_QUICK_START}.tune",
    kind="repair",
    since="numpy 2.0, setuptools 82, Python 3.12",
    until="RecBole imports ray only where it tunes",
    probe=lambda: hasattr(importlib.import_module(_QUICK_START), "tune"),
)
def import_quick_start_without_ray() -> None:
    """Import recbole.quick_start with a stand-in for ray, of which it uses nothing but tune.report.

    The ray that RecBole asks for cannot be imported with numpy >= 2 or setuptools >= 82, and does not exist for
    Python >= 3.12; a newer one takes other arguments. The stand-in is seen by this import only: a program's own
    ``import ray`` gets the real one.
    """
    if _QUICK_START not in sys.modules:
        ray, tune = types.ModuleType("ray"), types.ModuleType("ray.tune")
        vars(ray)["tune"], vars(tune)["report"] = tune, _report_to_ray
        real: dict[str, types.ModuleType] = {
            module: sys.modules.pop(module) for module in ("ray", "ray.tune") if module in sys.modules
        }
        sys.modules["ray"], sys.modules["ray.tune"] = ray, tune
        try:
            importlib.import_module(_QUICK_START)
        finally:
            del sys.modules["ray"], sys.modules["ray.tune"]
            sys.modules.update(real)
    if getattr(vars(sys.modules[_QUICK_START])["tune"], "report", None) is not _report_to_ray:
        overlay(f"{_QUICK_START}.tune", report=_report_to_ray)


class _RandomState(np.random.RandomState):
    """numpy's older generator, which also answers to the newer one's name for integers."""

    integers = np.random.RandomState.randint


_RANDOM = Overlay(np.random, RandomState=_RandomState)


@adjusts(
    "recbole.trainer.hyper_tuning.np",
    kind="repair",
    since="hyperopt 0.2.6",
    until="RecBole hands hyperopt a Generator (issues #1868, #1240)",
    probe=lambda: not hasattr(np.random.RandomState, "integers"),
)
def let_exhaustive_search_draw_integers() -> None:
    """Let HyperTuning's exhaustive search run with hyperopt >= 0.2.6, which draws integers as numpy's Generator does.

    Older ones need the older name, and pkg_resources, which setuptools >= 82 has not.
    """
    overlay("recbole.trainer.hyper_tuning.np", random=_RANDOM)
