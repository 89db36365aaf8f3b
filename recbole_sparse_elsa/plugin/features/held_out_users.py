"""Evaluation on held-out users (see ``evaluation.held_out_users``) by RecBole's own loaders and trainers."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

from recbole_sparse_elsa.plugin.patching import names_in, replaces


def _does_not_know_the_split(build: Callable[..., Any]) -> bool:
    arguments = {"order": "RO", "split": {"HU": {"test_users": 1}}, "group_by": "user"}
    try:
        build(mock.MagicMock(config={"eval_args": arguments}, benchmark_filename_list=None))
    except NotImplementedError:
        return True
    return False


@replaces(
    "recbole.data.dataset.Dataset.build",
    parameters="self",
    kind="feature",
    until="RecBole can split by users",
    probe=_does_not_know_the_split,
)
def split_by_users(original: Callable[..., Any]) -> Callable[..., Any]:
    """Split a data set by users where ``eval_args`` has ``split: {HU: {...}}``.

    Each split of RecBole's puts all users into the training data.
    """

    def build(self):
        from recbole_sparse_elsa.evaluation import held_out_users

        return original(self) if held_out_users.HeldOutOptions.of(self.config) is None else held_out_users.build(self)

    return build


def _does_not_know_held_out_users(original: Callable[..., Any]) -> bool:
    return "held_out_users" not in names_in(original)


@replaces(
    "recbole.data.utils.create_samplers",
    parameters="config dataset built_datasets",
    kind="feature",
    until="RecBole can split by users",
    probe=_does_not_know_held_out_users,
)
def mask_what_is_not_hidden(original: Callable[..., Any]) -> Callable[..., Any]:
    """Mask those items of a held-out user that the model sees.

    RecBole's samplers look at the interactions of all users and phases together.
    """

    def create_samplers(config, dataset, built_datasets):
        from recbole_sparse_elsa.evaluation import held_out_users

        if held_out_users.HeldOutOptions.of(config) is None:
            return original(config, dataset, built_datasets)
        return held_out_users.create_samplers(config, built_datasets)

    return create_samplers


@replaces(
    "recbole.trainer.Trainer.evaluate",
    parameters="self eval_data load_best_model model_file show_progress",
    kind="feature",
    until="RecBole can split by users",
    probe=_does_not_know_held_out_users,
)
def evaluate_on_held_out_users(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a model score held-out users from those of their items that are not hidden.

    RecBole's models score the users that they were trained on.
    """

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        from recbole_sparse_elsa.evaluation.history_models import scoring_from

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


@replaces(
    "recbole.utils.case_study.full_sort_scores",
    parameters="uid_series model test_data device",
    kind="feature",
    until="RecBole can split by users",
    probe=_does_not_know_held_out_users,
)
def look_at_held_out_users(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a case study look at held-out users.

    RecBole's models score the users that they were trained on.
    """

    def full_sort_scores(uid_series, model, test_data, device=None):
        from recbole_sparse_elsa.evaluation.history_models import scoring_from

        users = _held_out_users_of(test_data)
        with scoring_from(model, users.histories) if users else contextlib.nullcontext():
            return original(uid_series, model, test_data, device)

    return full_sort_scores


def _held_out_users_of(eval_data: Any) -> Any:
    return getattr(eval_data.dataset, "held_out_users", None) if eval_data else None
