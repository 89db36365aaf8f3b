"""Which models can score a user from nothing but a history, and how each is handed the histories."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from recbole.utils import get_model
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.model import MODELS


def _interaction_matrix(model, histories):
    return {"interaction_matrix": histories}


def _score_matrix(model, histories):
    return {"pred_mat": (histories @ model.w).tocsr()}


def _rating_matrix(model, histories):
    # RecBole's own, a matrix of users by longest history, would take gigabytes for a hundred thousand users.
    return {"get_rating_matrix": functools.partial(_dense_rows, histories, model.device)}


def _dense_rows(histories, device, users):
    return torch.from_numpy(histories[users.cpu().numpy()].toarray()).to(device)


def _nothing(model, histories):
    return {}


# What of each of RecBole's own models stands in for the histories, as attributes with their values.
_ATTRIBUTES = {
    "ADMMSLIM": _interaction_matrix,
    "EASE": _interaction_matrix,
    "ItemKNN": _score_matrix,
    "MacridVAE": _rating_matrix,
    "MultiDAE": _rating_matrix,
    "MultiVAE": _rating_matrix,
    "Pop": _nothing,
    "RecVAE": _rating_matrix,
    "SLIMElastic": _interaction_matrix,
}


def require_history_model(config: Any) -> None:
    """Raise OptionError unless the model that the options name can score a user from a history.

    A model can if its class has ``set_histories(histories)``, whose argument is that of `scoring_from`, or if it is one
    of RecBole's own for which this module knows how.
    """
    name, model_class = config["model"], config.model_class
    if not hasattr(model_class, "set_histories") and not _is_known(model_class):
        ours = [model for model in MODELS if hasattr(get_model(model), "set_histories")]
        raise OptionError(
            f"model is {name}, but split HU of eval_args evaluates on users that were not trained on, so it must be "
            f"one that scores a user from a history alone: {', '.join(sorted([*_ATTRIBUTES, *ours], key=str.lower))}"
        )
    if name == "ItemKNN" and config["knn_method"] != "item":
        raise OptionError(
            f"knn_method is {config['knn_method']}, but must be item with split HU of eval_args: the neighbours of "
            "users who were not trained on are not known"
        )


def _is_known(model_class):
    name = model_class.__name__
    return name in _ATTRIBUTES and model_class.__module__ == f"recbole.model.general_recommender.{name.lower()}"


@contextlib.contextmanager
def scoring_from(model: Any, histories: csr_matrix) -> Iterator[None]:
    """Let a model score users from other histories; what it has learnt stays as it is.

    A model of RecBole's has its own histories again afterwards, so none of these gets into a checkpoint. One with
    ``set_histories`` keeps them: they are no part of its checkpoint.

    Parameters
    ----------
    model : recbole.model.abstract_recommender.AbstractRecommender
        A model that `require_history_model` allows.
    histories : scipy.sparse.csr_matrix
        float32, shape ``(n_users, n_items)``, in RecBole's internal ids (row and column 0 are padding): 1 where the
        model is to see the item in the user's history.
    """
    if hasattr(model, "set_histories"):
        model.set_histories(histories)
        yield
        return
    attributes = _ATTRIBUTES[type(model).__name__](model, histories)
    own = {name: vars(model)[name] for name in attributes if name in vars(model)}
    vars(model).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del vars(model)[name]
        vars(model).update(own)
