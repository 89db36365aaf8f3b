"""Splits in time on a user's own data: global ones at two points in time, and leave-one-out, with the times loaded."""

import datetime
import random

import numpy as np
import pytest
import yaml
from conftest import check_one_line, make_config
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset
from recbole.quick_start import run_recbole

from recbole_sparse_elsa.data.points_in_time import resolved, said
from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.evaluation.protocol import DataCounts, describe_protocol
from recbole_sparse_elsa.leaderboard.specification import read_specification
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line, load_data

DAY = 86400
START = 1577836800  # 2020-01-01, UTC


@pytest.fixture
def shop(working_folder):
    """30 customers of a shop, a purchase a day each, in 2020: the last three begin in March; so does item s9."""
    lines, draw = [], random.Random(1)
    for user in range(30):
        for day in range(0 if user < 27 else 60, 90, 3):
            item = draw.randrange(9) if day < 60 or user else 9
            lines.append((f"c{user}", f"s{item}", START + day * DAY + user))
    draw.shuffle(lines)
    folder = working_folder / "dataset" / "shop"
    folder.mkdir(parents=True)
    rows = "".join(f"{user}\t{item}\t{time}\n" for user, item, time in lines)
    (folder / "shop.inter").write_text(f"customer:token\tsku:token\twhen:float\n{rows}")
    return lines


FIELDS = {"USER_ID_FIELD": "customer", "ITEM_ID_FIELD": "sku", "TIME_FIELD": "when"}
SHOP = {**FIELDS, "load_col": {"inter": ["customer", "sku"]}}


def parts_of(dataset):
    tokens = [dataset.field2id_token[field] for field in ("customer", "sku")]
    return [
        sorted(
            (tokens[0][user], tokens[1][item])
            for user, item in zip(part.inter_feat["customer"].tolist(), part.inter_feat["sku"].tolist())
        )
        for part in dataset.build()
    ]


def expected(lines, valid_from, test_from):
    train = [line for line in lines if line[2] < valid_from]
    users, items = {user for user, _, _ in train}, {item for _, item, _ in train}
    later = [line for line in lines if line[2] >= valid_from and line[0] in users and line[1] in items]
    parts = [train, [x for x in later if x[2] < test_from], [x for x in later if x[2] >= test_from]]
    return [sorted((user, item) for user, item, _ in part) for part in parts]


@pytest.mark.parametrize(
    "points, valid_from, test_from",
    [
        (["2020-02-15", "2020-03-01"], START + 45 * DAY, START + 60 * DAY),
        ([datetime.date(2020, 2, 15), datetime.date(2020, 3, 1)], START + 45 * DAY, START + 60 * DAY),
        (["2020-02-15T01:00:00+01:00", "2020-03-01T00:00:00Z"], START + 45 * DAY, START + 60 * DAY),
        ([START + 45 * DAY + 5, "2020-03-01"], START + 45 * DAY + 5, START + 60 * DAY),
        (["2020-03-01", "2020-03-01"], START + 60 * DAY, START + 60 * DAY),
    ],
)
@pytest.mark.parametrize("order", ["RO", "TO"])
def test_all_interactions_are_divided_at_two_points_in_time(shop, points, valid_from, test_from, order):
    split = {"split": {"TS": points}, "order": order}
    # RecBole's label of general models comes from negative samples, so each line of a pair is there.
    config = make_config("shop", **SHOP, eval_args=split, train_neg_sample_args=None, rm_dup_inter=None)
    dataset = create_dataset(config)
    wanted = expected(shop, valid_from, test_from)
    found = parts_of(dataset)
    # A pair counts once in training.
    assert found == [sorted(set(wanted[0])), *wanted[1:]]
    # Customers and items that training does not know are not in the data, and so no candidates.
    assert "c29" not in dataset.field2id_token["customer"] and "s9" not in dataset.field2id_token["sku"]
    left_out = len(shop) - sum(map(len, wanted))
    assert dataset.left_out_of_evaluation == left_out > 0
    said = describe_protocol(config, DataCounts.of(dataset))
    assert f"{left_out:,} interactions of users or items without training interactions are left out" in said
    assert "when" not in dataset.inter_feat


