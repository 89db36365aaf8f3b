"""Whether a model scores all items at once, by a full_sort_predict of its own."""

import contextlib
from collections.abc import Iterator
from typing import Any


def defines_full_sort_predict(model_class: type) -> bool:
    """Whether a class of models has a full_sort_predict beside that of RecBole's base class, which only raises."""
    from recbole.model.abstract_recommender import AbstractRecommender

    return getattr(model_class, "full_sort_predict", None) not in (None, AbstractRecommender.full_sort_predict)


@contextlib.contextmanager
def not_implemented_is_an_error(model: Any) -> Iterator[None]:
    """Turn a NotImplementedError that leaves the model's own full_sort_predict into a RuntimeError."""
    if not defines_full_sort_predict(type(model)):
        yield
        return
    predict, of_instance = model.full_sort_predict, "full_sort_predict" in vars(model)

    def full_sort_predict(interaction):
        try:
            return predict(interaction)
        except NotImplementedError as error:
            raise RuntimeError(f"{type(model).__name__}.full_sort_predict needs what is not there: {error}") from error

    model.full_sort_predict = full_sort_predict
    try:
        yield
    finally:
        if of_instance:
            model.full_sort_predict = predict
        else:
            del model.full_sort_predict
