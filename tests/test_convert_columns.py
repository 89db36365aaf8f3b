"""``sparse-elsa convert``: files with any columns, which the user names."""

import csv
import datetime
import decimal
import glob
import gzip
import io
import os
import re
import sys

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.convert import ColumnOptions, convert
from recbole_sparse_elsa.data.atomic_files import read_atomic_file

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ALL = ["--user", "customer", "--item", "sku", "--time", "when", "--rating", "stars"]
PAIRS = ["--user", "customer", "--item", "sku"]


def write(path, text):
    opened = gzip.open(path, "wb") if path.endswith(".gz") else open(path, "wb")
    with opened as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def rows_of(path):
    return [line.split("\t") for line in read(path).splitlines()[1:]]


def converted(text, *options, name="shop.csv"):
    """The rows of the .inter file that is made of a text."""
    write(name, text)
    main(["convert", name, *(options or ALL), "--output", "dataset/shop", "--overwrite"])
    return rows_of("dataset/shop/shop.inter")


def refusal(text, *options, name="shop.csv"):
    if text is not None:
        write(name, text)
    with pytest.raises(SystemExit) as refused:
        main(["convert", name, *(options or ALL), "--output", "dataset/shop"])
    assert not os.path.exists("dataset") and "\n" not in refused.value.code
    return refused.value.code


SHOP = [
    ["order", "customer", "sku", "stars", "when"],
    ["1", "ann", "007", "4", "2005-09-06"],
    ["2", "bo", "7", "3.5", "1970-01-02"],
]
SHOP_ROWS = [["ann", "007", "4", "1125964800"], ["bo", "7", "3.5", "86400"]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::", " "])
def test_columns_are_found_by_name_whatever_separates_them(separator, mark, end, capsys):
    text = mark + end.join(separator.join(row) for row in SHOP) + end
    assert converted(text) == SHOP_ROWS
    assert read("dataset/shop/shop.inter").startswith(f"{HEADER}\n")
    out = capsys.readouterr().out
    assert "First interaction: user ann, item 007, rating 4, timestamp 1125964800." in out
    assert "Times were read as ISO dates, as UTC, from 1970-01-02 00:00:00 to 2005-09-06 00:00:00 UTC." in out
    assert "Next: sparse-elsa train --dataset=shop" in out


def test_columns_are_found_by_number_where_there_is_no_header():
    text = "".join(";".join(row) + "\n" for row in SHOP[1:])
    options = ["--user", "2", "--item", "3", "--rating", "4", "--time", "5"]
    assert converted(text, *options) == SHOP_ROWS
    assert converted(text.replace(";", "~"), *options, "--separator", "~") == SHOP_ROWS
    assert converted(text, "--user", "2", "--item", "1") == [["ann", "1"], ["bo", "2"]]


def test_a_compressed_file_is_read_as_it_is():
    assert converted("\n".join(map(",".join, SHOP)) + "\n", name="shop.csv.gz") == SHOP_ROWS


def test_quoted_fields_may_hold_separators_quotation_marks_and_line_ends():
    text = 'customer,"sku",text\r\n"O\'Neil, Ann","5"" disk","two\r\nlines, and ""more"""\r\nbo,"a b",\r\n'
    assert converted(text, *PAIRS) == [["O'Neil, Ann", '5" disk'], ["bo", "a b"]]


def test_the_named_line_is_the_one_in_the_file_after_quoted_line_ends_and_blank_lines():
    text = 'customer,sku,text\n\nann,1,"three\n\nlines"\n\nbo,,\n'
    assert "shop.csv, line 7: sku is empty, but must have a value in every line; give --skip" in refusal(text, *PAIRS)
    many = "customer,sku\n" + '"x","1"\n' * 2500 + "y,\n"
    assert "shop.csv, line 2502: sku is empty" in refusal(many, *PAIRS)


rows = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5),
        st.text(st.characters(exclude_categories=["C"]), max_size=8),
        st.sampled_from(["1", "2.5", "-3", "4e-2"]),
        st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, st.sampled_from([",", ";", "\t", "|"]))
