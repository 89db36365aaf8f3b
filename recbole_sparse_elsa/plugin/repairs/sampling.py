"""Negatives: the candidates of uniN and popN, and users for whom none can be drawn."""

import copy
import re
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch

from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.model import MODELS
from recbole_sparse_elsa.plugin.patching import replaces

_PHASES = ("train", "valid", "test")

#: Models of RecBole that ignore the interactions of their training batches. So do all models of this package.
_IGNORE_BATCHES = ("ADMMSLIM", "AsymKNN", "EASE", "ItemKNN", "NCEPLRec", "Pop", "Random", "SLIMElastic")


# Users who have all items


def _fails_on_a_user_who_has_all_items(get_used_ids: Callable[..., Any]) -> bool:
    feature = {name: torch.tensor([1]) for name in ("user", "item")}
    stub = types.SimpleNamespace(
        phases=["train"],
        datasets=[types.SimpleNamespace(uid_field="user", iid_field="item", inter_feat=feature)],
        uid_field="user",
        iid_field="item",
        user_num=2,
        item_num=2,
    )
    try:
        get_used_ids(stub)
    except ValueError:
        return True
    return False


@replaces(
    "recbole.sampler.Sampler.get_used_ids",
    parameters="self",
    kind="repair",
    until="RecBole looks for such users only where it draws negatives",
    probe=_fails_on_a_user_who_has_all_items,
)
def allow_users_who_have_all_items(original: Callable[..., Any]) -> Callable[..., Any]:
    """Allow users who have all items where nobody draws negatives for them.

    RecBole fails on them in every run, although a model may not learn from negatives, and the mode full draws none.
    """

    def get_used_ids(self):
        # RecBole compares the number of items with that of a user, and looks at it nowhere else.
        without_check = copy.copy(self)
        without_check.item_num = -1
        return original(without_check)

    return get_used_ids


def _draws(neg_sample_args: Any) -> bool:
    return "none" not in (neg_sample_args["distribution"], neg_sample_args["sample_num"])


def _ignores_batches(config: Any) -> bool:
    return config["model"] in _IGNORE_BATCHES or config["model"] in MODELS


def _weights_of_items(loader: Any) -> np.ndarray:
    """The `_weights` of a loader's sampler, made once."""
    if "_item_weights" not in vars(loader):
        loader._item_weights = _weights(loader._sampler)
    return loader._item_weights


def _require_an_item_to_draw(loader: Any, purpose: str, instead: str) -> None:
    """Refuse users for whom no negative can be drawn, for which RecBole would try for ever.

    Raises
    ------
    DatasetError
        Names the first such user, and what can be done.
    """
    dataset, sampler = loader._dataset, loader._sampler
    can_be_drawn = set(np.flatnonzero(_weights_of_items(loader)).tolist())
    users, items = (dataset.inter_feat[field].tolist() for field in (dataset.uid_field, dataset.iid_field))
    if loader.config["repeatable"]:
        known_by_user = ((user, {item}) for user, item in zip(users, items)) if len(can_be_drawn) < 2 else ()
    else:
        known_by_user = ((user, sampler.used_ids[user]) for user in dict.fromkeys(users))
    for user, known in known_by_user:
        if len(known) >= len(can_be_drawn) and can_be_drawn <= known:
            name = dataset.id2token(dataset.uid_field, user)
            raise DatasetError(
                f"user {name} has interacted with all {len(can_be_drawn)} items that can be drawn, so that there is no "
                f"negative for {purpose}: leave out such users by user_inter_num_interval, or {instead}"
            )


def _train_loader(**options: Any) -> tuple[Any, dict[str, Any]]:
    """An empty loader of training data, and options for it: those of Pop, which draws one negative."""
    from recbole.data.dataloader import TrainDataLoader
    from recbole.utils import InputType

    arguments = {"distribution": "uniform", "sample_num": 1}
    config = {
        "model": "Pop",
        "MODEL_INPUT_TYPE": InputType.PAIRWISE,
        "train_neg_sample_args": arguments,
        "repeatable": False,
        "NEG_PREFIX": "neg_",
        **options,
    }
    loader = TrainDataLoader.__new__(TrainDataLoader)
    vars(loader).update(config=config, neg_sample_args=arguments)
    return loader, config


