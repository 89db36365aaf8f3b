"""Reading a data set with gaps and sequences, or one that is not there.

The expected features are those of RecBole 1.2.1, unrepaired, with pandas 2.3.3.
"""

import glob
import logging
import os

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, TOY, features, make_config, write_files
from recbole.data import create_dataset
from recbole.data.dataset import Dataset
from recbole.quick_start import load_data_and_model, run_recbole

from recbole_sparse_elsa.errors import DatasetError
from recbole_sparse_elsa.plugin import patching

pytestmark = pytest.mark.usefixtures("root_logger")


def check_features(found, *expected):
    assert len(found) == len(expected)
    for table, expected_table in zip(found, expected):
        assert table.keys() == expected_table.keys()
        for field in table:
            np.testing.assert_allclose(table[field], expected_table[field], atol=1e-6, err_msg=field)


TOY_INTERACTIONS = {
    "user_id": [1, 1, 2, 2, 3, 3],
    "item_id": [1, 2, 1, 3, 2, 4],
    "rating": [4, 3, 2, 5, 3, 1],
    "place": [1, 2, 0, 1, 0, 2],
    "tags": [[1, 2, 0], [0, 0, 0], [2, 0, 0], [3, 1, 2], [0, 0, 0], [1, 0, 0]],
    "weights": [[0.5, 1, 0], [2, 0, 0], [0, 0, 0], [1, 2, 3], [0, 0, 0], [4, 0.5, 0]],
}
TOY_USERS = {
    "user_id": [0, 1, 2, 3],
    "age": [40, 30, 40, 50],
    "city": [0, 1, 0, 2],
    "hobbies": [[0, 0], [1, 2], [0, 0], [1, 0]],
    "vector": [[0, 0], [1, 2], [0, 0], [3, 0]],
}
TOY_ITEMS = {
    "item_id": [0, 1, 2, 3, 4],
    "price": [23.333334, 23.333334, 10, 20, 40],
    "brand": [0, 2, 1, 1, 0],
    "genre": [[0, 0], [2, 0], [1, 2], [3, 0], [0, 0]],
    "embedding": [[0, 0], [0, 0], [0.1, 0.2], [0.3, 0.6], [0.4, 0]],
}


def test_gaps_in_fields_of_every_type(toy):
    check_features(features(make_config(toy, load_col=None)), TOY_INTERACTIONS, TOY_USERS, TOY_ITEMS)


def test_gaps_with_normalisation(toy):
    check_features(
        features(make_config(toy, load_col=None, normalize_all=True)),
        {
            **TOY_INTERACTIONS,
            "rating": [0.75, 0.5, 0.25, 1, 0.5, 0],
            "weights": [
                [0, 0.142857, 0],
                [0.428571, 0, 0],
                [0, 0, 0],
                [0.142857, 0.428571, 0.714286],
                [0, 0, 0],
                [1, 0, 0],
            ],
        },
        {**TOY_USERS, "age": [0.5, 0, 0.5, 1], "vector": [[0, 0], [0, 0.5], [0, 0], [1, 0]]},
        {
            **TOY_ITEMS,
            "price": [0.444444, 0.444444, 0, 0.333333, 1],
            "embedding": [[0, 0], [0, 0], [0, 0.2], [0.4, 1], [0.6, 0]],
        },
    )


def test_gaps_with_discretisation(toy):
    options = {"numerical_features": ["rating", "weights"]}
    options["discretization"] = {"rating": {"method": "ED", "bucket": 2}}
    found = features(make_config(toy, load_col=None, **options))
    expected = {
        **TOY_INTERACTIONS,
        "rating": [[1, 2], [1, 1], [1, 1], [1, 2], [1, 1], [1, 1]],
        "weights": [
            [[0.5, 1], [1, 1], [0, 0]],
            [[2, 1], [0, 0], [0, 0]],
            [[0, 0], [0, 0], [0, 0]],
            [[1, 1], [2, 1], [3, 1]],
            [[0, 0], [0, 0], [0, 0]],
            [[4, 1], [0.5, 1], [0, 0]],
        ],
    }
    check_features(found, expected, TOY_USERS, TOY_ITEMS)


def test_users_and_items_without_a_row(working_folder):
    files = {
        name: "\n".join(
            line for line in text.splitlines() if name == "toy.inter" or line.split()[:1] not in (["u3"], ["i2"])
        )
        for name, text in TOY.items()
    }
    write_files(working_folder / "dataset" / "toy", files)
    check_features(
        features(make_config("toy", load_col=None, filter_inter_by_user_or_item=False)),
        TOY_INTERACTIONS,
        {
            "user_id": [0, 1, 2, 3],
            "age": [30, 30, 30, 30],
            "city": [0, 1, 0, 0],
            "hobbies": [[0, 0], [1, 2], [0, 0], [0, 0]],
            "vector": [[0, 0], [1, 2], [0, 0], [0, 0]],
        },
        {
            "item_id": [0, 1, 2, 3, 4],
            "price": [30, 30, 30, 20, 40],
            "brand": [0, 1, 0, 2, 0],
            "genre": [[0], [1], [0], [2], [0]],
            "embedding": [[0, 0], [0, 0], [0, 0], [0.3, 0.6], [0.4, 0]],
        },
    )


