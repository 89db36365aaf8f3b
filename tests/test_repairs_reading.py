"""Reading a data set with gaps and sequences, or one that is not there.

The expected features are those of RecBole 1.2.1, unrepaired, with pandas 2.3.3.
"""

import glob
import os

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, TOY, features, make_config, write_files
from recbole.quick_start import load_data_and_model, run_recbole

from recbole_sparse_elsa.errors import DatasetError

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