def test_what_a_csv_writer_writes_is_read_back(working_folder, rows, separator):
    ids = [user for user, *_ in rows]
    assume(not any(re.fullmatch(r"-?[0-9]+\.0|\[PAD]|nan|[0-9]e\+[0-9]", user, re.IGNORECASE) for user in ids))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(["comment", "user", "item", "rating", "time"])
    for number, (user, comment, rating, time) in enumerate(rows):
        writer.writerow([comment, user, f"i{number}", rating, time.isoformat()])
    write("a.csv", text.getvalue())
    columns = ColumnOptions(user="user", item="item", rating="rating", time="time", separator=separator)
    convert(["a.csv"], "a", overwrite=True, columns=columns)
    found = read_atomic_file("a/a.inter").columns
    assert found["user_id"].tolist() == ids
    assert found["item_id"].tolist() == [f"i{number}" for number in range(len(rows))]
    assert found["rating"].tolist() == [float(rating) for *_, rating, _ in rows]
    epoch = datetime.datetime(1970, 1, 1)
    expected = [(time - epoch) / datetime.timedelta(seconds=1) for *_, time in rows]
    assert found["timestamp"].tolist() == pytest.approx(expected, abs=2e-6)


TIMES = {
    "2005-09-06": "1125964800",
    "1969-12-31": "-86400",
    "2005-09-06 12:30": "1126009800",
    "2005-09-06T12:30:15": "1126009815",
    "2005-09-06T12:30:15Z": "1126009815",
    "2005-09-06 12:30:15 UTC": "1126009815",
    # Two hours before noon in London is noon in Helsinki.
    "2005-09-06T12:30:15+02:00": "1126002615",
    "2005-09-06T12:30:15-0530": "1126029615",
    "2005-09-06T12:30:15+01": "1126006215",
    "2005-09-06T12:30:15.250Z": "1126009815.25",
    "2005-09-06T12:30:15.000Z": "1126009815",
    "1969-12-31T23:59:59.750": "-0.25",
    "1126009815": "1126009815",
    "1126009815.5": "1126009815.5",
    "-86400": "-86400",
    "0": "0",
}


@pytest.mark.parametrize("time", TIMES)
def test_each_way_to_write_a_time_becomes_seconds(time):
    text = f"customer,sku,when,n\nann,1,{time},5\n"
    assert converted(text, *PAIRS, "--time", "when") == [["ann", "1", TIMES[time]]]


@pytest.mark.parametrize(
    "unit, time, seconds",
    [
        ("ms", "1452647382007", "1452647382.007"),
        ("ms", "1452647382000", "1452647382"),
        ("us", "-1500000", "-1.5"),
        ("ns", "1452647382007000001", "1452647382.007000001"),
        ("s", "20050906", "20050906"),
    ],
)
def test_other_units_of_time_are_given(unit, time, seconds):
    text = f"customer,sku,when,n\nann,1,{time},5\n"
    assert converted(text, *PAIRS, "--time", "when", "--time-unit", unit) == [["ann", "1", seconds]]