def test_items_that_training_does_not_know_are_not_in_the_catalogue_of_the_item_file_either(shop, working_folder):
    rows = "".join(f"s{item}\t{item}\n" for item in range(10))
    (working_folder / "dataset" / "shop" / "shop.item").write_text(f"sku:token\tprice:float\n{rows}")
    split = {"split": {"TS": ["2020-02-15", "2020-03-01"]}}
    dataset = create_dataset(make_config("shop", **FIELDS, load_col=None, eval_args=split))
    assert set(dataset.field2id_token["sku"]) == {"[PAD]", *(f"s{item}" for item in range(9))}
    assert dataset.item_feat["price"].tolist()[1:] == [float(token[1:]) for token in dataset.field2id_token["sku"][1:]]


def test_shares_are_those_of_all_interactions(shop):
    dataset = create_dataset(make_config("shop", **SHOP, eval_args={"split": {"TS": [0.5, 0.75]}}))
    times = sorted(time for *_, time in shop)
    assert dataset.points_in_time == (times[len(times) // 2], times[len(times) * 3 // 4])
    protocol = describe_protocol(dataset.config, DataCounts.of(dataset))
    assert "training before the time at which 50 % of them are over" in protocol


@given(
    times=st.lists(st.integers(0, 20), min_size=2, max_size=40),
    shares=st.lists(st.sampled_from([0.1, 0.29, 0.5, 0.9]), min_size=2, max_size=2).map(sorted),
)
def test_at_most_a_share_of_the_interactions_is_before_it_and_no_time_is_divided(times, shares):
    for share, time in zip(shares, resolved("TS", shares, np.array(times, dtype=float))):
        before = sum(other < time for other in times)
        assert before <= share * len(times) + 1e-9
        assert before + times.count(time) > share * len(times) - 1e-9


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
def test_dates_are_found_in_the_unit_of_the_file(per_second):
    times = (np.arange(START - 50, START + 50) * per_second).astype(np.int64)
    assert resolved("TS", ["2020-01-01", "2020-01-01T00:00:00.5"], times)[0] == START * per_second
    assert said(START * per_second, times) == "2020-01-01 00:00:00 UTC"
    # Half a second later a time in whole seconds is the next one.
    half = resolved("TS", ["2020-01-01", "2020-01-01T00:00:00.5"], times)[1]
    assert half == (START + 1 if per_second == 1 else START * per_second + per_second // 2)


@pytest.mark.parametrize(
    "points, message",
    [
        (["2020-02-30", "2020-03-01"], "must be two points in time, each a date"),
        (["tomorrow", "2020-03-01"], "must be two points in time, each a date"),
        ([True, 0.5], "must be two points in time"),
        ([0.5, float("nan")], "must be two points in time"),
        ([0.8, 0.2], "the second point in time must not be before the first"),
        (["2020-03-01", "2020-02-01"], "the second point in time must not be before the first"),
        (["2020-03-01"], "or two points in time such as"),
        (["2020-03-01"] * 4, "or two points in time such as"),
        ("2020-03-01", "or two points in time such as"),
    ],
)
def test_points_that_are_none_are_refused_before_data_are_read(points, message):
    with pytest.raises(OptionError) as caught:
        Config("BPR", "ml-100k", config_dict={"eval_args": {"split": {"TS": points}}})
    check_one_line(caught, "TS of eval_args is", message)


@pytest.mark.parametrize(
    "points, message",
    [
        (["2019-01-01", "2020-03-01"], "no interaction for training: validation begins at 2019-01-01 00:00:00 UTC"),
        (["2020-03-01", "2021-01-01"], "no interaction for test: .* the times go from 2020-01-01 00:00:00 UTC to"),
        (["2020-02-01T12:00:00", "2020-02-01T12:00:01"], "no interaction for validation"),
        (["2020-02-01", 5], "the second point in time must not be before the first"),
    ],
)
def test_points_that_leave_a_part_empty_are_refused(shop, points, message):
    with pytest.raises((DatasetError, OptionError), match=message) as caught:
        create_dataset(make_config("shop", **SHOP, eval_args={"split": {"TS": points}}))
    check_one_line(caught)


def test_dates_of_times_that_are_none_are_refused(working_folder):
    folder = working_folder / "dataset" / "places"
    folder.mkdir(parents=True)
    rows = "".join(f"u{u}\ti{i}\t{i}\n" for u in range(5) for i in range(9))
    (folder / "places.inter").write_text(f"user_id:token\titem_id:token\ttimestamp:float\n{rows}")
    with pytest.raises(DatasetError) as caught:
        create_dataset(make_config("places", eval_args={"split": {"TS": ["2020-01-01", "2021-01-01"]}}))
    check_one_line(caught, "2020-01-01", "from 0 to 8", "give times as in the file or shares")
    # A catalogue of which the last items come after everything that is trained on.
    with pytest.raises(DatasetError, match="no interaction of a user and an item of the training data for validation"):
        create_dataset(make_config("places", eval_args={"split": {"TS": [6, 7]}}))


@pytest.mark.parametrize("split", [{"TS": ["2020-02-15", "2020-03-01"]}, {"LS": "valid_and_test"}], ids=str)
def test_a_run_loads_the_times_by_itself(shop, split):
    options = {**FIELDS, "eval_args": {"split": split, "order": "TO"}, "show_progress": False, "state": "WARNING"}
    result = run_recbole("EASE", "shop", config_dict=options)
    assert 0 < result["test_result"]["recall@10"] <= 1


def test_a_leaderboard_takes_dates_as_yaml_has_them(shop):
    text = """
        datasets: [{name: shop, config: {USER_ID_FIELD: customer, ITEM_ID_FIELD: sku, TIME_FIELD: when}}]
        options: {eval_args: {split: {TS: [2020-02-15, 2020-03-01]}}}
        models: {EASE: {model: EASE}}
    """
    with open("leaderboard.yaml", "w") as file:
        file.write(text)
    (cell,) = read_specification("leaderboard.yaml").cells
    assert yaml.safe_load(cell.config)["eval_args"]["split"] == {"TS": ["2020-02-15", "2020-03-01"]}
    options = {**cell.options, "data_path": cell.data_path, "state": "WARNING"}
    with away_from_the_command_line():
        data = load_data(Config(cell.model, "shop", config_dict=options))
    sizes = [len(part._dataset) for part in (data.train_data, data.valid_data, data.test_data)]
    wanted = expected(shop, START + 45 * DAY, START + 60 * DAY)
    assert sizes == [len(set(wanted[0])), *map(len, wanted[1:])]


def test_a_saved_data_set_is_not_taken_for_other_points(shop):
    first = make_config("shop", **SHOP, save_dataset=True, eval_args={"split": {"TS": ["2020-02-15", "2020-03-01"]}})
    create_dataset(first)
    for split in ({"TS": ["2020-02-01", "2020-03-01"]}, {"TS": [0.8, 0.1, 0.1]}, {"LS": "valid_and_test"}):
        config = make_config("shop", **SHOP, eval_args={"split": split, "order": "TO"})
        dataset = create_dataset(config)
        points = getattr(dataset, "points_in_time", None)
        assert points == ((START + 31 * DAY, START + 60 * DAY) if "2020-02-01" in str(split) else None)
        assert dataset.inter_num == (len(shop) if points is None else len(shop) - dataset.left_out_of_evaluation)


def test_sequences_end_where_the_points_are(shop):
    split = {"split": {"TS": ["2020-02-15", "2020-03-01"]}, "order": "TO"}
    config = make_config("shop", "GRU4Rec", **FIELDS, load_col=None, eval_args=split, train_neg_sample_args=None)
    train, valid, test = create_dataset(config).build()
    for part, first, last in ((train, 0, 45), (valid, 45, 60), (test, 60, 90)):
        times = part.inter_feat["when"]
        assert times.min() >= START + first * DAY and times.max() < START + last * DAY
