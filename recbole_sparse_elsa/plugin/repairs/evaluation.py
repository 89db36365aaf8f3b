"""Evaluation: figures, metrics that crash, and models that are scored in another way than they should be."""

import types
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch

from recbole_sparse_elsa.errors import DatasetError, TrainingError
from recbole_sparse_elsa.plugin.full_sort import not_implemented_is_an_error
from recbole_sparse_elsa.plugin.patching import MODEL_CONSTRUCTORS, replaces, source_of


def _figures_print_their_type(evaluate: Callable[..., Any]) -> bool:
    metric = types.SimpleNamespace(calculate_metric=lambda dataobject: {"metric": np.float64(0.5)})
    stub = types.SimpleNamespace(metrics=["metric"], metric_class={"metric": metric})
    return repr(evaluate(stub, None)["metric"]) != "0.5"


@replaces(
    "recbole.evaluator.Evaluator.evaluate",
    parameters="self dataobject",
    kind="repair",
    since="numpy 2.0",
    until="the metrics are Python's floats",
    probe=_figures_print_their_type,
)
def make_figures_plain_floats(original: Callable[..., Any]) -> Callable[..., Any]:
    """Give metrics as Python's floats.

    numpy >= 2 prints its own as np.float64(0.1), in logs too.
    """

    def evaluate(self, dataobject):
        result = original(self, dataobject)
        for metric, value in result.items():
            if isinstance(value, np.floating):
                result[metric] = float(value)
        return result

    return evaluate


def _fails_on_a_count(get_data_struct: Callable[..., Any]) -> bool:
    from recbole.evaluator.collector import DataStruct

    stub = types.SimpleNamespace(data_struct=DataStruct())
    stub.data_struct.set("data.num_items", 3)
    try:
        get_data_struct(stub)
    except AttributeError:
        return True
    return False


