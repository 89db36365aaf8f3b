"""A search for the best options of a model of a leaderboard."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recbole.config import Config

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.leaderboard.specification import Cell, read_specification
from recbole_sparse_elsa.options import require_whole_number
from recbole_sparse_elsa.plugin import own_models
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line
from recbole_sparse_elsa.search.search_space import SearchSpace, read_search_space, require_searchable

if TYPE_CHECKING:
    from recbole_sparse_elsa.search.results import Results


def search(
    file: str,
    model: str,
    space: str,
    trials: int,
    folder: str,
    *,
    dataset: str | None = None,
    size: str | None = None,
    seeds: Sequence[int] | None = None,
    storage: str | None = None,
    jobs: int = 1,
    median_stopping: int | None = None,
) -> Results:
    """Search the options of one model, data set and size; after each trial write trials.csv and best.yaml.

    Trials are judged on validation data only. A search that was interrupted goes on where it was.

    Parameters
    ----------
    file : str
        A leaderboard file.
    model : str
        The label of one of its models.
    space : str
        A YAML file; see `read_search_space`.
    trials : int
        Trials in all, with those already done.
    folder : str
        For trials.csv, best.yaml and study.db.
    dataset, size : str, optional
        Needed where the file has several data sets, or the model several sizes.
    seeds : sequence of int, optional
        RecBole's seeds of each trial; by default the file's.
    storage : str, optional
        URL of an Optuna storage for several machines; by default study.db in the folder.
    jobs : int
        Trials at the same time.
    median_stopping : int, optional
        See `recbole_sparse_elsa.search.study.run_trials`.

    Returns
    -------
    Results
        What was found: ``write``, ``print_best``.

    Raises
    ------
    OptionError
        An argument, the leaderboard file or the search space is not allowed, or the folder cannot be written to or is
        in use by another process (OutputError); nothing has been trained yet.
    DatasetError
        The data set cannot be found.
    """
    if importlib.util.find_spec("optuna") is None:
        raise OptionError('search needs Optuna, which is not installed; run: pip install "recbole_sparse_elsa[search]"')
    from recbole_sparse_elsa.search import study as trials_of
    from recbole_sparse_elsa.search.results import Results

    for name, value in (("trials", trials), ("jobs", jobs)):
        require_whole_number(name, value, at_least=1)
    for seed in seeds or []:
        require_whole_number("seeds", seed, at_least=0)
    if median_stopping is not None:
        require_whole_number("median_stopping", median_stopping, at_least=0)
    cell, seeds = _choose(file, read_specification(file).cells, model, dataset, size, seeds)
    searched = read_search_space(space)
    config = _config(cell)
    require_searchable(searched, space, config, fixed=cell.size.partition("=")[0])
    with output.reserve_folder(folder):
        study = trials_of.open_study(
            storage or f"sqlite:///{os.path.abspath(os.path.join(folder, 'study.db'))}",
            name=f"{cell.label} {cell.size} on {cell.dataset}".replace("  ", " "),
            larger_is_better=config["valid_metric_bigger"],
            description=_description(cell, seeds, searched),
            is_shared=storage is not None,
        )
        results = Results(study, searched, cell, seeds, config["valid_metric"].lower(), folder)
        trials_of.run_trials(study, searched, cell, seeds, trials, jobs, results.write, median_stopping)
        results.write()
    return results


def _choose(
    file: str,
    cells: Sequence[Cell],
    model: str,
    dataset: str | None,
    size: str | None,
    seeds: Sequence[int] | None,
) -> tuple[Cell, list[int]]:
    """A cell of the leaderboard that has what is searched, and the seeds of the search."""
    wanted = (("model", "label", model), ("dataset", "dataset", dataset), ("size", "size", size))
    for option, attribute, given in wanted:
        allowed = list(dict.fromkeys(getattr(cell, attribute) for cell in cells))
        if given is None and len(allowed) > 1:
            raise OptionError(f"{option} is not given, but must be one of {', '.join(allowed)}: a search is for one")
        if given is not None and given not in allowed:
            raise OptionError(f"{option} is {given!r}, but must be one of {file}: {', '.join(allowed)}")
        cells = [cell for cell in cells if given in (None, getattr(cell, attribute))]
    return cells[0], list(dict.fromkeys(seeds or [cell.seed for cell in cells]))


def _config(cell: Cell) -> Any:
    with away_from_the_command_line():
        # RecBole changes the options that it is given.
        options = {**copy.deepcopy(cell.options), "data_path": cell.data_path}
        return Config(cell.model_to_make, cell.dataset, config_dict=options)


def _description(cell: Cell, seeds: Sequence[int], space: SearchSpace) -> dict[str, Any]:
    """What makes trials comparable, as JSON gives it back."""
    ranges: Mapping[str, Any] = {
        option: {type(values).__name__: dataclasses.asdict(values)} for option, values in space.items()
    }
    description = {
        "model": cell.model,
        "options": cell.options,
        "data": cell.data_checksum,
        "seeds": seeds,
        "search space": ranges,
    }
    own = own_models.registered(cell.model)
    if own is not None:
        description["code"] = own_models.checksum(own)
    return json.loads(json.dumps(description))
