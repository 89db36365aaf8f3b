"""Published figures: those of the package, one's own, and their table beside measured ones of the same protocol."""

import math
import os
import re

import pytest
import yaml
from conftest import make_config, write_interactions
from recbole.data import create_dataset
from test_tables import cell, read, run_tables, write_results

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.evaluation.protocol import DataCounts, describe_protocol
from recbole_sparse_elsa.leaderboard.published_figures import (
    choose_published,
    published_table,
    read_published,
    read_shipped,
)
from recbole_sparse_elsa.leaderboard.specification import read_specification

COLUMNS = "dataset,method,metric,value,masked,source"
FULL = "dataset,method,metric,value,bytes_per_item,masked,masked_interactions,test_interactions,test_users,source,note"


def write_published(*rows, columns=COLUMNS):
    with open("own.csv", "w", encoding="utf-8") as opened:
        opened.write("\n".join([columns, *rows]) + "\n")
    return "own.csv"


def fixed(
    label, recall, train=100, valid=0, test=20, users="7", mask="train", size_bytes="", seed=1, dataset="toy", **more
):
    """A cell on fixed files, with a protocol as `describe_protocol` words it."""
    config = {"benchmark_filename": ["train", "test"], "eval_args": {"mode": "full"}, "test_mask": mask, **more}
    rows = cell(label, {"recall@20": recall, "ndcg@20": recall / 2}, "", size_bytes, seed, dataset, **config)
    files = [("train", train), ("test", test), *([("valid", valid)] if valid else [])]
    lines = ", ".join(f"{dataset}.{kind}.inter ({count:,} lines, SHA-256 0123456789ab…)" for kind, count in files)
    return [{**row, "protocol": f"fixed files {lines}; all items are ranked", "users": users} for row in rows]


def table_of(cells, *rows, columns=FULL, dataset="toy"):
    results, means = read(cells)
    chosen = choose_published([dataset], list(results["dataset"].unique()), write_published(*rows, columns=columns))
    return published_table(results, means, "toy", chosen["toy"])


def cells_of(table):
    return [[value if isinstance(value, str) else value.markdown() for value in row] for row in table.rows]


# The files of the package


def test_the_package_has_the_published_figures_of_five_splits():
    rows = read_shipped()
    figures = {(row.dataset, row.method, row.metric): row.value for row in rows}
    assert len(figures) == len(rows) == 96
    # By hand, of each split the best and the last of its table.
    assert {key[1]: value for key, value in figures.items() if key[0] == "movielens1m-m1" and key[2] == "NDCG@20"} == {
        **{"SimpleX": "0.2670", "UltraGCN": "0.2642", "ENMF": "0.2656", "LCFN": "0.2603", "LightGCN": "0.2427"},
        **{"NGCF": "0.2511"},
    }
    assert figures["gowalla-ngcf", "BSPM-EM", "Recall@20"] == "0.1920"
    assert figures["gowalla-ngcf", "ItemCF", "NDCG@20"] == "0.1214"
    assert figures["yelp2018-ngcf", "SimpleX", "Recall@20"] == "0.0701"
    assert figures["yelp2018-ngcf", "ItemCF", "NDCG@20"] == "0.0531"
    assert figures["amazonbeauty-m1", "NGCF", "Recall@20"] == "0.1513"
    # With the decimal places that were published.
    assert figures["amazonbook-ngcf", "Turbo-CF", "Recall@20"] == "0.073"
    assert ("gowalla-ngcf", "Turbo-CF", "NDCG@20") not in figures
    assert all(row.source and row.masked == "train" for row in rows)
    splits = {(row.dataset, row.masked_interactions, row.test_interactions, row.test_users) for row in rows}
    assert splits == {
        ("gowalla-ngcf", 810128, 217242, 29858),
        ("yelp2018-ngcf", 1237259, 324147, 31668),
        ("amazonbook-ngcf", None, None, None),
        ("amazonbeauty-m1", 60818, 18688, 7068),
        ("movielens1m-m1", 796244, 99455, 6022),
    }


