"""The trials of a search: drawn and stored by Optuna, and judged on validation data only."""

import contextlib
import copy
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import optuna
import torch
from joblib.externals.loky import get_reusable_executor
from optuna.trial import TrialState
from recbole.config import Config
from sqlalchemy.exc import SQLAlchemyError

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import OptionError, TrainingError, in_one_line
from recbole_sparse_elsa.leaderboard.specification import Cell
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line, create_trainer, load_data
from recbole_sparse_elsa.search.search_space import SearchSpace


def open_study(
    storage: str, name: str, larger_is_better: bool, description: Mapping[str, Any], is_shared: bool
) -> optuna.Study:
    """Open the study of this name, or create it.

    Parameters
    ----------
    storage : str
        URL of an Optuna storage.
    name : str
        Of the study in the storage.
    larger_is_better : bool
        Whether the largest validation metric is the best.
    description : dict
        What all trials have in common, in JSON's types. A study goes on only with the description it began with.
    is_shared : bool
        Whether other machines may be at work on the study. If not, a trial that is still running was interrupted.

    Raises
    ------
    OptionError
        The storage cannot be opened, or its study of this name has another description.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        opened = optuna.storages.RDBStorage(storage)
    except (SQLAlchemyError, ImportError, ValueError, optuna.exceptions.OptunaError) as error:
        # A URL may begin with a user's name and password.
        shown, reason = storage.rpartition("@")[2], str(error).partition("\n")[0]
        raise OptionError(f"storage is {shown}, which cannot be opened: {reason}") from None
    others = {*optuna.get_all_study_names(opened)} - {name}
    if others and not is_shared:
        raise OptionError(f"output: the folder holds the search {', '.join(others)}; give {name} another one")
    study = optuna.create_study(
        storage=opened,
        study_name=name,
        direction="maximize" if larger_is_better else "minimize",
        load_if_exists=True,
    )
    begun_with = study.user_attrs.get("description")
    if begun_with is None:
        study.set_user_attr("description", description)
    elif begun_with != description:
        changed = [key for key in description if description[key] != begun_with.get(key)]
        raise OptionError(
            f"storage: the search {name} was begun with other {', '.join(changed)}, so that new trials could not be "
            "compared with its old ones; give another output or storage"
        )
    if not is_shared:
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            study.tell(trial.number, state=TrialState.FAIL)
    return study


def run_trials(
    study: optuna.Study,
    space: SearchSpace,
    cell: Cell,
    seeds: Sequence[int],
    n_trials: int,
    jobs: int,
    after_trial: Callable[[], object],
    median_stopping: int | None = None,
) -> None:
    """Run trials until the study has ``n_trials`` that are complete, stopped or failed.

    With one job the trials follow from the search space and the data alone. A study that was interrupted goes on with
    the trial at which it was.

    Parameters
    ----------
    study : optuna.Study
        See `open_study`.
    space : dict
        See `recbole_sparse_elsa.search.search_space.read_search_space`.
    cell : recbole_sparse_elsa.leaderboard.specification.Cell
        The model, the data set and the options that are not searched.
    seeds : list of int
        RecBole's seeds; a trial's value is the mean of its validation metrics.
    n_trials : int
        Trials in all, with those that the study already has.
    jobs : int
        Trials at the same time: in this process if 1, and otherwise in as many processes on this machine.
    after_trial : callable
        Called without arguments after each trial.
    median_stopping : int, optional
        After this epoch, counted from 1, a trial is stopped as soon as its best metric so far is worse than the median
        of what at least five complete trials had in the same epoch (the median stopping rule of Golovin et al.,
        "Google Vizier", KDD 2017); with several seeds, in the training with the first. By default none is stopped.
    """
    study.pruner = optuna.pruners.NopPruner()
    if median_stopping is not None:
        study.pruner = optuna.pruners.MedianPruner(5, n_warmup_steps=median_stopping, n_min_trials=5)
    underway: dict[Future[list[float]], optuna.Trial] = {}
    try:
        with output.progress(study.study_name, n_trials, "trial", initial=len(_finished(study))) as bar:
            while True:
                ours = {trial.number for trial in underway.values()}
                while len(underway) < jobs and len(ours | _finished(study)) < n_trials:
                    trial, values = _draw(study, space)
                    ours.add(trial.number)
                    bar.set_postfix_str(f"now trial {trial.number}{_best(study)}")
                    underway[_submit(jobs, _validation_metrics, cell, seeds, values, trial)] = trial
                if not underway:
                    break
                for future in wait(underway, return_when=FIRST_COMPLETED).done:
                    _record(study, underway.pop(future), future, bar)
                    after_trial()
    finally:
        if jobs > 1:
            _processes(jobs).shutdown(kill_workers=True)


def state_of(trial: optuna.trial.FrozenTrial) -> str:
    """``complete``, ``stopped`` (early), ``failed`` (with a recorded reason), ``interrupted`` or ``running``."""
    if trial.state == TrialState.FAIL:
        return "failed" if "error" in trial.user_attrs else "interrupted"
    return "stopped" if trial.state == TrialState.PRUNED else trial.state.name.lower()


def best_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The complete trials, the best first; of equally good ones the earlier first."""
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    return sorted(trials, key=lambda trial: (sign * trial.value, trial.number))


