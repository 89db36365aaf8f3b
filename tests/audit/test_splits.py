"""Every split, by every order, grouping and kind of time column, against references of a few lines.

The references are made of the lines of the file as they were written, with Python's whole numbers for times.
"""

import itertools
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from conftest import make_config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_sparse_elsa.errors import DatasetError, OptionError

pytestmark = pytest.mark.usefixtures("root_logger")

N_USERS, N_ITEMS = 12, 40


def times(kind, n):
    """The texts of ``n`` times, in the order of the file."""
    random = np.random.default_rng(7)
    shuffled = random.permutation(n)
    if kind == "seconds":
        return [str(1_600_000_000 + int(place)) for place in shuffled]
    if kind == "milliseconds":
        return [str(1_600_000_000_000 + int(place)) for place in shuffled]
    if kind == "nanoseconds":  # a microsecond apart
        return [str(1_600_000_000_000_000_000 + 1000 * int(place)) for place in shuffled]
    if kind == "fractions":
        return [f"{1_600_000_000 + int(place) // 100}.{int(place) % 100:02}" for place in shuffled]
    if kind == "ties":
        return [str(1_600_000_000 + int(place) % 7) for place in shuffled]
    if kind == "negative":
        return [str(-1_600_000_000 + int(place)) for place in shuffled]
    if kind == "constant":
        return ["1600000000"] * n
    if kind == "newest first":
        return [str(1_600_000_000 - place) for place in range(n)]
    if kind == "oldest first":
        return [str(1_600_000_000 + place) for place in range(n)]
    if kind == "exponents":
        return [f"{1_600_000_000 + int(place)}e0" for place in shuffled]
    raise AssertionError(kind)


KINDS = (
    "seconds",
    "milliseconds",
    "nanoseconds",
    "fractions",
    "ties",
    "negative",
    "constant",
    "newest first",
    "oldest first",
    "exponents",
)


def write_dataset(folder, kind, seed=0):
    """Users with 1 to 14 distinct items each, in a random order of lines; returns (user, item, time, line)."""
    random = np.random.default_rng(seed)
    pairs = [
        (f"u{user}", f"i{item}")
        for user in range(N_USERS)
        for item in random.permutation(N_ITEMS)[: (1, 2, 3, 14)[user] if user < 4 else random.integers(4, 15)]
    ]
    pairs = [pairs[place] for place in random.permutation(len(pairs))]
    texts = times(kind, len(pairs))
    (folder / "dataset" / "timed").mkdir(parents=True)
    (folder / "dataset" / "timed" / "timed.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n"
        + "".join(f"{user}\t{item}\t{time}\n" for (user, item), time in zip(pairs, texts))
    )
    return [(user, item, Fraction(time), line) for line, ((user, item), time) in enumerate(zip(pairs, texts))]


def split(model="BPR", **options):
    config = make_config("timed", model, **options)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    return dataset, data_preparation(config, dataset)


def pairs_of(loader):
    dataset = loader._dataset
    users, items = (dataset.inter_feat[field].numpy() for field in ("user_id", "item_id"))
    return list(zip(dataset.id2token("user_id", users).tolist(), dataset.id2token("item_id", items).tolist()))


def by_user(rows):
    """The rows of each user, those at the same time in the order of the file."""
    users = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row[2], row[3])):
        users[row[0]].append(row)
    return users


def counts(n, ratios):
    """How many of ``n`` go into each part: as in RecBole's documentation, at least one if there are enough."""
    parts = [int(ratio / sum(ratios) * n) for ratio in ratios]
    parts[0] = n - sum(parts[1:])
    for place in (2, 1):
        if parts[0] > 1 and 0 < ratios[place] / sum(ratios) * n < 1:
            parts[place] += 1
            parts[0] -= 1
    return parts


def in_parts(rows, sizes):
    bounds = [0, *itertools.accumulate(sizes)]
    return [rows[start:end] for start, end in zip(bounds, bounds[1:])]


