"""A checkpoint carries the fingerprint of the data that its model was trained on, and other data are refused."""

import contextlib
from collections.abc import Callable
from typing import Any

from recbole_sparse_elsa.data.fingerprint import SAVED_AS, Fingerprint, require_same_data
from recbole_sparse_elsa.errors import CheckpointError
from recbole_sparse_elsa.plugin.patching import MODEL_CONSTRUCTORS, replaces, source_of


def _knows_nothing_of_the_tokens(original: Callable[..., Any]) -> bool:
    return "field2id_token" not in source_of(original)


@replaces(
    *MODEL_CONSTRUCTORS,
    parameters="self config dataset",
    kind="feature",
    until="RecBole's models know the tokens of their users and items",
    probe=_knows_nothing_of_the_tokens,
)
def fingerprint_the_data_of_a_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a model know the fingerprint of its data.

    RecBole's models know how many users and items there are, but not which.
    """

    def init(self, config, dataset):
        original(self, config, dataset)
        self.data_fingerprint = Fingerprint.of(dataset)

    return init


def _saves_no_fingerprint(other_parameter: Callable[..., Any]) -> bool:
    class Model:
        data_fingerprint = Fingerprint(1, 1, 1, "users", "items", "interactions")

    return SAVED_AS not in other_parameter(Model())


@replaces(
    "recbole.model.abstract_recommender.AbstractRecommender.other_parameter",
    parameters="self",
    kind="feature",
    until="RecBole's checkpoints name the data they belong to",
    probe=_saves_no_fingerprint,
)
def save_the_fingerprint(original: Callable[..., Any]) -> Callable[..., Any]:
    """Save the fingerprint of its data with a model.

    A checkpoint of RecBole's holds a row for each internal id, and not what the ids stand for.
    """

    def other_parameter(self):
        saved = original(self)
        fingerprint = getattr(self, "data_fingerprint", None)
        return saved if fingerprint is None else {**saved, SAVED_AS: fingerprint.saved()}

    return other_parameter


def _takes_a_model_of_other_data(load_other_parameter: Callable[..., Any]) -> bool:
    class Model:
        data_fingerprint = Fingerprint(1, 1, 1, "users", "items", "interactions")

    other = Fingerprint(1, 1, 1, "users", "others", "interactions").saved()
    with contextlib.suppress(CheckpointError):
        load_other_parameter(Model(), {SAVED_AS: other})
        return True
    return False


@replaces(
    "recbole.model.abstract_recommender.AbstractRecommender.load_other_parameter",
    parameters="self para",
    kind="feature",
    until="RecBole's checkpoints name the data they belong to",
    probe=_takes_a_model_of_other_data,
)
def refuse_a_model_of_other_data(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a checkpoint of a model that was trained with other users or items.

    RecBole compares nothing but their numbers: with the lines of an .inter file in another order every user and every
    item gets the row of another one, and all figures are wrong without an error.
    """

    def load_other_parameter(self, para):
        if not isinstance(para, dict) or SAVED_AS not in para:
            original(self, para)
            return
        others = {name: value for name, value in para.items() if name != SAVED_AS}
        require_same_data(para[SAVED_AS], self.data_fingerprint, "the checkpoint")
        original(self, others)

    return load_other_parameter
