"""All filters together, against pandas on generated data, line by line.

They are applied in RecBole's order: repeats, values, interactions whose user or item has no row in .user or .item, and
then the numbers of interactions, as often as anything is dropped.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.data import create_dataset

from recbole_sparse_elsa.errors import DatasetError, OptionError

pytestmark = pytest.mark.usefixtures("root_logger")

TYPES = {
    "user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float", "place": "token", "line": "token",
    "age": "float", "city": "token", "price": "float", "brand": "token",
}  # fmt: skip
SOME_COLUMNS = {"inter": ["user_id", "item_id", "line"]}


def write(inter, user=None, item=None, name="data"):
    folder = Path("dataset") / name
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, frame in (("inter", inter), ("user", user), ("item", item)):
        path = folder / f"{name}.{suffix}"
        path.unlink(missing_ok=True)
        if frame is not None:
            header = "\t".join(f"{field}:{TYPES[field]}" for field in frame)
            texts = frame.astype(object).where(frame.notna(), "").astype(str)
            path.write_text("\n".join([header, *map("\t".join, texts.to_numpy().tolist())]) + "\n")
    return name


def filtered(name, load_col=None, **options):
    dataset = create_dataset(make_config(name, load_col=load_col, **options))
    lines = dataset.field2id_token["line"][dataset.inter_feat["line"]]
    users, items = (set(map(str, dataset.field2id_token[field][1:])) for field in ("user_id", "item_id"))
    return [int(line[1:]) for line in lines], users, items, dataset


def within(values, text):
    result = np.zeros(len(values), dtype=bool)
    for part in text.split(";"):
        low, high = (float(bound) for bound in part[1:-1].split(","))
        closed = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}[part[0] + part[-1]]
        result |= pd.Series(values, dtype=float).between(low, high, inclusive=closed).to_numpy()
    return result


def reference(inter, user, item, options):
    frames = {"inter": inter, "user": user, "item": item}
    frames = {name: frame.copy() for name, frame in frames.items() if frame is not None}
    for name, key in (("user", "user_id"), ("item", "item_id")):
        if name in frames:
            frames[name] = frames[name].drop_duplicates(key)
    if options.get("rm_dup_inter"):
        if "timestamp" in inter:
            inter = inter.sort_values("timestamp", kind="stable")
        frames["inter"] = inter.drop_duplicates(["user_id", "item_id"], keep=options["rm_dup_inter"])
    for field, value in options.get("val_interval", {}).items():
        for name, frame in frames.items():
            if field in frame:
                keep = within(frame[field], value) if isinstance(value, str) else frame[field].isin(map(str, value))
                frames[name] = frame[keep]
    inter = frames["inter"]
    if options.get("filter_inter_by_user_or_item", True):
        for name, key in (("user", "user_id"), ("item", "item_id")):
            if name in frames:
                inter = inter[inter[key].isin(frames[name][key])]
    while True:
        allowed = {}
        for name, key in (("user", "user_id"), ("item", "item_id")):
            ids = pd.Index(inter[key].unique())
            if name in frames:
                ids = ids.union(frames[name][key])
            counts = inter.groupby(key).size().reindex(ids, fill_value=0)
            allowed[name] = (key, set(ids[within(counts, options.get(f"{name}_inter_num_interval", "[0,inf)"))]))
        n_before = len(inter) + sum(len(frames[name]) for name in allowed if name in frames)
        for name, (key, ids) in allowed.items():
            inter = inter[inter[key].isin(ids)]
            if name in frames:
                frames[name] = frames[name][frames[name][key].isin(ids)]
        if len(inter) + sum(len(frames[name]) for name in allowed if name in frames) == n_before:
            return {**frames, "inter": inter}


def compare(inter, user, item, load_col=None, **options):
    name, loaded = write(inter, user, item), [inter, user, item]
    if load_col is not None:
        # A file that an option needs is read, the others are not.
        named = set(options.get("val_interval", ())) - {"user_id", "item_id"}
        loaded[1:] = [frame if frame is not None and set(frame) & named else None for frame in (user, item)]
    expected = reference(*loaded, options)
    if any(frame.empty for frame in expected.values()):
        with pytest.raises(DatasetError, match="left after filtering") as caught:
            filtered(name, load_col, **options)
        assert "\n" not in str(caught.value)
        return None
    lines, users, items, dataset = filtered(name, load_col, **options)
    assert sorted(lines) == sorted(int(line[1:]) for line in expected["inter"]["line"])
    expected_users, expected_items = set(expected["inter"]["user_id"]), set(expected["inter"]["item_id"])
    if load_col is None:
        expected_users |= set(expected["user"]["user_id"]) if user is not None else set()
        expected_items |= set(expected["item"]["item_id"]) if item is not None else set()
    else:
        assert sorted(dataset.field2type) == ["item_id", "line", "user_id"]
    assert (users, items) == (expected_users, expected_items)
    return dataset


@st.composite
def tables(draw):
    n, random = draw(st.integers(8, 50)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_users, n_items = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    inter = pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in random.integers(0, n_users, n)],
            "item_id": [f"i{item}" for item in random.choice(n_items, n, p=random.dirichlet(np.ones(n_items)))],
            "rating": random.choice([1.0, 2.0, 2.5, 3.0, 4.0, 5.0, np.nan], n),
            "timestamp": 1_600_000_000 + random.integers(0, draw(st.sampled_from([1, 4, 1000])), n),
            "place": random.choice(["1", "2", "home", "02"], n),
            "line": [f"l{line}" for line in range(n)],
        }
    )
    if draw(st.booleans()):
        del inter["timestamp"]
    user = item = None
    if draw(st.booleans()):
        rows = random.integers(0, n_users + 2, n_users + 2)  # some users are there twice, some not at all
        user = pd.DataFrame({"user_id": [f"u{row}" for row in rows],
                             "age": random.choice([20.0, 30.0, 40.5, np.nan], len(rows)),
                             "city": random.choice(["7", "Brno"], len(rows))})  # fmt: skip
    if draw(st.booleans()):
        rows = random.integers(0, n_items + 2, 2 * n_items)
        item = pd.DataFrame({"item_id": [f"i{row}" for row in rows],
                             "price": random.choice([1.0, 2.0, 3.5, np.nan], len(rows)),
                             "brand": random.choice(["7", "x"], len(rows))})  # fmt: skip
    return inter, user, item


COUNTS = st.sampled_from(
    ["[0,inf)", "[1,inf)", "[2,inf)", "[3,inf)", "(2,inf)", "[2,6]", "(1,6)", "[0,5];[8,20]", "[2,3];[5,inf)",
     "[5,9];[0,1]", "[5,9];(0,1]", "(-inf,4]", "[2.5,1e3]", "[3,3]"]
)  # fmt: skip
FLOATS = st.sampled_from(["[2,inf)", "(2,inf)", "[2,4]", "(2,4)", "[2.5,2.5]", "[1,2);(3,5]", "(-inf,inf)", "[-1,30]"])
TOKENS = st.sampled_from([["1"], [1, 2], ["home", 2], ["7"], [7, "x", "Brno"], ["02"], ["nowhere", 1]])


@st.composite
def filters(draw, with_user, with_item):
    options = {}
    for option, values in (
        ("user_inter_num_interval", COUNTS),
        ("item_inter_num_interval", COUNTS),
        ("rm_dup_inter", st.sampled_from(["first", "last"])),
        ("filter_inter_by_user_or_item", st.booleans()),
    ):
        if draw(st.booleans()):
            options[option] = draw(values)
    fields = ["rating", "place", *(["age", "city"] * with_user), *(["price", "brand"] * with_item)]
    chosen = draw(st.lists(st.sampled_from(fields), max_size=2, unique=True))
    if chosen:
        options["val_interval"] = {field: draw(FLOATS if TYPES[field] == "float" else TOKENS) for field in chosen}
    return options


def check(data):
    inter, user, item = data.draw(tables())
    options = data.draw(filters(user is not None, item is not None))
    compare(inter, user, item, data.draw(st.sampled_from([None, SOME_COLUMNS])), **options)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.data())
def test_any_filters_together(data):
    check(data)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_many_more_filters_together(data):
    check(data)


def some_table(n=60, n_users=9, n_items=8):
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in np.minimum(random.geometric(0.25, n), n_users)],
            "item_id": [f"i{item}" for item in np.minimum(random.geometric(0.3, n), n_items)],
            "rating": random.choice([1.0, 2.0, 3.0, 4.0, 5.0], n),
            "timestamp": 1_600_000_000 + random.integers(0, 20, n),
            "line": [f"l{line}" for line in range(n)],
        }
    )


def test_the_core_does_not_depend_on_who_is_dropped_first():
    left = some_table(80, 12, 12)
    intervals = {"user_inter_num_interval": "[4,inf)", "item_inter_num_interval": "[5,inf)"}
    lines, *_ = filtered(write(left), **intervals)
    while True:  # one user or item at a time
        few = pd.concat([left.user_id.value_counts()[lambda n: n < 4], left.item_id.value_counts()[lambda n: n < 5]])
        if few.empty:
            break
        left = left[(left.user_id != few.index[-1]) & (left.item_id != few.index[-1])]
    assert 0 < len(lines) < 80 and sorted(lines) == left.index.tolist()


def test_times_within_an_interval_are_as_precise_as_in_the_file():
    inter = some_table()
    for first in range(1_600_000_000, 1_600_000_019):
        found = filtered(write(inter), val_interval={"timestamp": f"({first},inf)"})[0]
        assert found == inter.index[inter.timestamp > first].tolist()


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("n_times", [1, 2, 20, 10**6])
def test_many_repeats_at_few_times(n_times, keep):
    inter = some_table(3000)
    inter["timestamp"] = 1_600_000_000 + np.random.default_rng(1).integers(0, n_times, len(inter))
    n_pairs = len(inter[["user_id", "item_id"]].drop_duplicates())
    assert len(compare(inter, None, None, rm_dup_inter=keep).inter_feat) == n_pairs


def test_nanoseconds_of_repeats_are_told_apart():
    inter = pd.DataFrame({"user_id": "u1", "item_id": ["i1", "i1", "i2"], "line": ["l0", "l1", "l2"]})
    inter.insert(2, "timestamp", [1_600_000_000_000_000_001, 1_600_000_000_000_000_000, 5])
    name = write(inter)
    assert sorted(filtered(name, rm_dup_inter="last")[0]) == [0, 2]
    assert sorted(filtered(name, rm_dup_inter="first")[0]) == [1, 2]


def test_a_field_that_no_file_has_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match="ratings.*did you mean rating\\?"):
        filtered(write(some_table()), SOME_COLUMNS, val_interval={"ratings": "[4,inf)"})


@pytest.mark.parametrize("value", ["yes", 1, "user", ["user"]], ids=str)
def test_filter_inter_by_user_or_item_is_true_or_false(value):
    with pytest.raises(OptionError, match="filter_inter_by_user_or_item"):
        filtered(write(some_table()), filter_inter_by_user_or_item=value)


@pytest.mark.parametrize("value", [
    4, 4.0, True, "4", "", " ", "[4,inf", "4,inf)", "[4;5]", "[5,4]", "(4,4)", "[4,4)", "[nan,4]", "[4,nan)", "[a,b]",
    "[4,)", "[,4]", "[1,2,3]", "[0,1][2,3]", "[0,1],[2,3]", "[0,1];", "{4,5}", ">=4", "4-5", "4..5", [4], [1, 2, 3],
    ["a", "b"], [5, 4], {"a": 1}, "[inf,inf]", "[1 0,20]",
], ids=str)  # fmt: skip
@pytest.mark.parametrize("option", ["user_inter_num_interval", "item_inter_num_interval", "rating of val_interval"])
def test_what_is_no_interval_is_refused(option, value):
    options = {option: value} if "val_interval" not in option else {"val_interval": {"rating": value}}
    with pytest.raises(OptionError) as caught:
        filtered(write(some_table()), **options)
    assert f"{option} is " in str(caught.value) and "\n" not in str(caught.value)