def left_out(n, mode):
    n_out = min({"valid_and_test": 2, "valid_only": 1, "test_only": 1}[mode], n - 1)
    sizes = {"valid_and_test": [n - n_out, n_out // 2, n_out - n_out // 2], "valid_only": [n - n_out, n_out, 0]}
    return sizes.get(mode, [n - n_out, 0, n_out])


def expected_parts(rows, mode, value, group_by):
    """What order TO makes of a split: lists of rows for training, validation and test."""
    users = by_user(rows)
    if mode == "RS" and group_by != "user":
        whole = sorted(rows, key=lambda row: (row[2], row[3]))
        return in_parts(whole, counts(len(whole), value))
    parts = [[], [], []]
    if mode == "TS":
        shares = [share / sum(value) for share in value]
        boundary = np.percentile([float(row[2]) for row in rows], 100 * (1 - shares[2]))
        for of_user in users.values():
            early = [row for row in of_user if float(row[2]) <= boundary]
            n_train = int(len(early) * (shares[0] / (1 - shares[2])))
            parts[0] += early[:n_train]
            parts[1] += early[n_train:]
            parts[2] += of_user[len(early) :]
        return parts
    for of_user in users.values():
        sizes = counts(len(of_user), value) if mode == "RS" else left_out(len(of_user), value)
        for part, more in zip(parts, in_parts(of_user, sizes)):
            part += more
    return parts


SPLITS = [
    ("RS", [0.8, 0.1, 0.1]),
    ("RS", [8, 1, 1]),
    ("RS", [0.5, 0.25, 0.25]),
    ("RS", [0.9, 0.1, 0.0]),
    ("LS", "valid_and_test"),
    ("LS", "valid_only"),
    ("LS", "test_only"),
    ("TS", [0.8, 0.1, 0.1]),
    ("TS", [0.5, 0.2, 0.3]),
]


def require_masks(loaders):
    """Masked are the training items in the validation, and the training and validation items in the test."""
    seen = defaultdict(set)
    for user, item in pairs_of(loaders[0]):
        seen[user].add(item)
    for loader in loaders[1:]:
        dataset = loader._dataset
        for uid in loader.uid_list.tolist():
            user = dataset.id2token("user_id", uid)
            masked = dataset.id2token("item_id", np.array(loader.uid2history_item[uid].tolist(), dtype=int))
            assert set(masked.tolist()) == seen[user]
        for user, item in pairs_of(loader):
            seen[user].add(item)


@pytest.mark.parametrize("group_by", ["user", None])
@pytest.mark.parametrize("mode, value", SPLITS)
@pytest.mark.parametrize("kind", KINDS)
def test_splits_in_the_order_of_time(working_folder, kind, mode, value, group_by):
    rows = write_dataset(working_folder, kind)
    expected = expected_parts(rows, mode, value, group_by)
    arguments = {"order": "TO", "split": {mode: value}, "group_by": group_by}
    if not expected[2] and mode == "TS":  # where times are the same, none is behind the boundary
        with pytest.raises(DatasetError, match="left to test on"):
            split(eval_args=arguments)
        return
    _, loaders = split(eval_args=arguments)
    found = [pairs_of(loader) for loader in loaders]
    assert [sorted(part) for part in found] == [sorted(row[:2] for row in part) for part in expected]
    require_masks(loaders)


@pytest.mark.parametrize("group_by", ["user", None])
@pytest.mark.parametrize("mode, value", SPLITS)
def test_random_splits_divide_the_interactions(working_folder, mode, value, group_by):
    rows = write_dataset(working_folder, "seconds")
    _, loaders = split(eval_args={"order": "RO", "split": {mode: value}, "group_by": group_by})
    found = [pairs_of(loader) for loader in loaders]
    assert sorted(itertools.chain(*found)) == sorted(row[:2] for row in rows)
    expected = expected_parts(rows, mode, value, group_by)
    if mode == "TS":  # whose parts do not depend on the order
        assert [sorted(part) for part in found] == [sorted(row[:2] for row in part) for part in expected]
    elif mode == "LS" or group_by == "user":
        for part, expected_part in zip(found, expected):
            assert sorted(pair[0] for pair in part) == sorted(row[0] for row in expected_part)
    else:
        assert [len(part) for part in found] == [len(part) for part in expected]
    require_masks(loaders)
    _, again = split(eval_args={"order": "RO", "split": {mode: value}, "group_by": group_by})
    assert [pairs_of(loader) for loader in again] == found


@pytest.mark.parametrize(
    "options",
    [
        {"load_col": None},
        {"load_col": None, "normalize_all": True},
        {"load_col": None, "normalize_field": ["timestamp"]},
        {"load_col": None, "numerical_features": ["timestamp"]},
        {
            "load_col": None,
            "numerical_features": ["timestamp"],
            "discretization": {"timestamp": {"method": "ED", "bucket": 3}},
        },
        {"load_col": None, "unused_col": {"inter": ["timestamp"]}},
        {"unload_col": {"inter": ["timestamp"]}, "load_col": None},
    ],
)
@pytest.mark.parametrize("mode, value", [("RS", [0.8, 0.1, 0.1]), ("LS", "valid_and_test"), ("TS", [0.8, 0.1, 0.1])])
def test_what_is_made_of_times_for_a_model_changes_no_order(working_folder, options, mode, value):
    rows = write_dataset(working_folder, "seconds")
    expected = expected_parts(rows, mode, value, "user")
    _, loaders = split(eval_args={"order": "TO", "split": {mode: value}, "group_by": "user"}, **options)
    assert [sorted(pairs_of(loader)) for loader in loaders] == [sorted(row[:2] for row in part) for part in expected]


@pytest.mark.parametrize("normalize_all", [None, True])
@pytest.mark.parametrize("mode, value", [("LS", "valid_and_test"), ("RS", [0.8, 0.1, 0.1])])
@pytest.mark.parametrize("kind", KINDS)
def test_histories_of_sequential_models_are_in_the_order_of_time(working_folder, kind, mode, value, normalize_all):
    rows = write_dataset(working_folder, kind)
    sequences = {user: [row[1] for row in of_user] for user, of_user in by_user(rows).items()}
    longest = 5
    expected = sorted(
        (user, tuple(items[max(0, end - longest) : end]), items[end])
        for user, items in sequences.items()
        for end in range(1, len(items))
    )
    dataset, loaders = split(
        "SASRec",
        eval_args={"order": "TO", "split": {mode: value}, "group_by": "user"},
        train_neg_sample_args=None,
        MAX_ITEM_LIST_LENGTH=longest,
        load_col=None,
        normalize_all=normalize_all,
    )
    found, last = [], defaultdict(list)
    for place, loader in enumerate(loaders):
        table = loader._dataset.inter_feat
        for user, items, length, item in zip(
            *(table[f] for f in ("user_id", "item_id_list", "item_length", "item_id"))
        ):
            tokens = dataset.id2token("item_id", items[:length].numpy())
            row = (dataset.id2token("user_id", int(user)), tuple(tokens), dataset.id2token("item_id", int(item)))
            found.append(row)
            last[row[0]].append((place, sequences[row[0]].index(row[2])))
    assert sorted(found) == expected
    for of_user in last.values():  # the later the part, the later the target
        assert [target for _, target in sorted(of_user)] == sorted(target for _, target in of_user)


def test_fixed_files_are_taken_as_they_are(working_folder):
    rows = write_dataset(working_folder, "newest first")
    folder = working_folder / "dataset" / "timed"
    parts = {"train": rows[10:], "valid": rows[5:10], "test": rows[:5]}
    for name, part in parts.items():
        (folder / f"timed.{name}.inter").write_text(
            "user_id:token\titem_id:token\n" + "".join(f"{user}\t{item}\n" for user, item, *_ in part)
        )
    _, loaders = split(benchmark_filename=list(parts), eval_args={"order": "TO"})
    assert [sorted(pairs_of(part)) for part in loaders] == [sorted(row[:2] for row in part) for part in parts.values()]
    require_masks(loaders)


def test_held_out_users_are_in_no_other_part(working_folder):
    rows = write_dataset(working_folder, "seconds")
    options = {"test_users": 3, "valid_users": 2, "folds": 2}
    arguments = {"order": "RO", "split": {"HU": options}, "group_by": "user", "mode": "full"}
    _, loaders = split("EASE", eval_args=arguments)
    train, valid, test = ({user.split("#")[0] for user, _ in pairs_of(loader)} for loader in loaders)
    assert not train & valid and not train & test and not valid & test
    assert sorted(pair for pair in pairs_of(loaders[0])) == sorted(row[:2] for row in rows if row[0] in train)


@pytest.mark.parametrize(
    "header, times_of_lines, options, message",
    [
        ("", None, {"eval_args": {"order": "TO"}}, "does not have the field timestamp .*order TO of eval_args needs"),
        ("", None, {"eval_args": {"order": "RO", "split": {"TS": [0.8, 0.1, 0.1]}}}, "field timestamp .*split TS"),
        ("\tstamp:float", [1, 2, 3], {"eval_args": {"order": "TO"}}, "does not have the field timestamp"),
        (
            "\ttimestamp:token",
            [1, 2, 3],
            {"eval_args": {"order": "TO"}},
            "line 1: .*type token, but must have type float",
        ),
        ("\ttimestamp:token", [1, 2, 3], {"rm_dup_inter": "last"}, "type token, but must .*rm_dup_inter"),
        ("\ttimestamp:float", [1, "", 3], {"eval_args": {"order": "TO"}}, "timed.inter, line 3: timestamp is missing"),
        ("\ttimestamp:float", [1, "", 3], {"rm_dup_inter": "first"}, "line 3: timestamp is missing"),
        ("", None, {"time-aware": True}, "does not have the field timestamp .*time-aware needs"),
        ("\ttimestamp:float", [1, "", 3], {"time-aware": True}, "line 3: timestamp is missing.* time-aware needs it"),
    ],
)
def test_times_that_cannot_order_are_refused(working_folder, header, times_of_lines, options, message):
    folder = working_folder / "dataset" / "timed"
    folder.mkdir(parents=True)
    ends = [""] * 3 if times_of_lines is None else [f"\t{time}" for time in times_of_lines]
    lines = [f"u{place}\ti{place}{end}\n" for place, end in enumerate(ends)]
    (folder / "timed.inter").write_text(f"user_id:token\titem_id:token{header}\n" + "".join(lines))
    with pytest.raises(DatasetError, match=message) as caught:
        create_dataset(make_config("timed", **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "model, options, message",
    [
        (
            "SASRec",
            {"eval_args": {"order": "RO"}, "train_neg_sample_args": None},
            "order of eval_args is RO, but must be TO for the sequential model SASRec",
        ),
        ("BPR", {"eval_args": {"order": "TIME"}}, "order of eval_args is 'TIME'"),
        ("BPR", {"eval_args": {"group_by": "item"}}, "group_by of eval_args is 'item'"),
        ("BPR", {"eval_args": {"split": {"LS": "test"}}}, "LS of eval_args is 'test'"),
        ("BPR", {"eval_args": {"split": {"XS": 1}}}, "split of eval_args is"),
        ("BPR", {"eval_args": {"split": None}}, "split of eval_args is None"),
        ("BPR", {"eval_args": {"split": {"RS": [1, 1, 1], "LS": "test_only"}}}, "split of eval_args is"),
        ("BPR", {"eval_args": {"split": {"RS": [0.8, 0.2]}}}, "RS of eval_args is .0.8, 0.2., but must be three"),
        ("BPR", {"eval_args": {"split": {"RS": [0, 0.5, 0.5]}}}, "RS of eval_args is"),
        ("BPR", {"eval_args": {"split": {"RS": [0.8, -0.1, 0.3]}}}, "RS of eval_args is"),
        (
            "BPR",
            {
                "eval_args": {
                    "split": {
                        "TS": [0.8, 0.2],
                    },
                    "order": "TO",
                }
            },
            "TS of eval_args is",
        ),
        ("BPR", {"eval_args": {"split": {"TS": [0.9, 0.1, 0]}, "order": "TO"}}, "TS of eval_args is"),
        ("BPR", {"eval_args": {"split": {"TS": ["a", 0.1, 0]}, "order": "TO"}}, "TS of eval_args is"),
        ("BPR", {"TIME_FIELD": None, "eval_args": {"order": "TO"}}, "TIME_FIELD is None"),
    ],
)
def test_splits_that_cannot_be_made_are_refused(working_folder, model, options, message):
    write_dataset(working_folder, "seconds")
    with pytest.raises(OptionError, match=message) as caught:
        make_config("timed", model, **options)
    assert "\n" not in str(caught.value)
