"""What a search leaves: a table of its best trials, a CSV file of all, and the best options as YAML."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from typing import Any

import yaml

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import TrainingError
from recbole_sparse_elsa.leaderboard.specification import Cell
from recbole_sparse_elsa.search.search_space import SearchSpace
from recbole_sparse_elsa.search.study import best_trials, state_of

_ROWS_OF_TABLE = 10


class Results:
    """Writes ``trials.csv`` and ``best.yaml``, and prints the best trials.

    Parameters
    ----------
    study : optuna.Study
        The trials so far, at each call.
    space : dict
        See `recbole_sparse_elsa.search.search_space.read_search_space`.
    cell : recbole_sparse_elsa.leaderboard.specification.Cell
        What was searched.
    seeds : list of int
        RecBole's seeds of each trial.
    metric : str
        The validation metric, such as "ndcg@10".
    folder : str
        Where the files go.
    """

    def __init__(
        self, study: Any, space: SearchSpace, cell: Cell, seeds: Sequence[int], metric: str, folder: str
    ) -> None:
        self._study, self._space, self._cell, self._seeds, self._metric = study, space, cell, seeds, metric
        self._trials_file, self._best_file = (os.path.join(folder, name) for name in ("trials.csv", "best.yaml"))

    def write(self) -> None:
        """Write the files. There is no ``best.yaml`` before a trial is complete."""
        output.write_csv(self._trials_file, [self._row(trial) for trial in self._study.get_trials(deepcopy=False)])
        best = best_trials(self._study)
        if best:
            output.write_text(self._best_file, self._best_yaml(best))

    def print_best(self) -> None:
        """Print the best trials.

        Raises
        ------
        TrainingError
            No trial is complete.
        """
        best = best_trials(self._study)
        if not best:
            reason = self._study.get_trials(deepcopy=False)[-1].user_attrs.get("error")
            name = self._study.study_name
            raise TrainingError(f"no trial of {name} was completed, see {self._trials_file}; the last failed: {reason}")
        print(f"\n{output.markdown_table([self._readable(trial) for trial in best[:_ROWS_OF_TABLE]])}\n")
        print(f"{self._study.study_name}: the best of {self._trials_line()}, with {self._seeds_line()}.")
        print(f"Written: {self._trials_file}, {self._best_file}")

    def _row(self, trial: Any) -> dict[str, Any]:
        metrics, values = trial.user_attrs.get("valid_metrics", []), self._values(trial)
        return {
            "label": self._cell.label,
            "model": self._cell.model,
            "dataset": self._cell.dataset,
            "size": self._cell.size,
            "seeds": " ".join(map(str, self._seeds)),
            "trial": trial.number,
            "state": state_of(trial),
            "metric": self._metric,
            "valid_mean": trial.value if metrics else None,
            "valid_sd": statistics.stdev(metrics) if len(metrics) > 1 else None,
            "seconds": trial.duration.total_seconds() if metrics else None,
            **{option: values.get(option) for option in self._space},
            "error": trial.user_attrs.get("error"),
        }

    def _readable(self, trial: Any) -> dict[str, Any]:
        metrics = trial.user_attrs["valid_metrics"]
        sd = f" ± {statistics.stdev(metrics):.4f}" if len(metrics) > 1 else ""
        row = {"trial": trial.number, f"validation {self._metric}": f"{trial.value:.4f}{sd}"}
        for option, value in self._values(trial).items():
            row[option] = f"{value:.4g}" if isinstance(value, float) else value
        return row

    def _best_yaml(self, best: Sequence[Any]) -> str:
        comment = (
            f"{self._study.study_name}: the best of {self._trials_line()}, number {best[0].number}. Validation "
            f"{self._metric} {best[0].value:.6f} with {self._seeds_line()}. These are options of a model in a "
            "leaderboard file, and a file for --config_files of sparse-elsa train."
        )
        values = yaml.safe_dump(self._values(best[0]), sort_keys=False)
        return "".join(f"# {line}\n" for line in output.paragraph("{comment}", comment=comment).splitlines()) + values

    def _values(self, trial: Any) -> dict[str, Any]:
        """The searched options by name; a trial that was interrupted while it was drawn has not all of them."""
        drawn = trial.params
        return {option: values.value(drawn[option]) for option, values in self._space.items() if option in drawn}

    def _trials_line(self) -> str:
        states = [state_of(trial) for trial in self._study.get_trials(deepcopy=False)]
        stopped = f" and {states.count('stopped')} stopped early" if "stopped" in states else ""
        return f"{states.count('complete')} complete trials{stopped}"

    def _seeds_line(self) -> str:
        return f"seed{'s' * (len(self._seeds) > 1)} {', '.join(map(str, self._seeds))}"
