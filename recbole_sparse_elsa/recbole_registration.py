"""Makes RecBole's own look-ups find this package's models, trainer and default hyper-parameters.

RecBole finds a model by the name of a module inside its own package, a trainer as an attribute of ``recbole.trainer``
and a model's defaults in a folder of its own. Each of these look-ups is extended here, so that ``run_recbole``,
``run``, ``load_data_and_model``, ``objective_function`` and ``case_study`` serve our models as they do RecBole's. The
split by held-out users and the additional metrics are registered here, too. Nothing of RecBole is copied and nothing
is written to its folder.
"""

import contextlib
import copy
import functools
import inspect
import os
import sys

import recbole.trainer
from recbole.config import Config
from recbole.data import utils as data_utils
from recbole.data.dataset import Dataset
from recbole.quick_start import quick_start
from recbole.trainer import Trainer
from recbole.utils import case_study

from recbole_sparse_elsa import held_out_users, metrics, recbole_repairs
from recbole_sparse_elsa.autoencoder_trainer import AutoencoderTrainer
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.history_models import scoring_from
from recbole_sparse_elsa.model import elsa, elsa_sae, implicit_als, pruned_ease, sparse_elsa, user_knn
from recbole_sparse_elsa.trainer import PruningTrainer
from recbole_sparse_elsa.whole_data_trainer import WholeDataTrainer

_MODEL_MODULES = {
    "ELSA": elsa,
    "SparseELSA": sparse_elsa,
    "ELSASAE": elsa_sae,
    "PrunedEASE": pruned_ease,
    "UserKNN": user_knn,
    "ImplicitALS": implicit_als,
}
_PRUNING_TRAINERS = {"ELSA": PruningTrainer, "SparseELSA": PruningTrainer, "ELSASAE": AutoencoderTrainer}
_PROPERTIES = os.path.join(os.path.dirname(__file__), "properties")
# Each is a folder of them, with defaults that win over a model's own.
_PRESETS = ("paper",)


def register() -> None:
    """Register the models; doing it again changes nothing.

    Raises
    ------
    ImportError
        A function of RecBole that is extended here does not have the expected parameters.
    """
    if hasattr(recbole.trainer, "SparseELSATrainer"):
        return
    for name, module in _MODEL_MODULES.items():
        # RecBole imports recbole.model.general_recommender.<lower-case name>. The module keeps its own name, so that
        # a checkpoint points here, and a process that never imported this package does so when it reads one.
        sys.modules[f"recbole.model.general_recommender.{name.lower()}"] = module
        setattr(recbole.trainer, f"{name}Trainer", _PRUNING_TRAINERS.get(name, WholeDataTrainer))
    recbole_repairs.additional_models.update(_MODEL_MODULES)
    _extend(Config, "_update_internal_config_dict", _load_our_defaults, ["self", "file"])
    _extend(Config, "_set_default_parameters", _check_our_options, ["self"])
    parameters = ["model", "dataset", "config_file_list", "config_dict", "saved", "nproc", "world_size", "ip", "port"]
    _wrap(quick_start, "run", _make_run, [*parameters, "group_offset"])
    for function in (run_recboles, objective_function):
        recbole_repairs.replace_everywhere(_original[function.__name__], function)
    metrics.register_metrics()
    _wrap(Dataset, "build", _make_build, ["self"])
    _wrap(data_utils, "create_samplers", _make_create_samplers, ["config", "dataset", "built_datasets"])
    _wrap(Trainer, "evaluate", _make_evaluate, ["self", "eval_data", "load_best_model", "model_file", "show_progress"])
    _wrap(case_study, "full_sort_scores", _make_full_sort_scores, ["uid_series", "model", "test_data", "device"])


def _wrap(owner, name, make, parameters):
    """Put ``make(original)`` in the place of the function ``name`` of a class or a module of RecBole."""
    original = getattr(owner, name)
    if list(inspect.signature(original).parameters) != parameters:
        raise ImportError(f"RecBole's {owner.__name__}.{name} is not the one of RecBole 1.2.1 that is extended here")
    replacement = functools.wraps(original)(make(original))
    if inspect.isclass(owner):
        setattr(owner, name, replacement)
    else:
        recbole_repairs.replace_everywhere(original, replacement)


