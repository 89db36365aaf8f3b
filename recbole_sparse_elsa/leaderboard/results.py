"""What the finished cells of a leaderboard leave: results.csv."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import printable, reason_of
from recbole_sparse_elsa.leaderboard.read_results import VERSIONS
from recbole_sparse_elsa.leaderboard.specification import Cell
from recbole_sparse_elsa.leaderboard.user_metrics import read_user_metrics

# Texts that results of version 0.1.0 do not have.
_LATER_TEXTS = ("protocol", "recipe")
_LATER_NUMBERS = ("valid_users", "test_users", "refit_epochs")
_OF_THE_EVALUATION = (*_LATER_TEXTS, *_LATER_NUMBERS)
_MAY_BE_UNKNOWN = ("peak_memory_bytes", "bytes_per_item")
_MEASURED = ("train_seconds", "evaluation_seconds", "peak_memory_bytes", "bytes_per_item")


def read_result(folder: str, cell: Cell) -> dict[str, Any] | None:
    """What a finished cell has measured, or None where the cell is not finished.

    A cell whose files are damaged is not finished: it is trained again, which one line says.

    Parameters
    ----------
    folder : str
        That of all cells.
    cell : Cell
        The cell.
    """
    file = os.path.join(folder, cell.id, "result.json")
    try:
        with open(file, encoding="utf-8") as opened:
            result = json.load(opened)
        _require_result(result)
        per_user = os.path.join(folder, cell.id, "per_user.parquet")
        if os.path.exists(per_user):  # who does without it gets no significance tests
            file = per_user
            _require_user_metrics(file, result["test"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        print(printable(f"{cell} is trained again: {file} is damaged: {reason:.200}"))
        return None
    return result


def _require_result(result: Any) -> None:
    """Raise ValueError unless this has the parts of a result, each of its type."""
    if not isinstance(result, dict):
        raise ValueError("it is no mapping")
    for name in ("valid", "test"):
        metrics = result.get(name)
        if not isinstance(metrics, dict) or not all(map(_is_number, metrics.values())):
            raise ValueError(f"{name} is no mapping of metrics to numbers")
    if not result["test"]:
        raise ValueError("test has no metric")
    for name in _MEASURED:
        value = result.get(name)
        if not _is_number(value) and not (name in _MAY_BE_UNKNOWN and name in result and value is None):
            raise ValueError(f"{name} is no number")
    for name in (*VERSIONS, *_LATER_TEXTS):
        if not isinstance(result.get(name, "" if name in _LATER_TEXTS else None), str):
            raise ValueError(f"{name} is no text")
    for name in _LATER_NUMBERS:
        if not isinstance(result.get(name), (int, type(None))):
            raise ValueError(f"{name} is no whole number")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _require_user_metrics(file: str, metrics: Iterable[str]) -> None:
    """Raise ValueError unless a file holds users, and numbers where it has one of these metrics."""
    try:
        per_user = read_user_metrics(file)
    except ImportError:
        return
    except Exception as error:  # pyarrow's errors of damaged files are of many types
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    if "user" not in per_user:
        raise ValueError("it has no users")
    for metric in set(per_user) & set(metrics):
        if per_user[metric].dtype.kind not in "fiu":
            raise ValueError(f"{metric} is no number")


def write_results(file: str, finished: Sequence[tuple[Cell, Mapping[str, Any]]]) -> None:
    """Write results.csv, a row per cell, phase and metric.

    Parameters
    ----------
    file : str
        The CSV file.
    finished : list of (Cell, dict)
        The finished cells with their results, in the order of the rows.
    """
    rows = [row for cell, result in finished for row in _rows(cell, result)]
    if rows:
        output.write_csv(file, rows)


def _rows(cell: Cell, result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    others = ("valid", "test", *_MEASURED, *_OF_THE_EVALUATION)
    environment = {key: value for key, value in result.items() if key not in others}
    for phase in ("valid", "test"):
        for metric, value in result[phase].items():
            yield {
                "label": cell.label,
                "model": cell.model,
                "dataset": cell.dataset,
                "seed": cell.seed,
                "size": cell.size,
                "phase": phase,
                "metric": metric,
                "value": value,
                **{name: result[name] for name in _MEASURED},
                "data_checksum": cell.data_checksum,
                "config_hash": cell.config_hash,
                "config": cell.config,
                "cell": cell.id,
                **environment,
                **{name: result.get(name, "") for name in _LATER_TEXTS},
                "users": result.get(f"{phase}_users", ""),
                # Of a model that was trained again on all training data; empty where it was trained once.
                "refit_epochs": result.get("refit_epochs"),
            }
