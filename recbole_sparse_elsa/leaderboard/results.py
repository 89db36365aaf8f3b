"""What the finished cells of a leaderboard leave: results.csv."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.leaderboard.specification import Cell

_OF_THE_EVALUATION = ("protocol", "valid_users", "test_users")
_MEASURED = ("train_seconds", "evaluation_seconds", "peak_memory_bytes", "bytes_per_item")


def read_result(folder: str, cell: Cell) -> dict[str, Any] | None:
    """What a finished cell has measured, or None where the cell is not finished.

    Parameters
    ----------
    folder : str
        That of all cells.
    cell : Cell
        The cell.

    Raises
    ------
    OptionError
        The file is damaged.
    """
    file = os.path.join(folder, cell.id, "result.json")
    try:
        with open(file, encoding="utf-8") as opened:
            return json.load(opened)
    except FileNotFoundError:
        return None
    except ValueError:
        raise OptionError(f"{file} is damaged: remove it, and the cell is trained again") from None


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
                "protocol": result.get("protocol", ""),
                "users": result.get(f"{phase}_users", ""),
            }