def test_numbers_that_are_hardly_seconds_are_told(capsys):
    converted("customer,sku,when\nann,1,1\nann,2,2\n", *PAIRS, "--time", "when")
    said = (
        "from 1970-01-01 00:00:01 to 1970-01-01 00:00:02 UTC; they may be in another unit, or no times but positions."
    )
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "times, error",
    [
        (["06.09.2005"], "line 2: when is '06.09.2005', but must be an ISO date, such as 2005-09-06 or 2005-09-06T12"),
        (["2005-09-06", "09/06/2005"], "line 3: when is '09/06/2005', but must be an ISO date"),
        (["2005-02-30"], "line 2: when is 2005-02-30, but must be a date of the calendar"),
        (["2005-09-06 10:00:00", "2005-02-30 10:00:00"], "line 3: when is 2005-02-30 10:00:00, but must be a date of"),
        (["0000-00-00 00:00:00"], "line 2: when is 0000-00-00 00:00:00, but must be a date of the calendar"),
        (["2005-09-06 24:30:00"], "line 2: when is 2005-09-06 24:30:00, but must be a time from 00:00:00 to 23:59:59"),
        (["2005-09-06T12:00+99:00"], "line 2: .* at most 14 hours from UTC"),
        (["yesterday"], "line 2: when is 'yesterday', but must be an ISO date"),
        (
            ["", "2005-09-06"],
            "line 2: when is empty, but must have a value in every line; give --skip-missing to leave",
        ),
        (["NaT"], "line 2: when is NaT, which stands for nothing, but must have a value"),
        (
            ["1452647382007"],
            "line 2: when is 1452647382007, but must be a time in seconds since 1970; give --time-unit ms",
        ),
        (["1452647382007000000"], "line 2: .* give --time-unit ns if that is its unit"),
        (["20050906"], "line 2: when is 20050906, which may be a date or seconds, .*; write dates as 2005-09-06, or"),
        (
            ["2005-09-06", "1126009815"],
            "line 3: when is 1126009815, but must be like the times before it, which are ISO",
        ),
        (
            ["1126009815", "2005-09-06"],
            "line 3: when is 2005-09-06, but must be like the times before it, which are numb",
        ),
        (["2005-09-06T12:00Z", "2005-09-06T12:00"], "line 3: .* before it, which are ISO dates with a time zone"),
        (["-99999999999"], "line 2: when is -99999999999, but must be a time from the year 1 to 9999"),
        (["1e999"], "line 2: when is 1e999, but must be"),
        (["nan"], "line 2: when is nan, which stands for nothing"),
    ],
)
def test_a_time_that_is_not_clear_is_refused_with_its_line(times, error):
    text = "".join(f"ann,1,{time},5\n" for time in times)
    code = refusal(f"customer,sku,when,n\n{text}", *PAIRS, "--time", "when")
    assert re.match(f"DatasetError: shop.csv, {error}", code), code


@pytest.mark.parametrize(
    "user, error",
    [
        ("", "is empty, but must have a value in every line; give --skip-missing"),
        ("   ", "is empty"),
        ("nan", "is nan, which stands for nothing"),
        ("NULL", "is NULL, which stands for nothing"),
        ('"a\tb"', r"is 'a\\tb', but must be without '\\t', which files with tabs cannot hold"),
        ('"a\nb"', r"is 'a\\nb', but must be without '\\n'"),
        ("a\0b", r"is 'a\\x00b', but must be without '\\x00'|.*line contains NUL"),
        ("[PAD]", r"is \[PAD\], which RecBole uses for padding"),
        ("1.2345E+12", r"is 1.2345E\+12, a number that was rounded, but must be a whole id; write ids as text"),
    ],
)
def test_what_is_no_id_is_refused(user, error):
    code = refusal(f"sku,customer\n1,{user}\n2,bo\n", *PAIRS)
    assert re.match(f"DatasetError: shop.csv, line 2: customer {error}", code) or "NUL" in code, code


def test_ids_stay_as_they_are(capsys):
    ids = ["007", "7", "NA", "a b", "ü", "-1", "1e5", "0x1F", '5" disk', "1.50", "#c"]
    text = io.StringIO()
    csv.writer(text).writerows([["customer", "sku"], *([user, "x"] for user in ids)])
    assert converted(text.getvalue(), *PAIRS) == [[user, "x"] for user in ids]
    # RecBole reads each of them as itself.
    dataset = create_dataset(Config("Pop", "shop", config_dict={"load_col": {"inter": ["user_id", "item_id"]}}))
    assert sorted(dataset.field2id_token["user_id"][1:]) == sorted(ids)
    assert "such as" not in capsys.readouterr().out


def test_whole_numbers_written_as_floating_point_numbers_are_whole_again_and_told(capsys):
    assert converted("customer,sku\n12.0,a\n12,b\n13.5,c\n", *PAIRS) == [["12", "a"], ["12", "b"], ["13.5", "c"]]
    assert "Ids of users such as 12.0 are written as 12." in capsys.readouterr().out


def test_blanks_around_values_do_not_count():
    text = " customer , sku,stars,when\n ann , 1 , 4 , 2005-09-06 \n"
    assert converted(text) == [["ann", "1", "4", "1125964800"]]


