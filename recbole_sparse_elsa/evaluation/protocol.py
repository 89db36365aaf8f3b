"""The protocol that an evaluation used, in words and counts: from what was done, not from what was asked for."""

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_sparse_elsa.data.fixed_files import holds_out
from recbole_sparse_elsa.data.repeats import first_of_each_pair, learns_from_pairs

_FILTERS = ("val_interval", "user_inter_num_interval", "item_inter_num_interval", "rm_dup_inter")
_KEEPS_ALL: tuple[Any, ...] = (None, "", "[0,inf)", {}, [])


@dataclass(frozen=True)
class DataCounts:
    """What a data set has after filtering and before it is split, without RecBole's padding user and item.

    Attributes
    ----------
    users, items : int
        Those who have an interaction.
    interactions : int
        Lines.
    repeats : int
        Lines whose user and item have an earlier one.
    pairs_count_once : bool
        Whether training takes only the first line of each user and item.
    left_out : int
        Lines that a split in time has left out of validation and test, as their user or item has none in training.
    """

    users: int
    items: int
    interactions: int
    repeats: int
    pairs_count_once: bool
    left_out: int = 0

    @classmethod
    def of(cls, dataset: Any) -> "DataCounts":
        """Count a data set (recbole.data.dataset.Dataset) that was created and not yet split."""
        users, items = (
            np.asarray(dataset.inter_feat[field]) for field in (dataset.uid_field, dataset.iid_field)
        )
        repeats = len(users) - len(first_of_each_pair(users, items))
        once = learns_from_pairs(dataset.config, dataset)
        left_out = getattr(dataset, "left_out_of_evaluation", 0)
        return cls(len(np.unique(users)), len(np.unique(items)), len(users), repeats, once, left_out)


def describe_protocol(config: Any, counts: DataCounts) -> str:
    """How data were filtered and split, and what was ranked and masked, as one sentence without a full stop.

    Parameters
    ----------
    config : recbole.config.Config
        The options of the run.
    counts : DataCounts
        Of its data.
    """
    parts = [_split(config), _candidates(config), *_filters(config)]
    if counts.left_out:
        parts.append(
            f"{counts.left_out:,} interactions of users or items without training interactions are left out of "
            "validation and test"
        )
    parts.append(f"{counts.users:,} users, {counts.items:,} items and {counts.interactions:,} interactions are left")
    if counts.repeats:
        repeats = f"{counts.repeats:,} of them repeat a pair of user and item"
        treatment = "and each pair counts once in training" if counts.pairs_count_once else "and each line counts"
        parts.append(f"{repeats}, {treatment}")
    else:
        parts.append("none of them repeats a pair of user and item")
    return "; ".join(parts)


def evaluated_users(loader: Any) -> int:
    """How many users, or pairs of a held-out user and a fold, an evaluation loader evaluates."""
    if hasattr(loader, "uid_list"):
        return len(loader.uid_list)
    dataset = loader._dataset
    return len(np.unique(np.asarray(dataset.inter_feat[dataset.uid_field])))


def _split(config):
    if config["benchmark_filename"] is not None:
        files = f"fixed files {', '.join(_fixed_file(config, name) for name in config['benchmark_filename'])}"
        return "; ".join(filter(None, [files, _held_out(config)]))
    arguments = config["eval_args"]
    ((kind, value),) = arguments["split"].items()
    if kind == "HU":
        return f"held-out users, {value}"
    if kind == "TS" and len(value) == 2:
        return (
            f"all interactions in the order of time: training before {_point(value[0])}, validation from then on, test "
            f"from {_point(value[1])} on"
        )
    order = {"RO": "in random order", "TO": "in the order of time"}.get(arguments["order"], arguments["order"])
    group = str(arguments["group_by"]).lower()
    of_whom = "each user's interactions" if group == "user" or kind in ("LS", "TS") else "all interactions together"
    how = {"RS": "split by ratio", "LS": "leave-one-out", "TS": "split at a point in time"}.get(kind, kind)
    return f"{of_whom} {order}, {how} {value}"


def _point(point):
    """A point in time in words, which are the same for all data."""
    if isinstance(point, str):
        return f"{point} (UTC)" if len(point) == len("2020-01-31") else point
    return f"the time at which {100 * point:g} % of them are over" if 0 < point < 1 else f"time {point}"


def _held_out(config):
    """What fixed files without validation data are chosen by."""
    if not holds_out(config):
        return ""
    if not config["valid_share"]:
        return "nothing is chosen on validation data, and all training items are trained on"
    return (
        f"{100 * config['valid_share']:g} % of each user's training items (at least one of two) are held out, by seed, "
        "to choose the epoch on, and the model is then trained again on all training items for as many epochs"
    )


def _fixed_file(config, name):
    file = os.path.join(config["data_path"], f"{config['dataset']}.{name}.inter")
    checksum, n_lines = hashlib.sha256(), 0
    with open(file, "rb") as opened:
        while block := opened.read(2**20):
            checksum.update(block)
            n_lines += block.count(b"\n")
            last = block[-1:]
    n_lines += n_lines > 0 and last != b"\n"
    return f"{os.path.basename(file)} ({n_lines - 1:,} lines, SHA-256 {checksum.hexdigest()[:12]}…)"


def _candidates(config):
    mode = config["eval_args"]["mode"]
    modes = {mode["valid"], mode["test"]} if isinstance(mode, dict) else {mode}
    shown = " and ".join(sorted("all items" if name == "full" else str(name) for name in modes))
    if "labeled" in modes:
        return "the labelled items are scored"
    from recbole.utils import ModelType

    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL or config["repeatable"]:
        return f"{shown} are ranked, and none is masked"
    split = config["eval_args"]["split"]
    if config["benchmark_filename"] is None and isinstance(split, dict) and "HU" in split:
        return f"{shown} are ranked, but for the items that the model sees of a held-out user"
    if holds_out(config):
        return f"{shown} are ranked, but for the user's training items"
    masked = "training" if config["test_mask"] == "train" else "training and validation"
    return f"{shown} are ranked, but for the user's training items in the validation and {masked} items in the test"


def _filters(config):
    if config["benchmark_filename"] is not None:
        return []
    given = [f"{name} {config[name]}" for name in _FILTERS if config[name] not in _KEEPS_ALL]
    return [f"filters: {', '.join(given)}" if given else "no filter"]