def _finished(study):
    """The numbers of the trials that count."""
    trials = study.get_trials(deepcopy=False)
    return {trial.number for trial in trials if state_of(trial) in ("complete", "stopped", "failed")}


def _draw(study, space):
    """Begin a trial: Optuna's trial and its values by option."""
    # A seed for each trial: a sampler with one seed would begin again with its first values after an interruption. The
    # interrupted trial is drawn again, but not a third time: it may be the one that takes more memory than there is.
    interrupted = [state_of(trial) for trial in study.get_trials(deepcopy=False)].count("interrupted")
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials) - interrupted + interrupted // 2)
    trial = study.ask()
    return trial, {option: values.suggest(trial, option) for option, values in space.items()}


def _submit(jobs, function, *args):
    if jobs > 1:
        return _processes(jobs).submit(function, *args)
    future = Future()
    try:
        future.set_result(function(*args))
    except Exception as error:
        future.set_exception(error)
    return future


def _processes(jobs):
    # The same ones at each call, or new ones if one of them was killed.
    return get_reusable_executor(max_workers=jobs, initializer=_share_cpus, initargs=(jobs,))


def _share_cpus(jobs):
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def _validation_metrics(cell, seeds, values, trial):
    """The best validation metric of a training with each seed. Nothing is computed from the test data.

    Raises
    ------
    optuna.TrialPruned
        The study's pruner stops the trial.
    """

    def stop_if_worse(epoch, metric):
        trial.report(metric, step=epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    metrics = []
    for seed in seeds:
        with away_from_the_command_line():
            own = {"data_path": cell.data_path, "seed": seed, "show_progress": False, "state": "ERROR"}
            # RecBole changes the options that it is given.
            options = copy.deepcopy({**cell.options, **values, **own})
            config = Config(cell.model_to_make, cell.dataset, config_dict=options)
            data = load_data(config)
            trainer = create_trainer(config, data.train_data)
            fit = functools.partial(type(trainer).fit, trainer)  # and not again on all data where some are held out
            after_epoch = stop_if_worse if seed == seeds[0] else None
            with contextlib.closing(trainer.tensorboard):
                # It saves the best epoch (where all is thrown away), from which ELSASAE goes on.
                metric, _ = fit(data.train_data, data.valid_data, show_progress=False, callback_fn=after_epoch)
        if not math.isfinite(metric):
            raise TrainingError(f"the validation metric is {metric} with seed {seed}")
        metrics.append(float(metric))
    return metrics


def _best(study):
    best = best_trials(study)[:1]
    return f", best {best[0].value:.4f}" if best else ""


def _record(study, trial, future, bar):
    error = future.exception()
    if isinstance(error, optuna.TrialPruned):
        study.tell(trial, state=TrialState.PRUNED)
    elif error is None:
        trial.set_user_attr("valid_metrics", future.result())
        study.tell(trial, statistics.mean(future.result()))
        bar.set_postfix_str(_best(study).removeprefix(", "))
    else:
        reason = in_one_line(error)
        if isinstance(error, BrokenProcessPool):
            reason = "a process of this search was killed, perhaps because memory ran out"
        trial.set_user_attr("error", reason)
        study.tell(trial, state=TrialState.FAIL)
        bar.write(f"Trial {trial.number} failed: {reason}")
    bar.update()