@pytest.mark.parametrize(
    "rating, error",
    [
        ("four", "is 'four', but must be a finite number, such as 4 or 0.5"),
        ('"4,5"', "is '4,5', but must be a finite number, such as 4 or 0.5; write a decimal point"),
        ("inf", "is 'inf', but must be a finite number"),
        ("1_000", "is '1_000', but must be a finite number"),
        ("1e400", "is '1e400', but must be a finite number"),
        ("NaN", "is NaN, which stands for nothing"),
        ("", "is empty"),
    ],
)
def test_what_is_no_rating_is_refused(rating, error):
    code = refusal(f"customer,sku,stars,n\nann,1,{rating},5\n", *PAIRS, "--rating", "stars")
    assert code.startswith(f"DatasetError: shop.csv, line 2: stars {error}"), code


def test_lines_without_a_value_are_left_out_if_asked_for_and_counted(capsys):
    text = "customer,sku,stars,when,n\n,1,4,2005-09-06,x\nann,1,,2005-09-06,x\nann,2,3,,x\nann,3,3,1970-01-02,x\n"
    assert converted(text, *ALL, "--skip-missing") == [["ann", "3", "3", "86400"]]
    out = capsys.readouterr().out
    assert "3 lines without a value were left out." in out
    assert "First interaction: user ann, item 3, rating 3, timestamp 86400." in out
    code = refusal_of_all_missing()
    assert "no interaction follows the first line" in code


def refusal_of_all_missing():
    write("none.csv", "customer,sku\n,1\n,2\n")
    with pytest.raises(SystemExit) as refused:
        main(["convert", "none.csv", *PAIRS, "--skip-missing", "--output", "none"])
    return refused.value.code