@replaces(
    "recbole.evaluator.Collector.get_data_struct",
    parameters="self",
    kind="repair",
    until="RecBole asks tensors only for .cpu() (issues #2131, #2191, #2194)",
    probe=_fails_on_a_count,
)
def collect_what_is_not_a_tensor(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let ItemCoverage, AveragePopularity, GiniIndex and TailPercentage be computed.

    They need a count, of which RecBole asks .cpu().
    """

    def get_data_struct(self):
        collected = self.data_struct._data_dict
        others = {key: value for key, value in collected.items() if not isinstance(value, torch.Tensor)}
        for key in others:
            del collected[key]
        returned = original(self)
        collected.update(others)
        returned._data_dict.update(others)
        return returned

    return get_data_struct


# The data set that each model was made of, as long as somebody holds it: a model that is copied or saved does not.
_training_data: Any = weakref.WeakKeyDictionary()

# What metrics that go beyond accuracy need of the training data.
_OF_TRAINING_DATA = ("data.num_items", "data.num_users", "data.count_items", "data.count_users")


def _forgets_the_data_of_a_model(init: Callable[..., Any]) -> bool:
    return "_training_data" not in source_of(init)


@replaces(
    *MODEL_CONSTRUCTORS,
    parameters="self config dataset",
    kind="repair",
    until="RecBole's evaluation collects what its metrics need",
    probe=_forgets_the_data_of_a_model,
)
def remember_the_training_data_of_a_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Remember which data set a model was made of, for `collect_of_the_training_data`.

    RecBole's models do not, and a checkpoint has no data.
    """

    def init(self, config, dataset):
        original(self, config, dataset)
        _training_data[self] = weakref.ref(dataset)

    return init


def _fails_without_training(evaluate: Callable[..., Any]) -> bool:
    from recbole.evaluator.collector import DataStruct

    stub = mock.MagicMock()
    stub.eval_collector.data_struct = DataStruct()
    stub.eval_collector.register.need = lambda name: name == "data.num_items"
    _training_data[stub.model] = lambda: mock.MagicMock()
    evaluate(stub, mock.MagicMock(), load_best_model=False)
    return not stub.eval_collector.data_collect.called


@replaces(
    "recbole.trainer.Trainer.evaluate",
    parameters="self eval_data load_best_model model_file show_progress",
    kind="repair",
    until="RecBole's evaluation collects what its metrics need",
    probe=_fails_without_training,
)
def collect_of_the_training_data(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a model that was loaded be evaluated by ItemCoverage, AveragePopularity and their like.

    RecBole counts the training data at the start of `fit` alone. After `load_data_and_model` these metrics end in an
    IndexError.
    """

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        collector = self.eval_collector
        needed = [name for name in _OF_TRAINING_DATA if collector.register.need(name)]
        if eval_data and any(name not in collector.data_struct for name in needed):
            dataset = _training_data.get(self.model, lambda: None)()
            if dataset is None:
                raise TrainingError(
                    f"metrics {', '.join(self.config['metrics'])}: some need counts of the training data, which this "
                    "trainer was not given; call trainer.eval_collector.data_collect(train_data) first"
                )
            collector.data_collect(types.SimpleNamespace(dataset=dataset))
        return original(self, eval_data, load_best_model, model_file, show_progress)

    return evaluate


def _only_epoch_is_not_validated(init: Callable[..., Any]) -> bool:
    from recbole.trainer import TraditionalTrainer, Trainer

    def trainer_init(self, config, model):
        self.epochs, self.eval_step = 300, 5

    trainer = TraditionalTrainer.__new__(TraditionalTrainer)
    with mock.patch.object(Trainer, "__init__", trainer_init):
        init(trainer, None, None)
    return trainer.eval_step > trainer.epochs


@replaces(
    "recbole.trainer.TraditionalTrainer.__init__",
    parameters="self config model",
    kind="repair",
    until="RecBole sets the number of epochs first",
    probe=_only_epoch_is_not_validated,
)
def validate_the_only_epoch(original: Callable[..., Any]) -> Callable[..., Any]:
    """Validate the only epoch of a model that has just one (EASE, ItemKNN, ...) whatever ``eval_step`` is.

    RecBole means to, but sets their number of epochs only after it has taken the smaller of the two. The epoch then is
    neither validated nor saved, and the run ends with the checkpoint missing.
    """

    def init(self, config, model):
        original(self, config, model)
        self.eval_step = min(self.eval_step, self.epochs)

    return init


def _scores_each_item_alone(full_sort_batch_eval: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(test_batch_size=1)
    stub.model.full_sort_predict.side_effect = NotImplementedError
    full_sort_batch_eval(stub, (mock.MagicMock(), None, None, None))
    return stub.model.predict.called


@replaces(
    "recbole.trainer.Trainer._full_sort_batch_eval",
    parameters="self batched_data",
    kind="repair",
    until="RecBole looks whether the model has the method",
    probe=_scores_each_item_alone,
)
def name_missing_operations(original: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a NotImplementedError that leaves a model's own full_sort_predict into an error that names the cause.

    RecBole takes it for a model without full_sort_predict, and scores each user and item alone, which is right but
    takes hours. torch raises it where a device or a sparse layout lacks an operation.
    """

    def full_sort_batch_eval(self, batched_data):
        with not_implemented_is_an_error(self.model):
            return original(self, batched_data)

    return full_sort_batch_eval


def _fails_on_a_user_without_history(full_sort_scores: Callable[..., Any]) -> bool:
    test_data = mock.MagicMock(is_sequential=False, uid2history_item=np.array([None]))
    test_data.dataset.uid_field = "user_id"
    try:
        full_sort_scores([0], mock.MagicMock(), test_data)
    except TypeError:
        return True
    return False


@replaces(
    "recbole.utils.case_study.full_sort_scores",
    parameters="uid_series model test_data device",
    kind="repair",
    until="RecBole names these users",
    probe=_fails_on_a_user_without_history,
)
def name_users_without_test_data(original: Callable[..., Any]) -> Callable[..., Any]:
    """Name the users that a case study cannot look at.

    RecBole fails on their missing history with a TypeError. It also scores each user and item alone where an operation
    is missing, as in `name_missing_operations`.
    """

    def full_sort_scores(uid_series, model, test_data, device=None):
        if not test_data.is_sequential:
            history = test_data.uid2history_item
            missing = [int(user) for user in uid_series if not 0 <= user < len(history) or history[user] is None]
            if missing:
                raise DatasetError(
                    f"users {', '.join(map(str, missing))} (internal ids) have no interactions in the test data; "
                    f"the {len(test_data.uid_list)} users that have are test_data.uid_list"
                )
        with not_implemented_is_an_error(model):
            return original(uid_series, model, test_data, device)

    return full_sort_scores
