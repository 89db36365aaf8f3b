"""Splits and orders line by line, against references that compare times and shares as fractions, without any rounding.

Each line of a file has a token of its own, so that parts are compared line by line even where a user has an item twice.
Interactions at the same time are in the order of the file. Of the lines of a pair only the first is trained on.
"""

import functools
import itertools
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from recbole_sparse_elsa.errors import DatasetError, OptionError

pytestmark = pytest.mark.usefixtures("root_logger")

COLUMNS = {"inter": ["user_id", "item_id", "timestamp", "line"]}
NEEDS_NEGATIVES = ("BPR", "DIN", "DIEN", "FPMC", "TransRec")
SECONDS = [str(1_600_000_000 + i) for i in range(300)]
TIED = [str(1_600_000_000 + i // 3) for i in range(300)]
CONSTANT = ["1600000000"] * 300
NANOSECONDS = [str(1_600_000_000_000_000_000 + i) for i in range(300)]
ORDERS = {"oldest first": 1, "newest first": -1, "any": 0}


def some_rows(times=SECONDS, file_order="newest first", n_users=7, n_items=11, repeats=True):
    """Lines of user, item and time: users with 1, 2, 4, 7 … interactions, whose times interlace."""
    random = np.random.default_rng(n_users)
    users = random.permutation([f"u{user}" for user in range(n_users) for _ in range(user * (user + 1) // 2 + 1)])
    items = random.integers(0, n_items, len(users)) if repeats else np.arange(len(users))
    places = random.permutation(len(users)) if file_order == "any" else np.arange(len(users))[:: ORDERS[file_order]]
    return [(str(users[i]), f"i{items[i]}", times[i]) for i in places]


def write(rows, name="data", header="user_id:token\titem_id:token\ttimestamp:float"):
    folder = Path("dataset") / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{header}\tline:token", *("\t".join((*row, f"l{place}")) for place, row in enumerate(rows))]
    (folder / f"{name}.inter").write_text("\n".join(lines) + "\n")
    return name


def config_of(name, order, split, group_by="user", model="BPR", **options):
    arguments = {"order": order, "split": split, "group_by": group_by, "mode": "full"}
    negatives = {"distribution": "uniform", "sample_num": 1} if model in NEEDS_NEGATIVES else None
    defaults = {"load_col": COLUMNS, "metrics": ["Recall"], "valid_metric": "Recall@10"}
    options = {**defaults, "eval_args": arguments, "train_neg_sample_args": negatives, **options}
    return make_config(name, model, **options)


def lines_of(dataset, part):
    return [int(token[1:]) for token in dataset.field2id_token["line"][part.inter_feat["line"].numpy()]]


def split(name, order, split, group_by="user", **options):
    config = config_of(name, order, split, group_by, **options)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    parts = [lines_of(dataset, part) for part in dataset.build()]
    return parts


def in_time(rows):
    return sorted(range(len(rows)), key=lambda line: (Fraction(rows[line][2]), line))


def by_user(rows, lines):
    groups = defaultdict(list)
    for line in lines:
        groups[rows[line][0]].append(line)
    return groups


def shares_of(ratios):
    shares = [Fraction(str(ratio)) for ratio in ratios]
    return [share / sum(shares) for share in shares]


def sizes_by_ratio(n, ratios):
    """All but the first part are rounded down; from the last on, a part below 1 gets one if the first has more."""
    shares = [share * n for share in shares_of(ratios)]
    sizes = [0, *map(int, shares[1:])]
    sizes[0] = n - sum(sizes)
    for place in (2, 1):
        if sizes[0] > 1 and 0 < shares[place] < 1:
            sizes[place] += 1
            sizes[0] -= 1
    return sizes


def sizes_leaving_one_out(n, mode):
    if mode == "valid_and_test":
        return [n, 0, 0] if n == 1 else [1, 0, 1] if n == 2 else [n - 2, 1, 1]
    held_out = min(1, n - 1)
    return [n - held_out, held_out, 0] if mode == "valid_only" else [n - held_out, 0, held_out]


def cut(lines, sizes):
    bounds = [0, *itertools.accumulate(sizes)]
    return [lines[start:end] for start, end in zip(bounds, bounds[1:])]


def cut_each(groups, sizes_of):
    parts = [[], [], []]
    for of_user in filter(None, groups):
        for part, some in zip(parts, cut(of_user, sizes_of(len(of_user)))):
            part.extend(some)
    return parts


def cut_in_time(rows, groups, ratios, line_of=lambda pair: pair):
    """Later than the boundary is tested; the boundary is the last time among the share that comes first."""
    first, second, last = shares_of(ratios)
    times = sorted(Fraction(rows[line_of(pair)][2]) for pair in itertools.chain(*groups))
    boundary = times[int((len(times) - 1) * (1 - last))]
    parts = [[], [], []]
    for of_user in filter(None, groups):
        n_early = sum(Fraction(rows[line_of(pair)][2]) <= boundary for pair in of_user)
        n_train = int(n_early * first / (first + second))
        for part, some in zip(parts, cut(of_user, [n_train, n_early - n_train, len(of_user) - n_early])):
            part.extend(some)
    return parts


def trained_once(rows, parts):
    """Of the training lines of a (user, item) pair the first in time; the other parts keep all lines."""
    first = {}
    for line in parts[0]:
        first.setdefault(rows[line][:2], line)
    return [list(first.values()), *parts[1:]]


def users_in_time(rows):
    return list(by_user(rows, in_time(rows)).values())


def assert_same(parts, expected):
    assert [sorted(part) for part in parts] == [sorted(part) for part in expected]


LEAVE_ONE_OUT = ("valid_and_test", "valid_only", "test_only")


@pytest.mark.parametrize(
    "ratios", [[0.8, 0.1, 0.1], [8, 1, 1], [1, 1, 1], [0.5, 0.25, 0.25], [0.8, 0.2, 0], [0.8, 0, 0.2]]
)
def test_usual_ratios(ratios):
    rows = some_rows(file_order="any", n_users=9)
    name = write(rows)
    expected = cut_each(users_in_time(rows), lambda n: sizes_by_ratio(n, ratios))
    assert_same(split(name, "TO", {"RS": ratios}), trained_once(rows, expected))
    expected = cut(in_time(rows), sizes_by_ratio(len(rows), ratios))
    assert split(name, "TO", {"RS": ratios}, None) == trained_once(rows, expected)


@pytest.mark.parametrize("ratios", [[0.7, 0.01, 0.29], [0.42, 0.29, 0.29], [0.43, 0.57, 0]])
def test_ratios_of_a_hundred_are_not_one_off(ratios):
    rows = [("u1", f"i{i}", str(i)) for i in range(100)]
    assert [len(part) for part in split(write(rows), "TO", {"RS": ratios})] == sizes_by_ratio(100, ratios)


@pytest.mark.parametrize("order", ["TO", "RO"])
@pytest.mark.parametrize(
    "ratios", [[0.8, 0.1, 0.1], [0.5, 0.2, 0.3], [0.6, 0.2, 0.2], [0.7, 0.1, 0.2], [1, 1, 1], [0.4, 0.31, 0.29]]
)
def test_shares_of_the_split_in_time(ratios, order):
    for times, file_order in itertools.product((SECONDS, TIED), ORDERS):
        rows = some_rows(times, file_order, n_users=9)
        expected = cut_in_time(rows, users_in_time(rows), ratios)
        assert_same(split(write(rows), order, {"TS": ratios}), trained_once(rows, expected))


@pytest.mark.parametrize("what", [{"LS": "valid_and_test"}, {"RS": [0.8, 0.1, 0.1]}, {"TS": [0.8, 0.1, 0.1]}], ids=str)
def test_nanoseconds_are_told_apart(what):
    rows = some_rows(NANOSECONDS)
    ((kind, value),) = what.items()
    groups = users_in_time(rows)
    if kind == "TS":
        expected = cut_in_time(rows, groups, value)
    else:
        sizes_of = sizes_by_ratio if kind == "RS" else sizes_leaving_one_out
        expected = cut_each(groups, lambda n: sizes_of(n, value))
    assert_same(split(write(rows), "TO", what, normalize_all=True), trained_once(rows, expected))


MOMENTS = st.one_of(
    st.integers(1_599_999_990, 1_600_000_010).map(str),
    st.decimals(1_599_999_999, 1_600_000_001, places=3).map(str),
    st.integers(-5, 5).map(str),
    st.sampled_from(["0", "-0", "+3", "3.", ".5", "5e-1", "1E3", "1600000000", "1.6e9", "1600000000000"]),
)
ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), MOMENTS), min_size=5, max_size=60).map(
    lambda rows: [(f"u{user}", f"i{item}", moment) for user, item, moment in rows]
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(ROWS,
       st.sampled_from([("RS", "user"), ("RS", None), ("TS", "user"), *(("LS", m) for m in LEAVE_ONE_OUT)]),
       st.sampled_from([[0.8, 0.1, 0.1], [0.5, 0.2, 0.3], [0.5, 0.25, 0.25], [0.8, 0, 0.2]]),
       st.booleans())  # fmt: skip
def test_any_times(rows, mode, ratios, normalize_all):
    kind, what = mode
    name, groups = write(rows), users_in_time(rows)
    value, group_by = (what, "user") if kind == "LS" else (ratios, what)
    parts = split(name, "TO", {kind: value}, group_by, normalize_all=normalize_all)
    if kind == "LS":
        expected = cut_each(groups, lambda n: sizes_leaving_one_out(n, what))
    elif kind == "TS":
        expected = cut_in_time(rows, groups, ratios)
    elif what is None:
        expected = cut(in_time(rows), sizes_by_ratio(len(rows), ratios))
    else:
        expected = cut_each(groups, lambda n: sizes_by_ratio(n, ratios))
    assert sorted(itertools.chain(*expected)) == list(range(len(rows)))
    assert_same(parts, trained_once(rows, expected))


def test_repeats_that_are_removed_do_not_change_the_order():
    for times, file_order, keep in itertools.product((SECONDS, TIED, CONSTANT), ORDERS, ("first", "last")):
        rows = some_rows(times, file_order, n_items=5)
        kept = {}
        for line in in_time(rows) if keep == "last" else reversed(in_time(rows)):
            kept[rows[line][:2]] = line
        left = [line for line in in_time(rows) if line in set(kept.values())]
        expected = cut_each(by_user(rows, left).values(), lambda n: sizes_leaving_one_out(n, "valid_and_test"))
        assert_same(split(write(rows), "TO", {"LS": "valid_and_test"}, rm_dup_inter=keep), expected)


def test_a_saved_data_set_is_split_as_the_file_is():
    for times, normalize_all in itertools.product((SECONDS, TIED), (False, True)):
        rows = some_rows(times)
        name = write(rows)
        options = {"normalize_all": normalize_all, "save_dataset": True, "checkpoint_dir": f"{times[1]}{normalize_all}"}
        for order in ("RO", "TO", "TO"):
            parts = split(name, order, {"LS": "valid_and_test"}, **options)
        assert list(Path(options["checkpoint_dir"]).glob("*Dataset.pth"))
        expected = cut_each(users_in_time(rows), lambda n: sizes_leaving_one_out(n, "valid_and_test"))
        assert_same(parts, trained_once(rows, expected))


# Masks


def tokens(data, ids):
    return {str(data.dataset.field2id_token["item_id"][item]) for item in ids.tolist()}


def check_masks(config, rows, repeatable=False):
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    items = []
    for loader in loaders:
        owned = defaultdict(set)
        for line in lines_of(dataset, loader.dataset):
            owned[rows[line][0]].add(rows[line][1])
        items.append(owned)
    n_checked = 0
    for phase in (1, 2):
        data = loaders[phase]
        users = {str(data.dataset.field2id_token["user_id"][user]): user for user in data.uid_list.tolist()}
        assert sorted(users) == sorted(items[phase])
        for token, user in users.items():
            positive = items[phase][token]
            seen = set().union(*(items[earlier][token] for earlier in range(phase)))
            assert tokens(data, data.uid2positive_item[user]) == positive
            assert tokens(data, data.uid2history_item[user]) == (set() if repeatable else seen - positive)
            n_checked += 1
    return n_checked


@pytest.mark.parametrize(
    "mode", [{"RS": [0.8, 0.1, 0.1]}, {"TS": [0.5, 0.2, 0.3]}, *({"LS": m} for m in LEAVE_ONE_OUT)]
)
@pytest.mark.parametrize("order", ["RO", "TO"])
def test_masked_are_the_items_of_the_parts_before_unless_they_come_again(order, mode):
    rows = some_rows(file_order="any", n_items=40)
    name = write(rows)
    assert check_masks(config_of(name, order, mode), rows) >= 4
    assert check_masks(config_of(name, order, mode, repeatable=True), rows, repeatable=True) >= 4


@pytest.mark.parametrize("model", ["BPR", "EASE", "MultiVAE", "SparseELSA"])
def test_masks_are_the_same_for_all_kinds_of_models(model):
    rows = some_rows(file_order="any", n_items=40)
    assert check_masks(config_of(write(rows), "RO", {"RS": [0.8, 0.1, 0.1]}, model=model), rows) >= 4


def test_batches_carry_the_masks_of_their_users():
    rows = some_rows(n_users=12, n_items=40)
    config = config_of(write(rows), "TO", {"LS": "valid_and_test"}, eval_batch_size=3 * 41)
    for data in data_preparation(config, create_dataset(config))[1:]:
        n_users = 0
        for batch, (history_u, history_i), positive_u, positive_i in data:
            for place, user in enumerate(batch["user_id"].tolist()):
                assert set(history_i[history_u == place].tolist()) == set(data.uid2history_item[user].tolist())
                assert set(positive_i[positive_u == place].tolist()) == set(data.uid2positive_item[user].tolist())
                n_users += 1
        assert n_users == len(data.uid_list)


# Sequential models

EVERY_SEQUENTIAL = (
    "BERT4Rec", "Caser", "CORE", "DIEN", "DIN", "FDSA", "FEARec", "FOSSIL", "FPMC", "GCSAN", "GRU4Rec", "GRU4RecCPR",
    "GRU4RecF", "HGN", "HRM", "LightSANs", "NARM", "NextItNet", "NPE", "RepeatNet", "S3Rec", "SASRec", "SASRecCPR",
    "SASRecF", "SHAN", "SINE", "SRGNN", "STAMP", "TransRec",
)  # fmt: skip


def sequences(name, what, model="SASRec", group_by="user", **options):
    """Of each part the (lines of the history, line of the target)."""
    config = config_of(name, "TO", what, group_by, model=model, **options)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    found, parts = [], dataset.build()
    for part in parts:
        texts = dataset.field2id_token["line"][part.inter_feat["line_list"].numpy()]
        lengths = part.inter_feat["item_length"].tolist()
        assert all((row[length:] == "[PAD]").all() for row, length in zip(texts, lengths))
        histories = [tuple(int(token[1:]) for token in row[:length]) for row, length in zip(texts, lengths)]
        found.append(list(zip(histories, lines_of(dataset, part))))
    return found, parts


def pairs_in_time(rows, longest=50):
    return [
        [(tuple(lines[max(0, i - longest) : i]), lines[i]) for i in range(1, len(lines))]
        for lines in users_in_time(rows)
    ]


@pytest.mark.parametrize("model", EVERY_SEQUENTIAL)
def test_every_sequential_model_gets_histories_in_time(model):
    for times in (SECONDS, TIED):
        rows = some_rows(times)
        found, _ = sequences(write(rows), {"LS": "valid_and_test"}, model, selected_features=[], MAX_ITEM_LIST_LENGTH=9)
        assert_same(found, cut_each(pairs_in_time(rows, 9), lambda n: sizes_leaving_one_out(n, "valid_and_test")))


@pytest.mark.parametrize(
    "what", [{"RS": [0.8, 0.1, 0.1]}, {"TS": [0.5, 0.2, 0.3]}, {"LS": "test_only"}, {"LS": "valid_only"}]
)
def test_histories_with_other_splits(what):
    ((kind, value),) = what.items()
    for times, group_by in itertools.product((SECONDS, TIED), ("user", None) if kind == "RS" else ("user",)):
        rows = some_rows(times)
        pairs = pairs_in_time(rows)
        found, _ = sequences(write(rows), what, group_by=group_by)
        if kind == "TS":
            expected = cut_in_time(rows, pairs, value, line_of=lambda pair: pair[1])
        elif group_by is None:
            place = {line: rank for rank, line in enumerate(in_time(rows))}
            ordered = sorted(itertools.chain(*pairs), key=lambda pair: place[pair[1]])
            expected = cut(ordered, sizes_by_ratio(len(ordered), value))
        else:
            sizes_of = {
                "RS": functools.partial(sizes_by_ratio, ratios=value),
                "LS": functools.partial(sizes_leaving_one_out, mode=value),
            }
            expected = cut_each(pairs, sizes_of[kind])
        assert_same(found, expected)


def test_lists_of_times_are_as_precise_as_times():
    rows = some_rows()
    for model in ("SASRec", "GRU4Rec", "DIN", "DIEN"):
        _, (train, *_) = sequences(write(rows), {"LS": "valid_and_test"}, model)
        assert train.inter_feat["item_id_list"].dtype == train.inter_feat["item_length"].dtype == torch.int64
        for times, length in zip(train.inter_feat["timestamp_list"], train.inter_feat["item_length"]):
            assert (times[: int(length)].diff() > 0).all()


FIXED = {"benchmark_filename": ["train", "valid", "test"], "alias_of_item_id": ["item_id_list"]}


def test_fixed_files_for_sequential_models_need_histories():
    rows = some_rows(file_order="any")
    for part, some in (("train", rows[:40]), ("valid", rows[40:50]), ("test", rows[50:])):
        write(some)
        Path("dataset/data/data.inter").rename(f"dataset/data/data.{part}.inter")
    config = config_of("data", "TO", {"LS": "valid_and_test"}, model="SASRec", **FIXED)
    with pytest.raises(DatasetError, match="line 1: there is no field item_id_list:token_seq .* SASRec") as caught:
        create_dataset(config)
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match="alias_of_item_id is None, but must be a list with item_id_list"):
        config_of("data", "TO", {"LS": "test_only"}, model="SASRec", **{**FIXED, "alias_of_item_id": None})


@pytest.mark.parametrize("columns", [["user_id", "item_id", "line"], ["user_id", "item_id", "item_id_list", "line"]])
def test_fixed_files_with_histories_are_read_whatever_load_col_says(columns):
    rows = [("u1", "i2", "i1"), ("u1", "i3", "i1 i2"), ("u2", "i4", "i3 i1 i2")]
    for part in FIXED["benchmark_filename"]:
        write(rows, header="user_id:token\titem_id:token\titem_id_list:token_seq")
        Path("dataset/data/data.inter").rename(f"dataset/data/data.{part}.inter")
    load = {"load_col": {"inter": columns}}
    dataset = create_dataset(config_of("data", "TO", {"LS": "test_only"}, model="SASRec", **FIXED, **load))
    for part in dataset.build():
        items = dataset.field2id_token["item_id"][part.inter_feat["item_id"].numpy()]
        histories = dataset.field2id_token["item_id"][part.inter_feat["item_id_list"].numpy()]
        assert items.tolist() == ["i2", "i3", "i4"]
        assert [[token for token in row if token != "[PAD]"] for row in histories.tolist()] == [
            ["i1"],
            ["i1", "i2"],
            ["i3", "i1", "i2"],
        ]
        assert part.inter_feat["item_length"].tolist() == [1, 2, 3]


def test_fixed_files_for_sequential_models_in_random_order_are_refused():
    for part in ("train", "valid", "test"):
        write(some_rows())
        Path("dataset/data/data.inter").rename(f"dataset/data/data.{part}.inter")
    with pytest.raises(OptionError, match="order of eval_args is RO, but must be TO"):
        config_of("data", "RO", {"LS": "valid_and_test"}, model="SASRec", **FIXED)


# Models still take what they are given


def train_and_test(config):
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train_data, valid_data, show_progress=False)
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32 and torch.isfinite(parameter).all()
    return trainer.evaluate(test_data, show_progress=False)


@pytest.mark.parametrize("discretization", [None, {"timestamp": {"method": "ED", "bucket": 4}}])
@pytest.mark.parametrize("numerical_features", [[], ["timestamp"]])
@pytest.mark.parametrize("model", ["FM", "DeepFM", "LR", "AutoInt"])
def test_models_with_times_among_their_features_run(model, numerical_features, discretization):
    if discretization and not numerical_features:
        return
    rows = [(*row, str(place % 2)) for place, row in enumerate(some_rows(n_users=9, n_items=40))]
    name = write(rows, header="user_id:token\titem_id:token\ttimestamp:float\tlabel:float")
    arguments = {"order": "TO", "split": {"RS": [0.6, 0.2, 0.2]}, "group_by": None, "mode": "labeled"}
    result = train_and_test(
        config_of(name, "TO", {}, model=model, epochs=1, eval_args=arguments, metrics=["AUC"], valid_metric="AUC",
                  load_col={"inter": ["user_id", "item_id", "timestamp", "label"]}, normalize_all=not discretization,
                  numerical_features=numerical_features, discretization=discretization)
    )  # fmt: skip
    assert 0 <= result["auc"] <= 1


@pytest.mark.parametrize("mode", ["full", {"valid": "uni5", "test": "full"}], ids=str)
def test_features_that_items_to_rank_do_not_have_are_refused(mode):
    name = write(some_rows(n_users=9, n_items=40))
    arguments = {"order": "TO", "split": {"LS": "valid_and_test"}, "group_by": "user", "mode": mode}
    negatives = {"distribution": "uniform", "sample_num": 1}
    options = {"eval_args": arguments, "train_neg_sample_args": negatives, "epochs": 1}
    for refused, features in (({}, "line of"), ({"numerical_features": ["timestamp"]}, "timestamp, line of")):
        config = config_of(name, "TO", {}, model="FM", **{**options, **refused})
        with pytest.raises(OptionError, match=f"is full, but FM has the features {features}") as caught:
            data_preparation(config, create_dataset(config))
        assert "\n" not in str(caught.value)
    for allowed in (
        {"unused_col": {"inter": ["timestamp", "line"]}},
        {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}},  # numbers are features if named as such
        {"eval_args": {**arguments, "mode": "uni5"}},
    ):
        result = train_and_test(config_of(name, "TO", {}, model="FM", **{**options, **allowed}))
        assert 0 <= result["recall@10"] <= 1