def test_measured_figures_of_a_shipped_split_are_ranked_among_its_published_ones(capsys):
    facts = {"train": 810128, "test": 217242, "users": "29858", "dataset": "gowalla-ngcf"}
    cells = [fixed("Mine", value, seed=seed, size_bytes=258, **facts) for seed, value in ((1, 0.1860), (2, 0.1870))]
    # The whole of Gowalla, split anew.
    cells.append(fixed("Split anew", 0.9, seed=1, **facts, benchmark_filename=None))
    write_results(cells)
    page = run_tables("--published", "gowalla-ngcf")["tables.md"].decode()
    table = page[page.index("## gowalla-ngcf: measured and published") :]
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 14 + 1
    header, *rows = [row for row in rows if "---" not in row[0]]
    assert header == ["method", "bytes per item", "Recall@20", "NDCG@20"]
    (mine,) = (row for row in rows if row[0] == "Mine")
    # After BSPM-EM .1920 and SimpleX .1872; by NDCG .0932 after all 13 that have one.
    assert mine == ["Mine", "258", "0.1865 ± 0.0007 (3)", "0.0932 ± 0.0004 (14)"]
    assert [row[0] for row in rows[:4]] == [
        *("BSPM-EM (published)", "SimpleX (published)", "Mine", "UltraGCN (published)")
    ]
    assert sum(row[0].endswith(" (published)") for row in rows) == 14
    assert next(row[1] for row in rows if row[0] == "UltraGCN (published)") == "256"
    assert "Not ranked among published figures: Split anew; its data were not split by the publisher's files." in table
    assert "Source of BSPM-EM, Turbo-CF: Papers with Code" in table
    assert "measured and published" in open("out/tables.tex", encoding="utf-8").read()


# What may be ranked


ROW = "toy,Theirs,Recall@20,0.5,,train,100,20,7,Paper,"


def test_equal_values_share_a_rank_and_sizes_are_told_where_they_are_known():
    table = table_of(
        [fixed("Mine", 0.5, size_bytes=64), fixed("Worse", 0.25)],
        *(ROW, "toy,Best,Recall@20,0.625,256,train,100,20,7,Other paper,tuned on the test data"),
    )
    assert cells_of(table) == [
        ["Best (published)", "256", "**0.625** (1)"],
        ["Mine", "64", "<ins>0.5000</ins> (2)"],
        ["Theirs (published)", "–", "<ins>0.5</ins> (2)"],
        ["Worse", "–", "0.2500 (4)"],
    ]
    assert "Source of Best: Other paper." in table.notes and "Best: tuned on the test data." in table.notes


@pytest.mark.parametrize(
    "measured, reason",
    [
        ({"benchmark_filename": None}, "its data were not split by the publisher's files"),
        ({"eval_args": {"mode": "uni100"}}, "it does not rank all items (mode uni100)"),
        ({"eval_args": {"mode": {"valid": "full", "test": "pop100"}}}, "it does not rank all items (mode pop100)"),
        ({"train": 99}, "in the test it masks 99 interactions (training), the published ones 100 (training)"),
        (
            {"valid": 10, "mask": "train_valid"},
            "in the test it masks 110 interactions (training and validation), the published ones 100 (training); "
            "test_mask: train masks those",
        ),
        ({"test": 21}, "its test data have 21 interactions, the published ones 20"),
        ({"users": "8"}, "it evaluates 8 users, the published ones 7"),
        ({"users": ""}, "its results do not say how many users were evaluated"),
    ],
)
def test_what_was_evaluated_otherwise_is_not_ranked_and_a_note_says_why(measured, reason):
    table = table_of([fixed("Mine", 0.75, **measured), fixed("Same", 0.25)], ROW)
    assert [row[0] for row in table.rows] == ["Theirs (published)", "Same"]
    assert f"Not ranked among published figures: Mine; {reason}." in table.notes


def test_validation_data_cut_from_the_published_training_data_are_masked_with_it():
    table = table_of([fixed("Mine", 0.75, train=90, valid=10, mask="train_valid")], ROW)
    assert [row[0] for row in table.rows] == ["Mine", "Theirs (published)"]
    # Where the published rows do not say how many: by the mask alone.
    unknown = "toy,Theirs,Recall@20,0.5,,train,,,,Paper,"
    assert len(table_of([fixed("Mine", 0.75, train=90, valid=10, mask="train_valid")], unknown).rows) == 1
    assert len(table_of([fixed("Mine", 0.75, mask="train_valid")], unknown).rows) == 2


def test_results_of_one_seed_under_another_protocol_keep_all_of_a_method_from_being_ranked():
    table = table_of([fixed("Mine", 0.75, seed=1), fixed("Mine", 0.75, seed=2, users="8")], ROW)
    assert [row[0] for row in table.rows] == ["Theirs (published)"]


def test_without_a_measured_metric_that_is_published_a_note_says_so():
    table = table_of([fixed("Mine", 0.75)], "toy,Theirs,MRR,0.5,,train,100,20,7,Paper,")
    assert [row[0] for row in table.rows] == ["Theirs (published)"]
    assert "No measured row has one of the published metrics: MRR." in table.notes


