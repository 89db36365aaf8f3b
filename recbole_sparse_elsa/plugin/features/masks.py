"""Which items are masked in the test: RecBole's own protocol and published ones differ."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from recbole_sparse_elsa.data.fixed_files import holds_out
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.plugin.patching import replaces
from recbole_sparse_elsa.plugin.policy import _after_config

#: The values of the option ``test_mask``: the user's items of which parts are not ranked in the test.
TEST_MASKS = ("train_valid", "train")


@_after_config({"test_mask": "valid"}, until="RecBole lets users choose what is masked")
def refuse_unknown_test_masks(config: Any) -> None:
    """Refuse a test_mask that is not one of those there are, or that cannot count.

    It is an option of this package's.
    """
    mask = config["test_mask"]
    if mask is None:
        return
    if mask not in TEST_MASKS:
        raise OptionError(f"test_mask is {mask!r}, but must be one of {', '.join(TEST_MASKS)}")
    split = config["eval_args"]["split"]
    if mask == "train" and isinstance(split, dict) and "HU" in split and config["benchmark_filename"] is None:
        raise OptionError(
            "test_mask is train, but must be train_valid with split HU of eval_args: what a model sees of a held-out "
            "user is masked"
        )


def _masks_validation_items(create_samplers: Callable[..., Any]) -> bool:
    return "test_mask" not in create_samplers.__code__.co_consts


@replaces(
    "recbole.data.utils.create_samplers",
    parameters="config dataset built_datasets",
    kind="feature",
    until="RecBole lets users choose what is masked",
    probe=_masks_validation_items,
)
def mask_what_the_protocol_masks(original: Callable[..., Any]) -> Callable[..., Any]:
    """Mask only a user's training items in the test, where ``test_mask: train`` asks for it.

    RecBole masks the validation items, too. Published figures on fixed splits often rank them, and cannot be compared
    otherwise (SparseELSA on MovieLens1M_m1: Recall@20 .2844 instead of .3116).
    """

    def create_samplers(config, dataset, built_datasets):
        train_sampler, valid_sampler, test_sampler = original(config, dataset, built_datasets)
        # What was held out of the training data is trained on in the end.
        masks_less = config["test_mask"] == "train" and not holds_out(config)
        if masks_less and test_sampler is not None and not config["repeatable"]:
            test_sampler = copy.copy(test_sampler)
            test_sampler.used_ids = _items_of(built_datasets[0], built_datasets[2])
        return train_sampler, valid_sampler, test_sampler

    return create_samplers


def _items_of(*datasets: Any) -> np.ndarray:
    """The items of each user in some parts of the data: an array of sets, by internal user id."""
    items = np.array([set() for _ in range(datasets[0].user_num)])
    for dataset in datasets:
        pairs = zip(dataset.inter_feat[dataset.uid_field].tolist(), dataset.inter_feat[dataset.iid_field].tolist())
        for user, item in pairs:
            items[user].add(item)
    return items
