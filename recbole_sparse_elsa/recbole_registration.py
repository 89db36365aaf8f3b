"""Makes RecBole's own look-ups find this package's models, trainer and default hyper-parameters.

RecBole finds a model by the name of a module inside its own package, a trainer as an attribute of ``recbole.trainer``
and a model's defaults in a folder of its own. Each of these look-ups is extended here, so that ``run_recbole``,
``run``, ``load_data_and_model``, ``objective_function`` and ``case_study`` serve our models as they do RecBole's. Nothing of
RecBole is copied and nothing is written to its folder.
"""

import functools
import inspect
import os
import sys

import recbole.trainer
from recbole.config import Config
from recbole.quick_start import quick_start

from recbole_sparse_elsa import recbole_repairs
from recbole_sparse_elsa.autoencoder_trainer import AutoencoderTrainer
from recbole_sparse_elsa.errors import OptionError
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
    for function in (run_recboles, objective_function):
        recbole_repairs.replace_everywhere(_original[function.__name__], function)


def _extend(owner, name, extension, parameters):
    original = getattr(owner, name)
    if list(inspect.signature(original).parameters) != parameters:
        raise ImportError(f"RecBole's {owner.__name__}.{name} is not the one of RecBole 1.2.1 that is extended here")

    @functools.wraps(original)
    def extended(*args):
        result = original(*args)
        extension(*args)
        return result

    setattr(owner, name, extended)


def _load_our_defaults(config, file):
    # Right after RecBole's overall defaults and before those of the data set: where a built-in model's come.
    if os.path.basename(file) == "overall.yaml" and config.model in _MODEL_MODULES:
        config._update_internal_config_dict(os.path.join(_PROPERTIES, f"{config.model}.yaml"))


def _check_our_options(config):
    if config["resume"] and config.model not in _PRUNING_TRAINERS:
        raise OptionError(
            f"resume is {config['resume']}, but {config.model} cannot be resumed, only {', '.join(_PRUNING_TRAINERS)}"
        )
    if config.model in _MODEL_MODULES:
        config.model_class.check_options(config)
    if config.model in _PRUNING_TRAINERS:
        PruningTrainer.check_schedule(config, config.model_class.schedule_of(config))


_original = {"run_recboles": quick_start.run_recboles, "objective_function": quick_start.objective_function}


# The two functions that RecBole hands to other processes. Pickled, they name this module, so the worker imports this
# package (and with it the repairs and the models) before it does anything else.


def run_recboles(rank, *args):
    return _original["run_recboles"](rank, *args)


def objective_function(*args, **kwargs):
    return _original["objective_function"](*args, **kwargs)
