"""Filters that leave nothing of a data set."""


import pytest
from conftest import TOY, check_one_line, make_config, write_files
from recbole.data import create_dataset

from recbole_sparse_elsa.errors import DatasetError

pytestmark = pytest.mark.usefixtures("root_logger")


@pytest.mark.parametrize(
    "options, filters",
    [
        ({"val_interval": {"rating": "[6,inf)"}}, "val_interval: {'rating': '[6,inf)'}"),
        ({"user_inter_num_interval": "[3,inf)"}, "user_inter_num_interval: [3,inf)"),
        ({"item_inter_num_interval": "(2,inf)"}, "item_inter_num_interval: (2,inf)"),
    ],
)
@pytest.mark.parametrize("load_col", [None, {"inter": ["user_id", "item_id", "rating"]}])
def test_filters_that_leave_nothing(toy, options, filters, load_col):
    with pytest.raises(DatasetError) as caught:
        create_dataset(make_config(toy, load_col=load_col, **options))
    check_one_line(caught, "no interactions of data set toy are left", filters)
    assert ("filter_inter_by_user_or_item: True" in str(caught.value)) == (load_col is None)


def test_filters_that_leave_no_items(toy):
    with pytest.raises(DatasetError, match="no interactions|no items"):
        create_dataset(make_config(toy, load_col=None, val_interval={"price": "[100,inf)"}))


def test_interactions_of_items_that_are_not_listed(working_folder):
    write_files(working_folder / "dataset" / "toy", {**TOY, "toy.item": "item_id:token price:float\ni9 1\n"})
    with pytest.raises(DatasetError, match="filter_inter_by_user_or_item: True"):
        create_dataset(make_config("toy", load_col=None))