def test_sequences_in_files_of_train_valid_and_test(working_folder):
    head = "user_id:token item_id_list:token_seq item_id:token\n"
    files = {
        "seq.train.inter": head + "u1 i1 i2\nu1 i1_i2 i3\nu2 i3_i1_i2 i4\n",
        "seq.valid.inter": head + "u1 i1_i2_i3 i4\n",
        "seq.test.inter": head + "u1 i1_i2_i3_i4 i2\n",
    }
    write_files(working_folder / "dataset" / "seq", files)
    config = make_config(
        "seq",
        "GRU4Rec",
        load_col=None,
        alias_of_item_id=["item_id_list"],
        benchmark_filename=["train", "valid", "test"],
        train_neg_sample_args=None,
    )
    (found,) = features(config)
    assert found == {
        "user_id": [1, 1, 2, 1, 1],
        "item_id_list": [[4, 0, 0, 0], [4, 1, 0, 0], [2, 4, 1, 0], [4, 1, 2, 0], [4, 1, 2, 3]],
        "item_id": [1, 2, 3, 3, 1],
        "item_length": [1, 2, 3, 3, 4],
    }


def test_sequences_of_items_with_a_knowledge_graph(working_folder):
    files = {
        "kg.inter": "user_id:token item_id:token seen:token_seq\nu1 i1 i2\nu1 i2 i1_i3\nu2 i3 _\n",
        "kg.kg": "head_id:token relation_id:token tail_id:token\ne1 r1 e2\ne3 r2 e1\n",
        "kg.link": "item_id:token entity_id:token\ni1 e1\ni2 e2\ni3 e3\n",
    }
    write_files(working_folder / "dataset" / "kg", files)
    interactions, graph = features(make_config("kg", "CFKG", load_col=None, alias_of_item_id=["seen"]))
    assert interactions == {"user_id": [1, 1, 2], "item_id": [1, 2, 3], "seen": [[2, 0], [1, 3], [0, 0]]}
    assert graph == {"head_id": [1, 3], "relation_id": [1, 2], "tail_id": [2, 1]}


def test_pandas_is_the_usual_one_for_everybody_else():
    series = pd.Series([[1, 2], [3]])
    usual = getattr(pd.Series.agg, "__wrapped__", pd.Series.agg)
    assert np.array_equal(series.agg(len), usual(series, len))
    assert pd.Series([1.0, 3.0]).agg("mean") == 2
    assert pd.Series([1.0, 3.0]).agg(["min", "max"]).tolist() == [1, 3]


def test_missing_dataset_of_a_checkpoint(checkerboard):
    run_recbole(model="BPR", dataset=checkerboard, config_dict={**QUIET, "epochs": 1})
    (checkpoint,) = glob.glob("saved/*.pth")
    os.rename("dataset", "elsewhere")
    with pytest.raises(DatasetError, match="checkerboard not found"):
        load_data_and_model(checkpoint)


def read_csv_with_empty_sequences(*args, read_csv=pd.read_csv, **options):
    table = read_csv(*args, **options)
    return table.assign(**{name: table[name].fillna("") for name in table if name.endswith("_seq")})


def frames(config):
    """The tables as they are read, before anything is filtered or numbered, and what is noted of their fields."""
    dataset = Dataset.__new__(Dataset)
    dataset.config, dataset.dataset_name, dataset.logger = config, config["dataset"], logging.getLogger()
    dataset._get_preset()
    dataset._get_field_from_config()
    dataset._load_data(dataset.dataset_name, dataset.dataset_path)
    notes = {name: dict(getattr(dataset, name)) for name in ("field2type", "field2source", "field2seqlen")}
    notes["buckets"] = dict(dataset.field2bucketnum)
    return [dataset.inter_feat, dataset.user_feat, dataset.item_feat], notes