def _would_draw_for_ever(init: Callable[..., Any]) -> bool:
    from recbole.data.dataloader.general_dataloader import NegSampleDataLoader

    def base(self, config, dataset, sampler, shuffle):
        self._dataset, self._sampler = dataset, sampler

    loader, config = _train_loader(model="BPR")
    dataset = mock.MagicMock(uid_field="user", iid_field="item", item_feat=None)
    dataset.inter_feat = {name: torch.tensor([1]) for name in ("user", "item")}
    sampler = types.SimpleNamespace(item_num=2, distribution="uniform", used_ids=[set(), {1}])
    with mock.patch.object(NegSampleDataLoader, "__init__", base):
        try:
            init(loader, config, dataset, sampler)
        except DatasetError:
            return False
    return True


@replaces(
    "recbole.data.dataloader.TrainDataLoader.__init__",
    parameters="self config dataset sampler shuffle",
    kind="repair",
    until="RecBole looks for such users where it draws negatives, and names them",
    probe=_would_draw_for_ever,
)
def refuse_training_users_without_negatives(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse training users for whom no negative can be drawn, and name them.

    RecBole does not say who has all items. It never ends where a user has all items that can be drawn by popularity,
    which are those with an interaction.
    """

    def init(self, config, dataset, sampler, shuffle=False):
        original(self, config, dataset, sampler, shuffle=shuffle)
        if _draws(self.neg_sample_args) and not _ignores_batches(config):
            _require_an_item_to_draw(self, f"{config['model']} to learn from", "take a model that learns without them")

    return init


def _draws_what_nobody_looks_at(neg_sampling: Callable[..., Any]) -> bool:
    loader, _ = _train_loader()
    loader._sampler = mock.MagicMock()
    loader.sampling_func, loader.uid_field, loader.iid_field, loader.neg_sample_num = mock.MagicMock(), "u", "i", 1
    neg_sampling(loader, mock.MagicMock())
    return loader._sampler.sample_by_user_ids.called


@replaces(
    "recbole.data.dataloader.TrainDataLoader._neg_sampling",
    parameters="self inter_feat",
    kind="repair",
    until="RecBole draws no negatives for models that ignore them",
    probe=_draws_what_nobody_looks_at,
)
def draw_no_negatives_that_are_ignored(original: Callable[..., Any]) -> Callable[..., Any]:
    """Draw no negatives for models that learn from the whole data at once, and ignore the batches (EASE, Pop, ...).

    RecBole draws them, and cannot train these models where a user has all items.
    """

    def neg_sampling(self, inter_feat):
        return inter_feat if _ignores_batches(self.config) else original(self, inter_feat)

    return neg_sampling


# The candidates of an evaluation


def draw_candidates(weights: np.ndarray, known: set[int], n: int, seed: tuple[int, ...]) -> np.ndarray:
    """Draw different items, none of which is known; always the same for the same seed.

    Parameters
    ----------
    weights : numpy.ndarray
        Float64, shape ``(n_items,)``: the chances of the items relative to each other, 0 for those never drawn.
    known : set of int
        Items that are not drawn.
    n : int
        How many to draw.
    seed : tuple of int
        Numbers from 0 to 2**32 - 1.

    Returns
    -------
    numpy.ndarray
        Int64, ascending, shape ``(n,)``, shorter where there are not as many.
    """
    # The first n of independent exponential waiting times are a sample without replacement by the weights. The stream
    # of a RandomState is the same in all versions of NumPy. A wait does not depend on what is known, so that the
    # candidates of models which leave out different items are the same otherwise.
    with np.errstate(divide="ignore"):
        waits = np.random.RandomState(seed).standard_exponential(len(weights)) / weights
    waits[list(known)] = np.inf
    n = min(n, int(np.isfinite(waits).sum()))
    return np.sort(np.argpartition(waits, n - 1)[:n]) if n else np.zeros(0, dtype=np.int64)


def _weights(sampler: Any) -> np.ndarray:
    """The chance of each item to be drawn, relative to others: 1, or its number of interactions; 0 for the padding."""
    weights = np.ones(sampler.item_num)
    if sampler.distribution == "popularity":
        weights = np.bincount(sampler._get_candidates_list(), minlength=sampler.item_num).astype(np.float64)
    weights[0] = 0
    return weights


def _draws_by_the_state_of_all(neg_sampling: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(neg_sample_args={"distribution": "uniform", "sample_num": 1})
    neg_sampling(stub, mock.MagicMock())
    return stub._sampler.sample_by_user_ids.called


@replaces(
    "recbole.data.dataloader.NegSampleEvalDataLoader._neg_sampling",
    parameters="self inter_feat",
    kind="repair",
    until="RecBole draws the candidates of an evaluation once",
    probe=_draws_by_the_state_of_all,
)
def draw_the_same_candidates_each_time(original: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluate uniN and popN on the same candidates in each epoch, each evaluation and for each model.

    They depend on the seed, the user, and whether it is the validation or the test. RecBole draws others each time, by
    a state that training shares: two evaluations of a model differ, and epochs and models are compared on different
    items. It also draws items more than once, which then count once, so that targets are ranked among fewer items than
    the mode says, and by the exponent that training has for popularity.
    """

    def neg_sampling(self, inter_feat):
        if not _draws(self.neg_sample_args):
            return original(self, inter_feat)
        # The loader asks for one user at a time.
        user, targets = int(inter_feat[self.uid_field][0]), inter_feat[self.iid_field].tolist()
        n = self.neg_sample_num * len(targets)
        known = set(targets) if self.config["repeatable"] else self._sampler.used_ids[user]
        seed = (self.config["seed"] % 2**32, _PHASES.index(self._sampler.phase), user)
        items = draw_candidates(_weights_of_items(self), known, n, seed)
        # Where there are fewer than asked for, all are taken, and again.
        return self.sampling_func(inter_feat, torch.from_numpy(np.resize(items, n)))

    return neg_sampling


def _mixes_the_targets_of_a_sequence(init_batch_size_and_step: Callable[..., Any]) -> bool:
    stub = _sequential_loader_of_one_user()
    init_batch_size_and_step(stub)
    return len(stub.uid_list) == 1


def _sequential_loader_of_one_user() -> Any:
    from recbole.utils import ModelType

    stub = mock.MagicMock(neg_sample_args={"distribution": "uniform", "sample_num": 1}, times=2)
    stub.config = {"MODEL_TYPE": ModelType.SEQUENTIAL, "eval_batch_size": 10}
    stub._dataset.__len__.return_value = 2
    stub.uid_list, stub.uid2items_num = np.array([1]), np.array([0, 2])
    return stub


@replaces(
    "recbole.data.dataloader.NegSampleEvalDataLoader._init_batch_size_and_step",
    parameters="self",
    kind="repair",
    until="RecBole ranks each target after its own history in all modes",
    probe=_mixes_the_targets_of_a_sequence,
)
def rank_each_target_after_its_own_history(original: Callable[..., Any]) -> Callable[..., Any]:
    """Rank each target of a sequential model among its own candidates in the modes uniN and popN, as in the mode full.

    RecBole puts a user's targets into one ranking, although each was scored after another history.
    """
    from recbole.utils import ModelType

    def init_batch_size_and_step(self):
        if _draws(self.neg_sample_args) and self.config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
            self.sample_size = len(self._dataset)
            # What RecBole calls a user is from here on one interaction.
            self.uid_list = np.arange(self.sample_size)
            self.uid2index = np.array([slice(row, row + 1) for row in self.uid_list], dtype=object)
            self.uid2items_num = np.ones(self.sample_size, dtype=np.int64)
        original(self)

    return init_batch_size_and_step


class _NoSampler:
    """Stands in for the sampler of a loader of labelled interactions, which has none."""

    def __init__(self, phase: str) -> None:
        self.phase = phase


def _asks_for_the_mode_of_the_test(init: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(neg_sample_args={"distribution": "none"})
    options = {
        "MODEL_TYPE": None,
        "eval_args": {"mode": {"valid": "labeled", "test": "uni5"}},
        "valid_neg_sample_args": "valid",
        "test_neg_sample_args": "test",
    }
    from recbole.data.dataloader.general_dataloader import NegSampleDataLoader

    with mock.patch.object(NegSampleDataLoader, "__init__", lambda *args, **options: None):
        loader: Any = type("Loader", (NegSampleDataLoader,), {"_set_neg_sample_args": stub})
        try:
            init(loader.__new__(loader), options, mock.MagicMock(), None)
        except Exception:
            pass
    return stub.call_args.args[-1] == "test"


@replaces(
    "recbole.data.dataloader.NegSampleEvalDataLoader.__init__",
    parameters="self config dataset sampler shuffle",
    kind="repair",
    until="RecBole tells a loader whether it is for validation or test",
    probe=_asks_for_the_mode_of_the_test,
)
def load_labels_by_their_own_mode(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the validation use labels and the test a sample.

    A loader without a sampler looks at the mode of the test whatever it is for, and fails; and so does one that is
    read from a file.
    """

    def init(self, config, dataset, sampler, shuffle=False):
        if sampler is None:
            modes = config["eval_args"]["mode"]
            sampler = _NoSampler("test" if modes["test"] == "labeled" else "valid")
        original(self, config, dataset, sampler, shuffle)

    return init


def _evaluates_for_ever(init: Callable[..., Any]) -> bool:
    from recbole.data.dataloader.general_dataloader import NegSampleDataLoader, NegSampleEvalDataLoader

    def base(self, config, dataset, sampler, shuffle):
        self.config, self._dataset, self._sampler = config, dataset, sampler

    class Loader(NegSampleEvalDataLoader):
        def _set_neg_sample_args(self, config, dataset, dl_format, neg_sample_args):
            self.neg_sample_args = neg_sample_args

    arguments = {"distribution": "uniform", "sample_num": 1}
    dataset = mock.MagicMock(uid_field="user", iid_field="item", user_num=2)
    dataset.inter_feat = {name: torch.tensor([1]) for name in ("user", "item")}
    sampler = types.SimpleNamespace(phase="test", item_num=2, distribution="uniform", used_ids=[set(), {1}])
    with mock.patch.object(NegSampleDataLoader, "__init__", base):
        try:
            config = {"test_neg_sample_args": arguments, "repeatable": False}
            init(Loader.__new__(Loader), config, dataset, sampler)
        except DatasetError:
            return False
    return True


@replaces(
    "recbole.data.dataloader.NegSampleEvalDataLoader.__init__",
    parameters="self config dataset sampler shuffle",
    kind="repair",
    until="RecBole looks for such users where it draws negatives, and names them",
    probe=_evaluates_for_ever,
)
def refuse_evaluated_users_without_negatives(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse users whose targets are to be ranked among a sample that has nothing in it, and name them.

    RecBole does not say who has all items, or never ends, as in `refuse_training_users_without_negatives`.
    """

    def init(self, config, dataset, sampler, shuffle=False):
        original(self, config, dataset, sampler, shuffle)
        if _draws(self.neg_sample_args):
            phase = {"valid": "validation"}.get(sampler.phase, sampler.phase)
            _require_an_item_to_draw(self, f"the {phase}", "evaluate in the mode full")

    return init


# What cannot be evaluated

_EVALUATION_MODE = re.compile(r"full|labeled|(uni|pop)[1-9][0-9]*")


def _samples_nothing(set_eval_neg_sample_args: Callable[..., Any]) -> bool:
    stub = types.SimpleNamespace(final_config_dict={"eval_args": {"mode": {"test": "uni0"}}})
    try:
        set_eval_neg_sample_args(stub, "test")
    except OptionError:
        return False
    return True


@replaces(
    "recbole.config.Config._set_eval_neg_sample_args",
    parameters="self phase",
    kind="policy",
    until="RecBole refuses these modes",
    probe=_samples_nothing,
)
def refuse_unknown_evaluation_modes(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a mode of evaluation that is none, and ranking metrics of labelled interactions.

    With uni0, each target is ranked among no others, so that all figures are 1. Labelled interactions have no lists to
    rank, which RecBole notices after the first epoch.
    """
    from recbole.utils import EvaluatorType

    def set_eval_neg_sample_args(self, phase):
        mode = self.final_config_dict["eval_args"]["mode"][phase]
        if not isinstance(mode, str) or not _EVALUATION_MODE.fullmatch(mode):
            raise OptionError(
                f"eval_args has the mode {mode}, but it must be full, labeled, or uniN or popN with a whole number N "
                "from 1 on, such as uni100"
            )
        if mode == "labeled" and self.final_config_dict["eval_type"] == EvaluatorType.RANKING:
            metrics = ", ".join(self.final_config_dict["metrics"])
            raise OptionError(
                f"eval_args has the mode labeled, but the metrics {metrics} rank items: use AUC, LogLoss, RMSE or MAE, "
                "or the mode full, uniN or popN"
            )
        original(self, phase)

    return set_eval_neg_sample_args
