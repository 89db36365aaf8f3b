"""Filters against pandas: intervals, tokens, repeats, and users and items with too few or too many interactions."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.data import create_dataset

from recbole_sparse_elsa.errors import DatasetError, OptionError

pytestmark = pytest.mark.usefixtures("root_logger")
EACH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

INTERACTIONS = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.integers(1, 6),
        st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.0, 5.0]),
        st.sampled_from(["1", "2", "NA", "null"]),
        st.integers(1_600_000_000, 1_600_000_003),
    ),
    min_size=1,
    max_size=40,
)
FIELDS = ["user_id", "item_id", "rating", "place", "timestamp"]


def write(folder, interactions, items=None):
    folder = folder / "dataset" / "some"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "some.inter").write_text(
        "user_id:token\titem_id:token\trating:float\tplace:token\ttimestamp:float\n"
        + "".join("\t".join(map(str, row)) + "\n" for row in interactions)
    )
    (folder / "some.item").unlink(missing_ok=True)
    if items is not None:
        lines = "".join(f"{item}\t{price}\n" for item, price in items.items())
        (folder / "some.item").write_text("item_id:token\tprice:float\n" + lines)
    return pd.DataFrame(
        [[str(user), str(item), *rest] for user, item, *rest in interactions], columns=FIELDS
    )


def filtered(**options):
    """The interactions that are left, in their order, or nothing if a filter leaves none."""
    try:
        dataset = create_dataset(make_config("some", **options))
    except DatasetError as error:
        assert "are left after filtering" in str(error) and "\n" not in str(error)
        return [], None
    pairs = [dataset.id2token(f, dataset.inter_feat[f].to_numpy()).tolist() for f in ("user_id", "item_id")]
    return list(zip(*pairs)), dataset


def pairs(frame):
    return list(zip(frame["user_id"], frame["item_id"]))


@EACH
@given(
    INTERACTIONS,
    st.sampled_from(
        [
            ("[4,inf)", lambda x: x >= 4),
            ("(1.5,4)", lambda x: (x > 1.5) & (x < 4)),
            ("[1,1];(2,5]", lambda x: (x == 1) | ((x > 2) & (x <= 5))),
            ("(-inf,3]", lambda x: x <= 3),
        ]
    ),
    st.sampled_from([None, {"inter": ["user_id", "item_id"]}, {"inter": ["user_id", "item_id", "rating"]}]),
)
def test_intervals_of_numbers(working_folder, interactions, interval, load_col):
    frame = write(working_folder, interactions)
    text, keeps = interval
    found, dataset = filtered(val_interval={"rating": text}, load_col=load_col)
    assert found == pairs(frame[keeps(frame.rating)])
    if dataset is not None:  # the column stays only where it was asked for
        assert ("rating" in dataset.inter_feat) == (load_col is None or "rating" in load_col["inter"])
        assert ("rating" in dataset.field2type) == ("rating" in dataset.inter_feat)


@EACH
@given(INTERACTIONS, st.sampled_from([[1, 2], ["1", "NA"], ["null"], [2]]), st.booleans())
def test_lists_of_tokens(working_folder, interactions, tokens, loads_all):
    frame = write(working_folder, interactions)
    found, _ = filtered(val_interval={"place": tokens}, **({"load_col": None} if loads_all else {}))
    assert found == pairs(frame[frame.place.isin([str(token) for token in tokens])])


@EACH
@given(INTERACTIONS, st.sampled_from(["first", "last"]), st.booleans())
def test_repeats(working_folder, interactions, keep, loads_all):
    frame = write(working_folder, interactions)
    expected = frame.sort_values("timestamp", kind="stable").drop_duplicates(["user_id", "item_id"], keep=keep)
    found, dataset = filtered(rm_dup_inter=keep, **({"load_col": None} if loads_all else {}))
    assert found == pairs(expected)
    if loads_all:
        assert dataset.inter_feat["timestamp"].tolist() == expected.timestamp.tolist()
    else:
        assert "timestamp" not in dataset.inter_feat


def test_repeats_without_times_keep_the_order_of_the_file(working_folder):
    folder = working_folder / "dataset" / "some"
    folder.mkdir(parents=True)
    (folder / "some.inter").write_text("user_id:token\titem_id:token\n" + "u\ta\nu\tb\nu\ta\n")
    assert filtered(rm_dup_inter="first")[0] == [("u", "a"), ("u", "b")]
    assert filtered(rm_dup_inter="last")[0] == [("u", "b"), ("u", "a")]


COUNTS = [
    ("[2,inf)", lambda n: n >= 2),
    ("[3,inf)", lambda n: n >= 3),
    ("(1,6]", lambda n: (n > 1) & (n <= 6)),
    ("[1,2];[4,9]", lambda n: ((n >= 1) & (n <= 2)) | ((n >= 4) & (n <= 9))),
    ("[4,9];[0,1]", lambda n: (n <= 1) | ((n >= 4) & (n <= 9))),
    (None, lambda n: n >= 0),
]


@EACH
@given(
    INTERACTIONS,
    st.sampled_from(COUNTS),
    st.sampled_from(COUNTS),
    st.one_of(st.none(), st.dictionaries(st.integers(1, 8).map(str), st.integers(1, 3), min_size=1)),
)
def test_numbers_of_interactions(working_folder, interactions, of_users, of_items, items):
    frame = write(working_folder, interactions, items)
    if items is not None:
        frame = frame[frame.item_id.isin(items)]
    dropped = set()  # items that had another number of interactions once, which do not come back
    while True:  # as in a k-core: what is left is counted again
        by_user, by_item = (frame.groupby(field)[field].transform("size") for field in ("user_id", "item_id"))
        dropped |= set(frame["item_id"][~of_items[1](by_item)])
        keep = of_users[1](by_user) & of_items[1](by_item)
        if keep.all():
            break
        frame = frame[keep]
    found, dataset = filtered(
        user_inter_num_interval=of_users[0],
        item_inter_num_interval=of_items[0],
        load_col=None if items else {"inter": ["user_id", "item_id"]},
    )
    assert found == pairs(frame)
    if dataset is not None and items is not None:
        counts = frame["item_id"].value_counts()
        allowed = {item for item in items if of_items[1](np.array(counts.get(item, 0)))} - dropped
        assert set(dataset.field2id_token["item_id"][1:]) == allowed | set(frame["item_id"])


@EACH
@given(INTERACTIONS, st.dictionaries(st.integers(1, 6).map(str), st.integers(1, 9), min_size=1))
def test_a_field_of_items_filters_interactions_without_load_col(working_folder, interactions, items):
    frame = write(working_folder, interactions, items)
    found, dataset = filtered(val_interval={"price": "[4,inf)"})
    assert found == pairs(frame[frame.item_id.map(items).fillna(0) >= 4])
    if dataset is not None:
        assert dataset.item_feat is None and "price" not in dataset.field2type
        assert set(dataset.field2id_token["item_id"][1:]) == {item for _, item in found}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"val_interval": {"rating": 4}}, "rating of val_interval is 4, but must be an interval"),
        ({"val_interval": {"rating": "[4,inf"}}, "rating of val_interval is '.4,inf', but must be an interval"),
        ({"val_interval": {"rating": "[5,4]"}}, "no number lies within"),
        ({"val_interval": {"rating": None}}, "rating of val_interval is None"),
        ({"val_interval": {"rating": []}}, "rating of val_interval is .., but must be a list"),
        ({"val_interval": {"rating": {"min": 4}}}, "rating of val_interval is"),
        ({"val_interval": {"place": [1.5]}}, "place of val_interval is .1.5., but must be a list of tokens"),
        ({"val_interval": {"place": True}}, "place of val_interval is True"),
        ({"val_interval": "[4,inf)"}, "val_interval is '.4,inf.', but must be fields with their intervals"),
        ({"user_inter_num_interval": 20}, "user_inter_num_interval is 20, but must be an interval"),
        ({"user_inter_num_interval": {"a": 1}}, "user_inter_num_interval is"),
        ({"item_inter_num_interval": "[nan,3]"}, "item_inter_num_interval is"),
        ({"item_inter_num_interval": ""}, "item_inter_num_interval is ''"),
        ({"rm_dup_inter": "frist"}, "rm_dup_inter is 'frist', but must be first, last"),
        ({"rm_dup_inter": False}, "rm_dup_inter is False"),
        ({"load_col": {"inter": "user_id"}}, "inter of load_col is 'user_id', but must be a list"),
        ({"load_col": ["user_id"]}, "load_col is"),
        ({"unload_col": {"inter": ["rating"]}}, "only one of them is allowed"),
    ],
)
def test_filters_that_cannot_be_read_are_refused_before_the_data(working_folder, options, message):
    write(working_folder, [(1, 1, 4.0, "1", 1)])
    with pytest.raises(OptionError, match=message) as caught:
        make_config("some", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"val_interval": {"rating": ["4", "5"]}}, "rating of val_interval is .*must be an interval .*type float"),
        ({"val_interval": {"place": "[1,2]"}}, "place of val_interval is .*must be a list of tokens"),
        ({"val_interval": {"ratign": "[1,2]"}}, "ratign, which no file of data set some has: did you mean rating"),
        ({"load_col": {"inter": ["user_id", "item_id", "ratings"]}}, "field ratings, which .* did you mean rating"),
        ({"load_col": None, "unload_col": {"inter": ["plac"]}}, "field plac, which .*did you mean place"),
    ],
)
def test_filters_that_do_not_go_with_the_file_are_refused(working_folder, options, message):
    write(working_folder, [(1, 1, 4.0, "1", 1), (1, 2, 4.0, "2", 1)])
    options = {"load_col": None, **options}
    with pytest.raises(OptionError, match=message) as caught:
        create_dataset(make_config("some", **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"val_interval": {"rating": "[4,inf)"}},
        {"user_inter_num_interval": "[5,inf)"},
        {"item_inter_num_interval": "[5,inf)"},
        {"rm_dup_inter": "first"},
    ],
)
def test_filters_of_fixed_files_are_refused(working_folder, options):
    write(working_folder, [(1, 1, 4.0, "1", 1)])
    folder = working_folder / "dataset" / "some"
    for part in ("train", "valid", "test"):
        (folder / f"some.{part}.inter").write_text("user_id:token\titem_id:token\n1\t1\n")
    parts = {"benchmark_filename": ["train", "valid", "test"]}
    with pytest.raises(OptionError, match=f"{next(iter(options))} is .* not allowed with benchmark_filename"):
        make_config("some", **parts, **options)
    make_config("some", **parts, user_inter_num_interval="[0,inf)", item_inter_num_interval=None)