@pytest.mark.parametrize(
    "text, error",
    [
        ("", "shop.csv is empty"),
        ("\n\n", "shop.csv is empty"),
        ("customer,sku\n", "shop.csv: no interaction follows the first line"),
        (
            "client,sku\na,b\n",
            "shop.csv, line 1: there is no column 'customer' .--user.: The columns are 'client, sku'; ",
        ),
        ("Customer,sku\na,b\n", "shop.csv, line 1: there is no column 'customer' .--user.: do you mean Customer?"),
        ("customer,sku,sku\na,b,c\n", "shop.csv, line 1: the column 'sku' occurs 2 times, but must occur once; rename"),
        (
            "customer,sku\na,b,c\n",
            "shop.csv, line 2: has 3 fields, but must have 2, separated by ',', as the first line",
        ),
        ("customer,sku\na\n", "shop.csv, line 2: has 1 fields, but must have 2"),
        ('customer,sku\n"a"b,c\n', "shop.csv, line 2: quotation marks do not go with ',' as the separator"),
        ('customer,sku\nx,y\n"a,c\nb,d\n', "shop.csv, line 3: quotation marks do not go with ','"),
        (b"customer,sku\na,\xff\n", "shop.csv, after line 1: not UTF-8 text"),
        ("customer,sku\n".encode("utf-16"), "shop.csv, after line 0: not UTF-8 text"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text, error):
    code = refusal(text, *PAIRS)
    assert re.match(f"DatasetError: {error}", code), code


def test_columns_that_are_not_there_are_refused_by_number():
    numbers = ["--user", "1", "--item", "4"]
    assert "nothing known makes at least 4 columns of 'a,b'; give --separator" in refusal("a,b\n", *numbers)
    code = refusal("a,b;c\nd,e;f\n", "--user", "1", "--item", "2")
    assert "several of ',', ';' makes at least 2 columns of 'a,b;c'; give --separator" in code
    code = refusal("a;b\n", *numbers, "--separator", ";")
    assert "'a;b' has 2 columns, separated by ';', but must have 4" in code


def test_a_second_line_of_another_length_is_named():
    code = refusal("a;b;c\nd;e\n", "--user", "1", "--item", "3")
    assert "shop.csv, line 2: has 2 fields, but must have 3, separated by ';'" in code


def test_a_header_is_not_taken_for_an_interaction():
    code = refusal("customer,sku\nu1,i1\n", "--user", "1", "--item", "2")
    assert "'customer,sku' is a header, as it seems, and numbers are for files without one; name the columns: " in code
    assert code.endswith("--user 'customer' --item 'sku'")
    assert converted("ann,book\nbo,film\n", "--user", "1", "--item", "2") == [["ann", "book"], ["bo", "film"]]


def test_a_last_number_that_may_be_cut_is_refused():
    code = refusal("customer,sku,when\nann,1,112600981", *PAIRS, "--time", "when")
    assert "the last line 'ann,1,112600981' has no line end, so the file is truncated" in code
    assert converted("when,customer,sku\n1126009815,ann,1", *PAIRS, "--time", "when") == [["ann", "1", "1126009815"]]


@pytest.mark.parametrize(
    "options, error",
    [
        (["--user", "customer"], "item is not given, but must be, beside the other columns"),
        (["--rating", "stars"], "user is not given, but must be, beside the other columns"),
        (["--user", "sku", "--item", "sku"], "item is 'sku', but that is --user already; give different columns"),
        (
            ["--user", "1", "--item", "sku"],
            "columns are given by number, and as 'sku'; give names for a file with a head",
        ),
        (["--separator", ";"], "separator is ';', but needs the columns: give --user and --item, too"),
        (["--skip-missing"], "skip-missing needs the columns"),
        ([*PAIRS, "--separator", '"'], "separator is '\"', but must be text without quotation marks"),
        ([*PAIRS, "--time-unit", "ms"], "time-unit is 'ms', but must be one of s, ms, us, ns, with --time"),
        ([*PAIRS, "--time-unit", "days"], "argument --time-unit: invalid choice: 'days'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, error):
    code = refusal("customer,sku\na,b\n", *options)
    assert re.match("OptionError: ", code) and error in code, code


def test_a_folder_for_a_file_is_refused():
    os.mkdir("shop.csv")
    assert re.match("OptionError: source: folder shop.csv has no ratings.csv", refusal(None))


def write_table(columns, name="shop.parquet", schema=None):
    parquet.write_table(pyarrow.table(columns, schema=schema), name)


def test_a_parquet_file_has_the_same_interactions_as_text():
    when = [datetime.datetime(2005, 9, 6), datetime.datetime(1970, 1, 2)]
    write_table(
        {"sku": ["007", "7"], "customer": ["ann", "bo"], "when": when, "stars": [4.0, 3.5], "other": [[1], [2]]}
    )
    main(["convert", "shop.parquet", *ALL, "--output", "dataset/shop"])
    assert rows_of("dataset/shop/shop.inter") == [["ann", "007", "4.0", "1125964800"], ["bo", "7", "3.5", "86400"]]


NOON = datetime.datetime(2005, 9, 6, 12)
PARQUET_VALUES = {
    "whole numbers": (pyarrow.array([7, 8]), ["7", "8"]),
    "floating-point numbers": (pyarrow.array([7.0, 8.0]), ["7", "8"]),
    "bytes": (pyarrow.array([b"a", "ü".encode()]), ["a", "ü"]),
    "categories": (pyarrow.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
    "categories of bytes": (pyarrow.array([b"x", b"y"]).dictionary_encode(), ["x", "y"]),
    "large text": (pyarrow.array(["x", "y"], pyarrow.large_string()), ["x", "y"]),
    "decimal numbers": (pyarrow.array([decimal.Decimal("12"), decimal.Decimal("13")]), ["12", "13"]),
}
PARQUET_TIMES = {
    "without zone": (pyarrow.array([NOON], pyarrow.timestamp("us")), "1126008000"),
    "with zone": (pyarrow.array([NOON], pyarrow.timestamp("ms", "Europe/Prague")), "1126008000"),
    "nanoseconds": (pyarrow.array([1126008000000000001], pyarrow.timestamp("ns")), "1126008000.000000001"),
    "days": (pyarrow.array([NOON.date()], pyarrow.date32()), "1125964800"),
    "text": (pyarrow.array(["2005-09-06T12:00:00Z"]), "1126008000"),
    "seconds": (pyarrow.array([1126008000]), "1126008000"),
}


@pytest.mark.parametrize("kind", PARQUET_VALUES)
def test_each_type_of_id_in_parquet_becomes_text(kind):
    values, expected = PARQUET_VALUES[kind]
    write_table({"customer": values, "sku": values})
    main(["convert", "shop.parquet", *PAIRS, "--output", "mine"])
    assert rows_of("mine/mine.inter") == [[text, text] for text in expected]


@pytest.mark.parametrize("kind", PARQUET_TIMES)
def test_each_type_of_time_in_parquet_becomes_seconds(kind):
    times, expected = PARQUET_TIMES[kind]
    write_table({"customer": ["ann"], "sku": [1], "when": times})
    main(["convert", "shop.parquet", *PAIRS, "--time", "when", "--output", "mine"])
    assert rows_of("mine/mine.inter") == [["ann", "1", expected]]


@pytest.mark.parametrize(
    "columns, error",
    [
        (
            {"client": ["a"], "sku": ["b"]},
            "shop.parquet: the column 'customer' (--user) is not there, but must be one of",
        ),
        ({"customer": [["a"]], "sku": ["b"]}, "shop.parquet: the column 'customer' (--user) has type list<"),
        ({"customer": [True], "sku": ["b"]}, "shop.parquet: the column 'customer' (--user) has type bool"),
        ({"customer": [NOON], "sku": ["b"]}, "shop.parquet: the column 'customer' (--user) has type timestamp"),
        (
            {"customer": [b"\xff"], "sku": ["b"]},
            "shop.parquet: the column 'customer' has bytes that are not UTF-8 text",
        ),
        ({"customer": ["a", None], "sku": ["b", "c"]}, "shop.parquet, row 2: customer is empty"),
        (
            {"customer": [1.0, float("nan")], "sku": ["b", "c"]},
            "shop.parquet, row 2: customer is nan, which stands for",
        ),
        ({"customer": ["a", "b"], "sku": ["b", "c\td"]}, r"shop.parquet, row 2: sku is 'c\\td', but must be without"),
        (
            {"customer": pyarrow.array([], pyarrow.string()), "sku": pyarrow.array([], pyarrow.string())},
            "no interaction",
        ),
    ],
)
def test_a_wrong_parquet_file_is_refused(columns, error):
    write_table(columns)
    code = refusal(None, *PAIRS, name="shop.parquet")
    assert error.replace(r"\\t", "\\t") in code, code


def test_a_parquet_file_with_a_column_twice_or_damaged_is_refused():
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, names=["customer", "sku", "sku"])
    parquet.write_table(table, "shop.parquet")
    assert "the column 'sku' (--item) occurs 2 times" in refusal(None, *PAIRS, name="shop.parquet")
    write_table({"customer": ["a"] * 1000, "sku": list(map(str, range(1000)))})
    with open("shop.parquet", "rb") as file:
        content = file.read()
    code = refusal(content[: len(content) // 2], *PAIRS, name="shop.parquet")
    assert re.match("DatasetError: shop.parquet, after row 0: the Parquet file is damaged or cannot be read", code)


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch):
    write_table({"customer": ["a"], "sku": ["b"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code = refusal(None, *PAIRS, name="shop.parquet")
    assert 'run: pip install "recbole_sparse_elsa[parquet]"' in code


def test_a_parquet_file_without_columns_named_is_refused():
    write_table({"customer": ["a"], "sku": ["b"]})
    with pytest.raises(SystemExit, match="name its columns by --user and --item: 'customer, sku'"):
        main(["convert", "shop.parquet", "--output", "dataset/shop"])


def test_parts_of_a_split_may_have_any_columns():
    for part, text in {"train": "ann,1,4\nbo,1,5\n", "test": "ann,2,4\n"}.items():
        write(f"{part}.csv", f"customer,sku,stars\n{text}")
    main(["convert", "train.csv", "test.csv", *PAIRS, "--rating", "stars", "--output", "mine"])
    assert rows_of("mine/mine.train.inter") == [["ann", "1", "4"], ["bo", "1", "5"]]
    assert rows_of("mine/mine.test.inter") == [["ann", "2", "4"]]
    assert sorted(glob.glob("mine/*")) == [os.path.join("mine", f"mine.{part}.inter") for part in ("test", "train")]
