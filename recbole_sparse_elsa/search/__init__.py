"""``sparse-elsa search``: the best options of a model of a leaderboard, by its validation data."""

import copy
import dataclasses
import importlib.util
import json
import os

from recbole.config import Config

from recbole_sparse_elsa import report
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.experiment import away_from_the_command_line
from recbole_sparse_elsa.leaderboard.specification import read_specification
from recbole_sparse_elsa.options import require_whole_number
from recbole_sparse_elsa.search.search_space import read_search_space, require_searchable


def add_subcommand(subparsers) -> None:
    """Add ``search``."""
    parser = subparsers.add_parser("search", help=__doc__.split("``: ")[1], description=__doc__, allow_abbrev=False)
    parser.add_argument("file", metavar="FILE.yaml", help="a leaderboard file")
    parser.add_argument("--model", required=True, metavar="LABEL", help="label of one of the file's models")
    parser.add_argument("--dataset", metavar="NAME", help="one of the file's data sets; needed if it has several")
    parser.add_argument("--size", metavar="OPTION=VALUE", help="one of the model's sizes; needed if it has several")
    parser.add_argument(
        "--space", required=True, metavar="FILE.yaml", help="the options to search, such as configs/search/EASE.yaml"
    )
    parser.add_argument("--trials", required=True, type=int, metavar="N", help="trials in all, with those already done")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for trials.csv, best.yaml and study.db")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="default: the file's seeds")
    parser.add_argument(
        "--storage", metavar="URL", help="an Optuna storage for several machines (default: DIR/study.db)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trials at the same time (default: 1)")
    parser.add_argument(
        "--median-stopping",
        type=int,
        metavar="EPOCH",
        help="after this epoch, stop a trial whose best metric so far is worse than the median of the complete trials' "
        "in the same epoch",
    )
    parser.set_defaults(run=run)


def run(options) -> None:
    """Search; after each trial write DIR/trials.csv and DIR/best.yaml, and print the best trials at the end.

    Raises
    ------
    OptionError
        An option, the leaderboard file or the search space is not allowed; nothing has been trained yet.
    DatasetError
        The data set cannot be found.
    TrainingError
        No trial was completed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise OptionError('search needs Optuna, which is not installed; run: pip install "recbole_sparse_elsa[search]"')
    from recbole_sparse_elsa.search import study as trials_of
    from recbole_sparse_elsa.search.results import Results

    for name in ("trials", "jobs"):
        require_whole_number(vars(options), name, at_least=1)
    for seed in options.seeds or []:
        require_whole_number({"seeds": seed}, "seeds", at_least=0)
    if options.median_stopping is not None:
        require_whole_number(vars(options), "median_stopping", at_least=0)
    cell, seeds = _choose(read_specification(options.file).cells, options)
    space = read_search_space(options.space)
    config = _config(cell)
    require_searchable(space, options.space, config, fixed=cell.size.partition("=")[0])
    report.open_output(options.output)
    study = trials_of.open_study(
        options.storage or f"sqlite:///{os.path.abspath(os.path.join(options.output, 'study.db'))}",
        name=f"{cell.label} {cell.size} on {cell.dataset}".replace("  ", " "),
        larger_is_better=config["valid_metric_bigger"],
        description=_description(cell, seeds, space),
        is_shared=options.storage is not None,
    )
    results = Results(study, space, cell, seeds, config["valid_metric"].lower(), options.output)
    trials_of.run_trials(
        study, space, cell, seeds, options.trials, options.jobs, results.write, options.median_stopping
    )
    results.write()
    results.print_best()


def _choose(cells, options):
    """A cell of the leaderboard that has what is searched, and the seeds of the search."""
    for option, attribute in (("model", "label"), ("dataset", "dataset"), ("size", "size")):
        given = getattr(options, option)
        allowed = list(dict.fromkeys(getattr(cell, attribute) for cell in cells))
        if given is None and len(allowed) > 1:
            raise OptionError(f"{option} is not given, but must be one of {', '.join(allowed)}: a search is for one")
        if given is not None and given not in allowed:
            raise OptionError(f"{option} is {given!r}, but must be one of {options.file}: {', '.join(allowed)}")
        cells = [cell for cell in cells if given in (None, getattr(cell, attribute))]
    seeds = list(dict.fromkeys(options.seeds or [cell.seed for cell in cells]))
    return cells[0], seeds


def _config(cell):
    with away_from_the_command_line():
        # RecBole changes the options that it is given.
        options = {**copy.deepcopy(cell.options), "data_path": cell.data_path}
        return Config(cell.model, cell.dataset, config_dict=options)


def _description(cell, seeds, space):
    """What makes trials comparable, as JSON gives it back."""
    ranges = {option: {type(values).__name__: dataclasses.asdict(values)} for option, values in space.items()}
    description = {
        "model": cell.model,
        "options": cell.options,
        "data": cell.data_checksum,
        "seeds": seeds,
        "search space": ranges,
    }
    return json.loads(json.dumps(description))