def test_the_wording_of_a_protocol_is_what_the_comparison_reads(working_folder):
    pairs = [(f"u{u}", f"i{i}") for u in range(4) for i in range(5)]
    for kind, part in (("train", pairs[:11]), ("valid", pairs[11:14]), ("test", pairs[14:])):
        write_interactions(working_folder / "dataset", "toy", part)
        os.rename("dataset/toy/toy.inter", f"dataset/toy/toy.{kind}.inter")
    config = make_config("toy", benchmark_filename=["train", "valid", "test"], valid_metric="MRR@10")
    protocol = describe_protocol(config, DataCounts.of(create_dataset(config)))
    mine = cell("Mine", {"recall@20": 0.5}, benchmark_filename=["train", "valid", "test"], eval_args={"mode": "full"})
    mine[0].update(protocol=protocol, users="2")
    table = table_of([mine], "toy,Theirs,Recall@20,0.25,,train,14,6,2,Paper,")
    assert [row[0] for row in table.rows] == ["Mine", "Theirs (published)"]


def test_where_the_publishers_give_no_validation_data_the_mask_option_changes_nothing():
    table = table_of([fixed("Mine", 0.75, mask="train_valid"), fixed("Other", 0.25, mask="train")], ROW)
    assert [row[0] for row in table.rows] == ["Mine", "Theirs (published)", "Other"]


# Names and files


def test_a_data_set_of_another_name_is_named_by_the_user():
    write_results([fixed("Mine", 0.75, dataset="my=data")])
    write_published(ROW, columns=FULL)
    page = run_tables("--published", "my=data=toy", "--published-file", "own.csv")["tables.md"].decode()
    assert "## my=data: measured and published" in page and "Theirs" in page


def write_leaderboard(**more):
    """A leaderboard of one data set, toy, on fixed files, and its published figures in own.csv."""
    pairs = [(f"u{u}", f"i{i}") for u in range(6) for i in range(5) if (u + i) % 3]
    for kind, part in (("train", pairs[:10]), ("valid", pairs[10:14]), ("test", pairs[14:])):
        os.makedirs("dataset/toy", exist_ok=True)
        lines = ["user_id:token\titem_id:token", *map("\t".join, part)]
        with open(f"dataset/toy/toy.{kind}.inter", "w", encoding="utf-8") as opened:
            opened.write("\n".join(lines) + "\n")
    options = {"benchmark_filename": ["train", "valid", "test"], "metrics": ["Recall"], "topk": [3], "epochs": 1}
    content = {"datasets": ["toy"], "models": {"Pop": {"model": "Pop"}}, "options": options, **more}
    content["options"]["valid_metric"] = "Recall@3"
    with open("board.yaml", "w", encoding="utf-8") as opened:
        yaml.safe_dump(content, opened)
    write_published(f"toy,Theirs,Recall@3,0.125,,train_valid,14,{len(pairs) - 14},,Paper,", columns=FULL)


def test_a_leaderboard_file_names_the_published_figures_to_rank_with():
    write_leaderboard(published="toy", published_file="own.csv")
    main(["leaderboard", "board.yaml", "--output", "out"])
    page = open("out/tables.md", encoding="utf-8").read()
    table = page[page.index("## toy: measured and published") :]
    assert re.search(r"\| +Pop \|", table) and "Theirs (published)" in table and "Not ranked" not in table


@pytest.mark.parametrize(
    "keys, error",
    [
        ({"published": "x"}, "published is 'x', but there are published figures of "),
        ({"published": ["toy", "gowalla-ngcf"]}, "published is 'gowalla-ngcf', but the results are of toy"),
        ({"published": 5}, "published is 5, but must be a name, or a list of names"),
        ({"published": [5]}, "published is 5, but must be a name, or a list of names"),
        ({"published_file": 5}, "published_file is 5, but must be a CSV file"),
        ({"published_file": "none.csv"}, "none.csv cannot be read: No such file or directory"),
    ],
)
def test_a_leaderboard_file_with_other_names_is_refused_before_anything_is_trained(keys, error):
    write_leaderboard(**{"published_file": "own.csv", **keys})
    with pytest.raises(OptionError, match=f"board.yaml: {error}"):
        read_specification("board.yaml")


def test_published_figures_are_not_shown_unless_they_are_asked_for():
    write_results([fixed("Mine", 0.75, dataset="gowalla-ngcf")])
    assert "published" not in run_tables()["tables.md"].decode()


