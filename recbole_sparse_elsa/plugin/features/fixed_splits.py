"""Fixed splits that others published: found by their files, and with validation data held out where there are none.

A model is then chosen on validation data that are a part of the training data, and trained again on all of these.
"""

import copy
import functools
import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any
from unittest import mock

import numpy as np
import torch

from recbole_sparse_elsa.data.fixed_files import DEFAULT_VALID_SHARE, fixed_parts, holds_out
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import derived_config, require_number, require_whole_number
from recbole_sparse_elsa.plugin.patching import names_in, replaces
from recbole_sparse_elsa.plugin.policy import _after_config

# A data set of which validation data are to be held out has its parts in this attribute, as they were read.
_PARTS = "parts_of_the_files"
# Training data of which validation data were held out have the data set that they are of in this one.
_WHOLE = "before_holding_out"


def _needs_to_be_told_of_fixed_files(original: Callable[..., Any]) -> bool:
    return "fixed_parts" not in names_in(original)


@replaces(
    "recbole.config.Config._set_default_parameters",
    parameters="self",
    kind="feature",
    until="RecBole recognises fixed splits",
    probe=_needs_to_be_told_of_fixed_files,
)
def recognise_fixed_splits(original: Callable[..., Any]) -> Callable[..., Any]:
    """Take the files NAME.train.inter and NAME.test.inter for a fixed split where there is no NAME.inter to split.

    RecBole finds them only if benchmark_filename names them, and only with a file of validation data. Whoever asks for
    a split by eval_args gets none of theirs.
    """

    def set_default_parameters(self):
        original(self)
        options = self.final_config_dict
        asked_for = self.external_config_dict.get("eval_args")
        splits = isinstance(asked_for, dict) and "split" in asked_for
        if options.get("benchmark_filename") is None and not splits:
            folder, name = options["data_path"], options["dataset"]
            if not os.path.exists(os.path.join(folder, f"{name}.inter")):
                options["benchmark_filename"] = fixed_parts(folder, name)
        names = options.get("benchmark_filename")
        if isinstance(names, (list, tuple)) and len(names) == 2 and options.get("valid_share") is None:
            options["valid_share"] = DEFAULT_VALID_SHARE

    return set_default_parameters


@_after_config({"valid_share": 2}, until="RecBole holds out validation data")
def refuse_shares_that_cannot_be_held_out(config: Any) -> None:
    """Refuse a valid_share that is no share, or without a fixed split that it could be held out of.

    It is an option of this package's.
    """
    from recbole.utils import ModelType

    share, epochs, names = config["valid_share"], config["refit_epochs"], config["benchmark_filename"]
    if share is None and epochs is None:
        return
    if share is not None and not holds_out(config):
        raise OptionError(
            f"valid_share is {share!r}, but is allowed only with a fixed split without validation data, such as "
            f"benchmark_filename: [train, test]; benchmark_filename is {names!r}"
        )
    if share is not None:
        require_number("valid_share", share, at_least=0, below=1)
    if epochs is not None:
        require_whole_number("refit_epochs", epochs, at_least=1)
        if share != 0:
            raise OptionError(f"refit_epochs is {epochs}, but is allowed only with valid_share: 0; that is {share!r}")
    if share and config["MODEL_TYPE"] == ModelType.DECISIONTREE:
        raise OptionError(f"valid_share is {share}, but must be 0 for {config['model']}, which cannot be trained again")
    if share and config["MODEL_TYPE"] != ModelType.TRADITIONAL and config["eval_step"] < 1:
        raise OptionError(
            f"eval_step is {config['eval_step']}, but must be at least 1 with valid_share {share}: without validation "
            "no number of epochs is chosen"
        )


def _has_as_many_parts_as_files(build: Callable[..., Any]) -> bool:
    parts = [mock.MagicMock(), mock.MagicMock()]
    stub = mock.MagicMock(config={"benchmark_filename": ["train", "test"], "valid_share": 0.5, "seed": 1})
    stub.benchmark_filename_list = ["train", "test"]
    stub.file_size_list = [1, 1]
    stub.copy.side_effect = parts
    return len(build(stub)) == 2


@replaces(
    "recbole.data.dataset.Dataset.build",
    parameters="self",
    kind="feature",
    until="RecBole holds out validation data",
    probe=_has_as_many_parts_as_files,
)
def hold_out_validation_data(original: Callable[..., Any]) -> Callable[..., Any]:
    """Hold out a share of each user's training items as validation data, where a fixed split has none.

    RecBole needs three files. Many published splits are two, and whoever takes the test data for validation data
    chooses by what is to be predicted.
    """

    def build(self):
        if not holds_out(self.config):
            return original(self)
        train, test = vars(self).get(_PARTS) or original(self)
        whole = copy.copy(self)
        setattr(whole, _PARTS, (train, test))
        users, items = (train.inter_feat[field].numpy() for field in (self.uid_field, self.iid_field))
        held_out = drawn(users, items, self.config["valid_share"], self.config["seed"])
        kept, valid = (train.copy(train.inter_feat[torch.from_numpy(rows)]) for rows in (~held_out, held_out))
        setattr(kept, _WHOLE, whole)
        return [kept, valid, test]

    return build


