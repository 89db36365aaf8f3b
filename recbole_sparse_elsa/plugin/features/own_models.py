"""Models of a user's own where RecBole looks for its models: as its name in options, in a Config, in a checkpoint."""

import contextlib
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

from recbole_sparse_elsa.errors import UserError
from recbole_sparse_elsa.plugin import own_models
from recbole_sparse_elsa.plugin.patching import adjusts, names_in, replaces


def _finds_models_by_name_only(original: Callable[..., Any]) -> bool:
    return "own_models" not in names_in(original)


@replaces(
    "recbole.utils.utils.get_model",
    parameters="model_name",
    kind="feature",
    until="RecBole finds models outside its own folder",
    probe=_finds_models_by_name_only,
)
def get_models_of_ones_own(original: Callable[..., Any]) -> Callable[..., Any]:
    """Get a model of a user's own, by its file and class, or by the name of its class once it is known.

    RecBole looks for a module of the model's name inside its own package, so that a user would have to write there.
    """

    def get_model(model_name):
        own = own_models.find(model_name) if own_models.is_source(model_name) else own_models.registered(model_name)
        return original(model_name) if own is None else own_models.load(own)

    return get_model


@replaces(
    "recbole.config.Config._get_model_and_dataset",
    parameters="self model dataset",
    kind="feature",
    until="RecBole finds models outside its own folder",
    probe=_finds_models_by_name_only,
)
def take_models_of_ones_own(original: Callable[..., Any]) -> Callable[..., Any]:
    """Take ``path/to/file.py:Class`` and ``package.module:Class`` for a model, which is called by its class's name.

    RecBole takes a class from a program, but neither from a command nor from a file of options.
    """

    def get_model_and_dataset(self, model, dataset):
        given = self.external_config_dict.get("model") if model is None else model
        own = own_models.find(given) if own_models.is_source(given) else own_models.registered(given)
        if own is None:
            return original(self, model, dataset)
        self.own_model = own.source
        return original(self, own_models.load(own), dataset)

    return get_model_and_dataset


@replaces(
    "recbole.config.Config._update_internal_config_dict",
    parameters="self file",
    kind="feature",
    until="RecBole reads defaults outside its own folder",
    probe=_finds_models_by_name_only,
)
def load_defaults_of_ones_own(original: Callable[..., Any]) -> Callable[..., Any]:
    """Read the options of a user's model, with their defaults, from the YAML file of its name beside its file.

    RecBole has them in a folder of its own. They come where a built-in model's do.
    """

    def update_internal_config_dict(self, file):
        options = original(self, file)
        own = _own_model_of(self)
        if os.path.basename(file) == "overall.yaml" and own is not None and own.options_file is not None:
            own_models.default_options(own)  # which says in one line what is wrong
            original(self, own.options_file)
        return options

    return update_internal_config_dict


@replaces(
    "recbole.config.Config._set_default_parameters",
    parameters="self",
    kind="feature",
    until="RecBole finds models outside its own folder",
    probe=_finds_models_by_name_only,
)
def state_what_the_model_is(original: Callable[..., Any]) -> Callable[..., Any]:
    """State in the options of a run with a user's own model where its code is, and the code's checksum.

    A name alone does not say which code a figure is of.
    """

    def set_default_parameters(self):
        original(self)
        own = _own_model_of(self)
        if own is not None:
            self.final_config_dict["own_model"] = own.source
            self.final_config_dict["own_model_checksum"] = own_models.checksum(own)

    return set_default_parameters


def _own_model_of(config: Any) -> own_models.OwnModel | None:
    source = vars(config).get("own_model")
    return None if source is None else own_models.OwnModel(*reversed(source.rsplit(":", 1)))


def _state_to_save(config):
    state = dict(vars(config))
    if "own_model" in state:
        state.pop("model_class", None)
    return state


def _restore_state(config, state):
    vars(config).update(state)
    own = _own_model_of(config)
    if own is not None:
        own_models.register(own)
        own_models.warn_if_changed(own, config.final_config_dict.get("own_model_checksum"))


def _pickles_the_class() -> bool:
    from recbole.config import Config

    return vars(Config).get("__setstate__", _restore_state) is _restore_state


@adjusts(
    "recbole.config.Config",
    kind="feature",
    until="RecBole finds models outside its own folder",
    probe=_pickles_the_class,
)
def save_where_a_model_of_ones_own_is() -> None:
    """Let a checkpoint hold where a user's own model is, instead of its class.

    A class in a pickle is the name of a module, which another process does not find. Nothing of the file is imported
    before the model is made.
    """
    from recbole.config import Config

    Config.__getstate__, Config.__setstate__ = _state_to_save, _restore_state


def _does_not_find_the_class(getattribute: Callable[..., Any]) -> bool:
    with mock.patch.object(own_models, "load", return_value=dict), contextlib.suppress(AttributeError, UserError):
        return getattribute(mock.Mock(own_model="x.py:X", final_config_dict={}), "model_class") is not dict
    return True


@replaces(
    "recbole.config.Config.__getattr__",
    parameters="self item",
    kind="feature",
    until="RecBole finds models outside its own folder",
    probe=_does_not_find_the_class,
)
def find_the_class_of_a_saved_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Import a user's own model when the options of a checkpoint are asked for its class.

    The checkpoint holds where the class is, and not the class.
    """

    def getattribute(self, item):
        own = _own_model_of(self) if item == "model_class" else None
        if own is None:
            return original(self, item)
        self.model_class = own_models.load(own)
        return self.model_class

    return getattribute