@pytest.mark.parametrize("model", ["BPR", "SASRec", "GRU4Rec", "DIN", "DIEN", "EASE", "ELSA"])
@pytest.mark.parametrize("numerical_features", [[], ["timestamp"]])
def test_models_run_on_data_with_times(model, numerical_features):
    rows = some_rows(n_users=9, n_items=40)
    result = train_and_test(
        config_of(write(rows), "TO", {"LS": "valid_and_test"}, model=model, epochs=1, normalize_all=True,
                  numerical_features=numerical_features)
    )  # fmt: skip
    assert 0 <= result["recall@10"] <= 1


@pytest.mark.parametrize("options", [{}, {"normalize_all": True}], ids=["as they are", "normalised"])
@pytest.mark.parametrize("times", [SECONDS, TIED], ids=["seconds", "ties"])
@pytest.mark.parametrize("order", ["TO", "RO"])
@pytest.mark.parametrize("repeats", [False, True], ids=["", "repeats"])
def test_diffrec_weights_the_items_of_a_user_in_time(order, times, options, repeats):
    rows = some_rows(times, repeats=repeats)
    options = {"time-aware": True, "w_min": 0.1, "w_max": 1.0, **options}
    config = config_of(write(rows), order, {"LS": "test_only"}, model="DiffRec", **options)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train = data_preparation(config, dataset)[0].dataset
    model, trained, ids = get_model("DiffRec")(config, train), set(lines_of(dataset, train)), dataset.field2token_id
    for user, of_user in by_user(rows, [line for line in in_time(rows) if line in trained]).items():
        place = ids["user_id"][user]
        weights = dict(zip(model.history_item_id[place].tolist(), model.history_item_value[place].tolist()))
        found = [weights[ids["item_id"][rows[line][1]]] for line in of_user]
        np.testing.assert_allclose(found, np.linspace(0.1, 1.0, len(of_user)), rtol=1e-6)