def drawn(users: np.ndarray, items: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw a share of each user's items: rounded down, but at least one, and not all.

    Parameters
    ----------
    users, items : numpy.ndarray
        Whole numbers of at least 0, shape ``(n,)``: a pair on each line. Lines of one pair are drawn together.
    share : float
        At least 0, below 1; taken for the decimal number that it is written as.
    seed : int
        Of the draw, which depends on nothing else.

    Returns
    -------
    numpy.ndarray
        bool, shape ``(n,)``.
    """
    pairs = users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items
    _, first, pair_of = np.unique(pairs, return_index=True, return_inverse=True)
    user_of, order = users[first], np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(user_of[order], kind="stable")]  # by user, and each user's at random
    ids, starts, counts = np.unique(user_of[order], return_index=True, return_counts=True)
    exact = Fraction(str(share))
    n_drawn = counts * exact.numerator // exact.denominator
    if share:
        n_drawn = np.where(counts > 1, np.maximum(n_drawn, 1), 0)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    is_drawn = np.zeros(len(first), dtype=bool)
    is_drawn[order[place < np.repeat(n_drawn, counts)]] = True
    return is_drawn[pair_of.reshape(-1)]


def _trains_once(original: Callable[..., Any]) -> bool:
    return "refit_epochs" not in original.__code__.co_consts


@replaces(
    "recbole.trainer.trainer.Trainer.__init__",
    parameters="self config model",
    kind="feature",
    until="RecBole trains again on all data",
    probe=_trains_once,
)
def train_again_on_all_data(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a trainer whose validation data were held out of the training data train again on all of these.

    The number of epochs is the one that was the best on the validation data; everything else, such as a schedule over
    all epochs, stays. What RecBole does is trained on less than published figures are.
    """

    def init(self, config, model):
        original(self, config, model)
        if config["refit_epochs"]:
            self.epochs = min(config["refit_epochs"], self.epochs)
        if holds_out(config) and config["valid_share"]:
            self.fit = functools.partial(_fit_twice, self)

    return init


def _fit_twice(
    trainer, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None
):
    """Stand in for a trainer's ``fit``, after which the trainer is the one of the second training."""
    step = max(1, trainer.eval_step)  # 0 only of models that learn in a single epoch
    last_validated = trainer.start_epoch // step * step - 1

    def note(epoch, score):
        nonlocal last_validated
        last_validated = epoch
        if callback_fn is not None:
            callback_fn(epoch, score)

    best_score, best_result = type(trainer).fit(trainer, train_data, valid_data, verbose, saved, show_progress, note)
    # cur_step counts the validations since the best one.
    epochs = max(1, min(last_validated - trainer.cur_step * step + 1, trainer.epochs))
    again, all_data = _trainer_of_all_data(trainer, train_data, epochs)
    if verbose:
        of_all = f"{len(all_data._dataset):,} training interactions instead of {len(train_data._dataset):,}"
        best = "" if trainer.epochs == 1 else f", to epoch {epochs - 1}, which was the best on those held out"
        trainer.logger.info(f"Training again on all {of_all}{best}")
    trainer.tensorboard.close()
    if saved and hasattr(trainer, "_remove_resume_point"):
        trainer._remove_resume_point()
    again.fit(all_data, None, verbose, saved, show_progress)
    again.best_valid_score, again.best_valid_result = best_score, best_result
    vars(trainer).clear()
    vars(trainer).update(vars(again))
    return best_score, best_result


def _trainer_of_all_data(trainer: Any, train_data: Any, epochs: int) -> tuple[Any, Any]:
    """A trainer with a fresh model on all training data, and these."""
    from recbole.data import data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    changes = {"valid_share": 0, "refit_epochs": epochs, "resume": None, "save_dataloaders": False}
    config = derived_config(trainer.config, **changes)
    # From these a run is made again that goes on from a checkpoint.
    config.external_config_dict = {**config.external_config_dict, **changes}
    dataset = copy.copy(getattr(train_data._dataset, _WHOLE))
    dataset.config = config
    all_data, _, _ = data_preparation(config, dataset)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = get_model(config["model"])(config, all_data._dataset).to(config["device"])
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model), all_data