@pytest.mark.parametrize(
    "names, error",
    [
        (["x"], "published is 'x', but there are published figures of gowalla-ngcf, .*, toy"),
        (["gowalla-ngcf"], "published is 'gowalla-ngcf', but the results are of toy; .* give DATASET=gowalla-ngcf"),
        (["other=toy"], "published is 'other=toy', but the results are of toy; .* give DATASET=toy"),
        (["toy", "toy=gowalla-ngcf"], "published names the data set 'toy' twice"),
        ([], "published_file is own.csv, but published names no data set of it: "),
    ],
)
def test_names_that_are_not_there_are_refused(names, error):
    with pytest.raises(OptionError, match=error):
        choose_published(names, ["toy"], write_published(ROW, columns=FULL))


@pytest.mark.parametrize(
    "row, error",
    [
        ("toy,A,Recall@20,high,train,P", "line 3: value is 'high', but must be a number such as 0.123"),
        ("toy,A,Recall@20,nan,train,P", "line 3: value is 'nan', but must be a number"),
        ("toy,A,Recall@20,1e-1,train,P", "line 3: value is '1e-1', but must be a number"),
        ("toy,A,Recall@20,18.5,train,P", "line 3: value is 18.5, but Recall@20 must be within 0 and 1"),
        ("toy,A,ndcg@20,-0.1,train,P", "line 3: value is -0.1, but ndcg@20 must be within 0 and 1"),
        ("toy,,Recall@20,0.5,train,P", "line 3: method is empty, but must be given"),
        ("toy,A,Recall@20,0.5,train,", "line 3: source is empty, but must be given"),
        ("toy,A,Recall@20,0.5,all,P", "line 3: masked is 'all', but must be train or train_valid"),
        ("toy,A,Recall@20,0.5,train", "line 3 has fewer fields than the first line"),
        ("toy,A,Recall@20,0.5,train,P,more", "line 3 has more fields than the first line"),
        ("toy,First,recall@20,0.6,train,P", "line 3: line 2 has a value of toy, First, Recall@20, P already"),
        ('toy,"A,Recall@20,0.5,train,P', "cannot be read as a CSV file in UTF-8: unexpected end of data"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_nothing_is_written(row, error):
    write_results([fixed("Mine", 0.75)])
    write_published("toy,First,Recall@20,0.5,train,P", row)
    before = os.listdir()
    with pytest.raises(SystemExit) as refused:
        main(["tables", "results.csv", "--output", "out", "--published", "toy", "--published-file", "own.csv"])
    assert re.match(f"OptionError: own.csv,? {re.escape(error)}", refused.value.code)
    assert "\n" not in refused.value.code and os.listdir() == before


@pytest.mark.parametrize(
    "columns, error",
    [
        ("dataset,method", "own.csv has no column metric; allowed are dataset, .* \\(required\\), bytes_per_item"),
        (f"{COLUMNS},year", "own.csv has the unknown column 'year'"),
        (f"{COLUMNS},source", "own.csv has the column source twice"),
        (COLUMNS, "own.csv has no rows of published figures"),
    ],
)
def test_a_file_with_other_columns_or_without_rows_is_refused(columns, error):
    with pytest.raises(OptionError, match=error):
        read_published(write_published(columns=columns))


@pytest.mark.parametrize(
    "column, value",
    [("bytes_per_item", "-1"), ("test_users", "7.5"), ("masked_interactions", "many"), ("test_interactions", "1,000")],
)
def test_sizes_and_counts_are_numbers(column, value):
    row = dict(zip(FULL.split(","), ROW.split(",")), **{column: f'"{value}"'})
    with pytest.raises(OptionError, match=f"own.csv, line 2: {column} is '{value}', but must be a (whole )?number"):
        read_published(write_published(",".join(row.values()), columns=FULL))


def test_a_file_that_is_missing_or_no_text_is_refused(working_folder):
    with pytest.raises(OptionError, match="own.csv cannot be read: No such file or directory"):
        read_published("own.csv")
    (working_folder / "own.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match="own.csv cannot be read as a CSV file in UTF-8"):
        read_published("own.csv")


def test_a_file_that_a_spreadsheet_wrote_is_read(working_folder):
    text = f"\ufeff{COLUMNS}\r\ntoy,\"A, B\",recall@20, .5 ,train,\"P\nQ\"\r\n"
    (working_folder / "own.csv").write_text(text, encoding="utf-8", newline="")
    (row,) = read_published("own.csv")
    assert (row.method, row.metric, row.value) == ("A, B", "Recall@20", ".5") and math.isnan(row.bytes_per_item)
