"""What is refused before any data are read, since RecBole would silently ignore it, do it wrong, or fail on it late."""

import copy
import difflib
import glob
import importlib
import importlib.util
import inspect
import math
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.model import MODELS
from recbole_sparse_elsa.plugin.missing_dataset import describe_missing_dataset, missing_dataset_files
from recbole_sparse_elsa.plugin.patching import replaces

#: The learners that every trainer of RecBole knows.
RECBOLE_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")


def _after_config(
    what_recbole_takes: dict[str, Any], until: str
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register a check of options, which gets a Config that was just made and raises what it has to complain of."""

    def register(check: Callable[[Any], None]) -> Callable[[Any], None]:
        def make(original):
            def init(self, model=None, dataset=None, config_file_list=None, config_dict=None):
                original(self, model, dataset, config_file_list, config_dict)
                check(self)

            return init

        make.__name__, make.__doc__ = check.__name__, check.__doc__
        replaces(
            "recbole.config.Config.__init__",
            parameters="self model dataset config_file_list config_dict",
            kind="policy",
            until=until,
            probe=lambda original: config_is_made(original, **what_recbole_takes),
        )(make)
        return check

    return register


def config_is_made(
    init: Callable[..., Any], model: str = "BPR", dataset: str = "ml-100k", **options: Any
) -> bool:
    """Whether a Config is made of these options, by ``init`` in place of its own ``__init__``."""
    from recbole.config import Config

    with mock.patch.dict(os.environ), mock.patch("sys.argv", [""]):
        try:
            init(Config.__new__(Config), model, dataset, None, options)
        except Exception:  # whatever it has to complain of
            return False
    return True


@_after_config({"learner": "nadam"}, until="RecBole refuses learners that it does not know")
def refuse_unknown_learners(config: Any) -> None:
    """Refuse a learner that the trainer does not know, and a learning rate that is not a number above 0.

    RecBole trains with Adam, without weight_decay, if it does not know the learner.
    """
    from recbole.utils import get_trainer

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])
    allowed = [*RECBOLE_LEARNERS, *getattr(trainer, "additional_learners", ())]
    if str(config["learner"]).lower() not in allowed:
        raise OptionError(
            f"learner is {config['learner']}, but must be one of {', '.join(allowed)} for {config['model']}"
        )
    rate = config["learning_rate"]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not (math.isfinite(rate) and rate > 0):
        raise OptionError(f"learning_rate is {rate}, but must be a finite number above 0")


@_after_config(
    {"clip_grad_norm": {"max_norm": 1}, "enable_scaler": True}, until="RecBole clips the gradients that are not scaled"
)
def refuse_clipping_of_scaled_gradients(config: Any) -> None:
    """Refuse clip_grad_norm together with enable_scaler.

    RecBole clips the gradients while they are still multiplied by the scaler's factor, that is nearly to nothing.
    """
    if config["clip_grad_norm"] and config["enable_scaler"]:
        raise OptionError(
            f"clip_grad_norm is {config['clip_grad_norm']} and enable_scaler is {config['enable_scaler']}, but only "
            "one of them is allowed: RecBole would clip the scaled gradients, not the gradients"
        )


@_after_config({"threshold": {"rating": 4}}, until="RecBole drops the ratings, or refuses the option")
def refuse_thresholds_that_do_nothing(config: Any) -> None:
    """Refuse a threshold of ratings with ranking metrics.

    RecBole only adds a label, and trains and tests on all ratings (issues #2066, #2019, #1862).
    """
    from recbole.utils import EvaluatorType, ModelType

    ranks_all_ratings = (
        config["eval_type"] == EvaluatorType.RANKING
        and config["MODEL_TYPE"] in (ModelType.GENERAL, ModelType.TRADITIONAL)
    )
    if ranks_all_ratings and isinstance(config["threshold"], dict) and config["threshold"]:
        field, value = next(iter(config["threshold"].items()))
        raise OptionError(
            f"threshold is {config['threshold']}, but is not allowed with ranking metrics: it only adds a label, and "
            f"all ratings stay; to drop the low ones use val_interval: {{{field}: \"[{value},inf)\"}}"
        )


@_after_config({"dataset": "no such data set"}, until="RecBole looks for the files before it goes on")
def refuse_missing_datasets(config: Any) -> None:
    """Refuse a data set whose files are missing, and name them.

    RecBole notices it only when it reads the data, and then downloads from addresses that refuse (its issue #2218).
    """
    if not _has_cached_dataset(config):
        missing = missing_dataset_files(config)
        if missing:
            raise DatasetError(describe_missing_dataset(config, missing))


@_after_config({"benchmark_filename": []}, until="RecBole refuses names that are not three")
def refuse_other_than_three_fixed_files(config: Any) -> None:
    """Refuse a benchmark_filename that does not name the files of training, validation and test data, or two of them.

    RecBole takes a text for a list of letters, and fails on other numbers of files late. Where there is no file of
    validation data, a part of the training data is held out, see `hold_out_validation_data`.
    """
    names = config["benchmark_filename"]
    if names is None:
        return
    if not isinstance(names, (list, tuple)) or len(names) not in (2, 3) or len({*map(str, names)}) < len(names):
        raise OptionError(
            f"benchmark_filename is {names!r}, but must be a list of three parts of file names: those of the training, "
            "the validation and the test data, such as [train, valid, test], or of two: [train, test]"
        )


def _has_cached_dataset(config: Any) -> bool:
    path = config["dataset_save_path"]
    default = os.path.join(glob.escape(config["checkpoint_dir"]), glob.escape(config["dataset"]) + "-*Dataset.pth")
    return bool(path and os.path.exists(path)) or bool(glob.glob(default))


def known_models() -> list[str]:
    """The names of the models that RecBole finds, RecBole's own and the additional ones, sorted."""
    import recbole

    folder = os.path.join(os.path.dirname(recbole.__file__), "properties", "model")
    names = {os.path.splitext(name)[0] for name in os.listdir(folder) if name.endswith(".yaml")}
    return sorted(names | {"Random"} | set(MODELS), key=str.lower)  # Random alone has no defaults


def _does_not_name_the_models(get_model: Callable[..., Any]) -> bool:
    try:
        get_model("NoSuchModel")
    except Exception as error:  # ModuleNotFoundError or ValueError, which depends on what is installed
        return "LightGCN" not in str(error)
    return True


@replaces(
    "recbole.utils.utils.get_model",
    parameters="model_name",
    kind="policy",
    until="RecBole says that the model is unknown",
    probe=_does_not_name_the_models,
)
def refuse_unknown_models(original: Callable[..., Any]) -> Callable[..., Any]:
    """Name the models that exist when a name is unknown.

    RecBole imports lightgbm while it looks for a model, and then complains that this is not installed (issue #2172).
    """

    def get_model(model_name):
        if model_name not in known_models() and not _is_importable_model(model_name):
            raise OptionError(_describe_unknown_model(model_name))
        return original(model_name)

    return get_model


def _is_importable_model(name: str) -> bool:
    # A model that a user registered or put into RecBole's folder.
    if not name.isidentifier():
        return False
    for kind in ("general", "context_aware", "sequential", "knowledge_aware"):
        module = f"recbole.model.{kind}_recommender.{name.lower()}"
        if importlib.util.find_spec(module):
            return hasattr(importlib.import_module(module), name)
    return False


def _describe_unknown_model(name: str) -> str:
    known = known_models()
    by_lower_case = {model.lower(): model for model in known}
    close = [by_lower_case[match] for match in difflib.get_close_matches(name.lower(), by_lower_case)]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return (
        f"there is no model {name}: {hint}The models are {', '.join(known)}, and classes of your own, given as "
        "path/to/file.py:Class or package.module:Class"
    )


def _starts_processes_unchecked(run: Callable[..., Any]) -> bool:
    with mock.patch("torch.multiprocessing.spawn") as spawn, mock.patch("torch.multiprocessing.get_context"):
        run("BPR", "no such data set", config_dict={}, nproc=2)
    return spawn.called


@replaces(
    "recbole.quick_start.quick_start.run",
    parameters="model dataset config_file_list config_dict saved nproc world_size ip port group_offset",
    kind="policy",
    until="RecBole makes the Config before it starts the processes",
    probe=_starts_processes_unchecked,
)
def check_options_before_processes_start(original: Callable[..., Any]) -> Callable[..., Any]:
    """Check the options of a run on several processes before these are started.

    What a process complains of arrives as a traceback of torch's.
    """
    from recbole.config import Config

    def run(*args, **kwargs):
        given = inspect.signature(original).bind(*args, **kwargs)
        given.apply_defaults()
        options = given.arguments
        if options["nproc"] != 1 or options["world_size"] > 0:
            config_dict = copy.deepcopy(options["config_dict"])
            Config(options["model"], options["dataset"], options["config_file_list"], config_dict)
        return original(*args, **kwargs)

    return run