def _extend(owner, name, extension, parameters):
    def make(original):
        def extended(*args):
            result = original(*args)
            extension(*args)
            return result

        return extended

    _wrap(owner, name, make, parameters)


def _load_our_defaults(config, file):
    # Right after RecBole's overall defaults and before those of the data set: where a built-in model's come.
    if os.path.basename(file) != "overall.yaml" or config.model not in _MODEL_MODULES:
        return
    config._update_internal_config_dict(os.path.join(_PROPERTIES, f"{config.model}.yaml"))
    preset = config.external_config_dict.get("preset")
    if preset is None:
        return
    presets = [folder for folder in _PRESETS if os.path.exists(_preset_file(folder, config.model))]
    if preset not in presets:
        raise OptionError(f"preset is {preset!r}, but {config.model} has {', '.join(presets) or 'none'}")
    config._update_internal_config_dict(_preset_file(preset, config.model))


def _preset_file(preset, model):
    return os.path.join(_PROPERTIES, preset, f"{model}.yaml")


def _check_our_options(config):
    if config["resume"] and config.model not in _PRUNING_TRAINERS:
        raise OptionError(
            f"resume is {config['resume']}, but {config.model} cannot be resumed, only {', '.join(_PRUNING_TRAINERS)}"
        )
    if config.model in _MODEL_MODULES:
        config.model_class.check_options(config)
    if config.model in _PRUNING_TRAINERS:
        for schedule in config.model_class.schedules_of(config):
            PruningTrainer.check_schedule(config, schedule)
    held_out_users.check_options(config)


def _make_run(original):
    def run(*args, **kwargs):
        given = inspect.signature(original).bind(*args, **kwargs)
        given.apply_defaults()
        options = given.arguments
        if options["nproc"] != 1 or options["world_size"] > 0:
            # Checked here too: what a process complains of arrives as a traceback of torch's.
            config_dict = copy.deepcopy(options["config_dict"])
            Config(options["model"], options["dataset"], options["config_file_list"], config_dict)
        return original(*args, **kwargs)

    return run


# Held-out users


def _make_build(original):
    def build(self):
        return original(self) if held_out_users.HeldOutOptions.of(self.config) is None else held_out_users.build(self)

    return build


def _make_create_samplers(original):
    def create_samplers(config, dataset, built_datasets):
        if held_out_users.HeldOutOptions.of(config) is None:
            return original(config, dataset, built_datasets)
        return held_out_users.create_samplers(config, built_datasets)

    return create_samplers


def _make_evaluate(original):
    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        users = _held_out_users_of(eval_data)
        if users is None:
            return original(self, eval_data, load_best_model, model_file, show_progress)
        with contextlib.ExitStack() as stack:
            # Not before the first batch: RecBole reads the best model first, and the training histories with it.
            @functools.cache
            def hand_over_histories():
                stack.enter_context(scoring_from(self.model, users.histories))

            def full_sort_batch_eval(batch):
                hand_over_histories()
                return type(self)._full_sort_batch_eval(self, batch)

            self._full_sort_batch_eval = full_sort_batch_eval
            stack.callback(delattr, self, "_full_sort_batch_eval")
            return original(self, eval_data, load_best_model, model_file, show_progress)

    return evaluate


def _make_full_sort_scores(original):
    def full_sort_scores(uid_series, model, test_data, device=None):
        users = _held_out_users_of(test_data)
        with scoring_from(model, users.histories) if users else contextlib.nullcontext():
            return original(uid_series, model, test_data, device)

    return full_sort_scores


def _held_out_users_of(eval_data):
    return getattr(eval_data.dataset, "held_out_users", None) if eval_data else None


_original = {"run_recboles": quick_start.run_recboles, "objective_function": quick_start.objective_function}


# The two functions that RecBole hands to other processes. Pickled, they name this module, so the worker imports this
# package (and with it the repairs and the models) before it does anything else.


def run_recboles(rank, *args):
    return _original["run_recboles"](rank, *args)


def objective_function(*args, **kwargs):
    return _original["objective_function"](*args, **kwargs)