@pytest.mark.parametrize(
    "options",
    [
        {"load_col": None},
        {"load_col": None, "seq_len": {"tags": 2, "vector": 1}},
        {"load_col": {"inter": "*", "item": ["item_id", "genre"]}},
        {"load_col": {"inter": ["user_id", "item_id", "weights"], "user": ["user_id", "age"]}},
        {"load_col": None, "unload_col": {"inter": ["tags", "place"], "item": ["price"]}},
    ],
)
def test_tables_of_good_files_are_those_of_recbole(toy, monkeypatch, options):
    found, notes = frames(make_config(toy, **options))
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "_load_feat", patching._original(Dataset._load_feat))
        # With pandas >= 3 RecBole does not fill missing sequences itself.
        patch.setattr(pd, "read_csv", read_csv_with_empty_sequences)
        expected, expected_notes = frames(make_config(toy, **options))
    assert notes == expected_notes
    for table, expected_table in zip(found, expected):
        assert (table is None) == (expected_table is None)
        if table is not None:
            assert list(table.columns) == list(expected_table.columns)
            for field in table:
                assert [str(value) for value in table[field]] == [str(value) for value in expected_table[field]]
                assert table[field].dtype == expected_table[field].dtype


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("inter", "user_id:token\titem_id:token\nu1\ti1\t\n", "toy.inter, line 2: found 3 fields"),
        ("inter", "user_id:token\titem_id:token\nu1\ti1\n\ti2\n", "toy.inter, line 3: user_id is missing"),
        ("inter", "user_id:token\titem_id:token\nu1\ti1\nu2\t\n", "toy.inter, line 3: item_id is missing"),
        ("inter", "user_id:token\titem_id:token\nu1\t[PAD]\n", r"toy.inter, line 2: item_id is \[PAD\]"),
        ("inter", "user_id:token\titem:token\nu1\ti1\n", "field item_id .option ITEM_ID_FIELD. is not in the header"),
        ("inter", "user_id:float\titem_id:token\n1\ti1\n", "the field user_id .option USER_ID_FIELD. has type float"),
        ("item", "item_id:token\tprice:float\ni1\t1,5\n", "toy.item, line 2: price is '1,5'"),
        ("item", "item_id:token\tprice:float\ni1\t1\n\t2\n", "toy.item, line 3: item_id is missing"),
        ("item", "item:token\tprice:float\ni1\t1\n", "toy.item, line 1: the field item_id"),
        ("user", "user_id:float\tage:float\n1\t1\n", "toy.user, line 1: the field user_id .option USER_ID_FIELD."),
    ],
)
def test_files_that_break_a_rule_are_refused_with_their_line(working_folder, name, text, message):
    write_files(working_folder / "dataset" / "toy", {"toy.inter": TOY["toy.inter"]})
    (working_folder / "dataset" / "toy" / f"toy.{name}").write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        create_dataset(make_config("toy", load_col=None))
    assert "\n" not in str(caught.value)


def test_ids_that_look_like_missing_values_stay(working_folder):
    ids = ["NA", "null", "None", "nan", "n/a", "NaN", "<NA>", "#N/A", "-nan", "1.#IND", "NULL", "N/A", "7", '"q', "#c"]
    folder = working_folder / "dataset" / "odd"
    folder.mkdir(parents=True)
    lines = "".join(f"u{place}\t{item}\n{item}\ti\n" for place, item in enumerate(ids))
    (folder / "odd.inter").write_text("\ufeffuser_id:token\titem_id:token\n" + lines, encoding="utf-8")
    dataset = create_dataset(make_config("odd"))
    assert len(dataset.inter_feat) == 30 and dataset.item_num == 17 and dataset.user_num == 31
    assert set(ids) < set(dataset.field2id_token["item_id"])


def test_fixed_files_must_have_the_same_fields(working_folder):
    write_files(
        working_folder / "dataset" / "parts",
        {
            "parts.train.inter": "user_id:token item_id:token rating:float\nu1 i1 1\n",
            "parts.valid.inter": "item_id:token user_id:token rating:float\ni1 u1 2\n",
            "parts.test.inter": "user_id:token item_id:token rating:token\nu1 i1 1\n",
        },
    )
    config = make_config("parts", load_col=None, benchmark_filename=["train", "valid", "test"])
    with pytest.raises(DatasetError, match="parts.test.inter has the fields .*rating:token, but must have those of"):
        create_dataset(config)
    in_another_order = {"parts.test.inter": "user_id:token rating:float item_id:token\nu1 3 i1\n"}
    write_files(working_folder / "dataset" / "parts", in_another_order)
    assert create_dataset(config).inter_feat.rating.tolist() == [1, 2, 3]


def test_columns_that_only_an_option_needs_are_no_features(working_folder):
    lines = [f"u{user} i{item} {1 + (user + item) % 5} {user + item}" for user in range(6) for item in range(6)]
    head = "user_id:token item_id:token rating:float timestamp:float"
    write_files(working_folder / "dataset" / "mine", {"mine.inter": "\n".join([head, *lines])})
    arguments = {"order": "TO", "split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "mode": "labeled"}
    options = {"threshold": {"rating": 3}, "val_interval": {"rating": "[2,5]"}, "eval_args": arguments}
    dataset = create_dataset(make_config("mine", "FM", **options))
    parts = dataset.build()
    for part in (dataset, *parts):
        assert set(part.inter_feat.interaction) == {"user_id", "item_id", "label"} == set(part.field2type)


@pytest.mark.parametrize(
    "option",
    [
        {"normalize_field": ["rating"]},
        {"numerical_features": ["rating"]},
        {"numerical_features": ["rating"], "discretization": {"rating": {"method": "ED", "bucket": 2}}},
    ],
)
def test_columns_that_an_option_makes_features_of_are_read_and_stay(toy, option):
    dataset = create_dataset(make_config(toy, val_interval={"rating": "[1,5]"}, **option))
    assert "rating" in dataset.inter_feat and "rating" in dataset.field2type


def test_the_names_of_users_and_items_are_read_whatever_load_col_says(working_folder):
    write_files(working_folder / "dataset" / "mine", {"mine.inter": "who:token what:token\na x\nb y"})
    dataset = create_dataset(make_config("mine", USER_ID_FIELD="who", ITEM_ID_FIELD="what"))
    assert list(dataset.inter_feat) == ["who", "what"]
