"""Our models by name: their modules, trainers, default options and presets, where RecBole looks for its own.

RecBole finds a model by the name of a module inside its own package, a trainer as an attribute of ``recbole.trainer``
and a model's defaults in a folder of its own. Each of these look-ups is extended here, so that ``run_recbole``,
``run``, ``load_data_and_model``, ``objective_function`` and ``case_study`` serve our models as they do RecBole's.
Nothing of RecBole is copied and nothing is written to its folder.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any
from unittest import mock

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model import MODELS, PROPERTIES, model_class
from recbole_sparse_elsa.plugin import own_models
from recbole_sparse_elsa.plugin.patching import adjusts, replaces
from recbole_sparse_elsa.plugin.policy import config_is_made
from recbole_sparse_elsa.training import RESUMABLE, trainer_class

# Each is a folder of them, with defaults that win over a model's own.
_PRESETS = ("paper",)


class _ModelFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds our models where RecBole looks for its own: in recbole.model.general_recommender.<lower-case name>.

    A model's module keeps its own name, so that a checkpoint points here, and a process that never imported this
    package does so when it reads one. It is imported when it is first asked for: the import of RecBole that installs
    this plug-in may come from that very module.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _PLACES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = sys.modules[model_class(_PLACES[spec.name]).__module__]
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # What the import system has just written over it.
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


_FOLDER = "recbole.model.general_recommender"
_PLACES = {f"{_FOLDER}.{name.lower()}": name for name in MODELS}


def _recbole_has_none_of_our_models() -> bool:
    path = importlib.import_module(_FOLDER).__path__
    return not any(importlib.machinery.PathFinder.find_spec(place, path) for place in _PLACES)


@adjusts(
    _FOLDER,
    kind="feature",
    until="RecBole finds models outside its own folder",
    probe=_recbole_has_none_of_our_models,
)
def find_our_models() -> None:
    """Find our models by their names.

    RecBole looks for a module of the model's name inside its own package.
    """
    if not any(isinstance(finder, _ModelFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ModelFinder())


def _trainer_by_name(name: str) -> type:
    model = name.removesuffix("Trainer")
    own = own_models.registered(model)
    trainer = None if own is None or model == name else own_models.trainer_of(own)
    if trainer is not None:
        return trainer
    if model == name or model not in MODELS:
        raise AttributeError(f"module 'recbole.trainer' has no attribute {name!r}")
    return trainer_class(model)


def _recbole_has_none_of_our_trainers() -> bool:
    return not any(f"{name}Trainer" in vars(importlib.import_module("recbole.trainer")) for name in MODELS)


@adjusts(
    "recbole.trainer.__getattr__",
    kind="feature",
    until="a model can name its trainer",
    probe=_recbole_has_none_of_our_trainers,
)
def find_our_trainers() -> None:
    """Find the trainers of our models, and of a user's own.

    RecBole looks for the trainer of a model as an attribute of ``recbole.trainer``. It is imported when it is asked
    for, because it imports RecBole's.
    """
    vars(importlib.import_module("recbole.trainer"))["__getattr__"] = _trainer_by_name


def _recbole_has_none_of_our_defaults(original: Callable[..., Any]) -> bool:
    import recbole

    folder = os.path.join(os.path.dirname(recbole.__file__), "properties", "model")
    return not any(os.path.exists(os.path.join(folder, f"{name}.yaml")) for name in MODELS)


@replaces(
    "recbole.config.Config._update_internal_config_dict",
    parameters="self file",
    kind="feature",
    until="RecBole reads defaults outside its own folder",
    probe=_recbole_has_none_of_our_defaults,
)
def load_our_defaults(original: Callable[..., Any]) -> Callable[..., Any]:
    """Read the default options of our models, and a preset's if one is asked for.

    RecBole has them in a folder of its own. They are read right after RecBole's overall defaults and before those of
    the data set: where a built-in model's come.
    """

    def update_internal_config_dict(self, file):
        options = original(self, file)
        if os.path.basename(file) == "overall.yaml" and self.model in MODELS:
            self._update_internal_config_dict(os.path.join(PROPERTIES, f"{self.model}.yaml"))
            preset = self.external_config_dict.get("preset")
            if preset is not None:
                self._update_internal_config_dict(_preset_file(preset, self.model))
        return options

    return update_internal_config_dict


def _preset_file(preset: object, model: str) -> str:
    files = {name: os.path.join(PROPERTIES, name, f"{model}.yaml") for name in _PRESETS}
    files = {name: file for name, file in files.items() if os.path.exists(file)}
    if not isinstance(preset, str) or preset not in files:
        raise OptionError(f"preset is {preset!r}, but {model} has {', '.join(files) or 'none'}")
    return files[preset]


def _takes_what_our_models_refuse(set_default_parameters: Callable[..., Any]) -> bool:
    from recbole.config import Config

    with mock.patch.object(Config, "_set_default_parameters", set_default_parameters):
        return config_is_made(Config.__init__, "SparseELSA", k=0)


@replaces(
    "recbole.config.Config._set_default_parameters",
    parameters="self",
    kind="feature",
    until="a model can check its options before data are read",
    probe=_takes_what_our_models_refuse,
)
def check_our_options(original: Callable[..., Any]) -> Callable[..., Any]:
    """Check the options of our models, of resuming, and of held-out users when a Config is made.

    RecBole makes the model only after it has read the data.
    """

    def set_default_parameters(self):
        original(self)
        _check_options(self)

    return set_default_parameters


def _check_options(config: Any) -> None:
    from recbole_sparse_elsa.evaluation import held_out_users

    if config["resume"] and config.model not in RESUMABLE:
        raise OptionError(
            f"resume is {config['resume']}, but {config.model} cannot be resumed, only {', '.join(RESUMABLE)}"
        )
    if config.model in MODELS:
        config.model_class.check_options(config)
    if config.model in RESUMABLE:
        trainer: Any = trainer_class(config.model)
        trainer.check_schedule(config, config.model_class.schedule_before_data(config))
    held_out_users.check_options(config)
