"""Atomic files are read by one set of rules, and what breaks a rule is named with its file and line."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_sparse_elsa.data.atomic_files import TYPES, read_atomic_file, read_header
from recbole_sparse_elsa.errors import DatasetError

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def naive_read(data):
    """The rules in a few lines: types, columns and lines, or the number of the first line that breaks one."""
    lines = data.removeprefix(b"\xef\xbb\xbf").decode().split("\n")
    if lines[-1] == "":
        lines.pop()
    lines = [line.removesuffix("\r") for line in lines]
    header = [column.split(":") for column in lines[0].split("\t")]
    names = [column[0] for column in header]
    if any(len(c) != 2 or not c[0] or c[1] not in TYPES for c in header) or len(set(names)) < len(names):
        return 1
    rows, numbers = [], []
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line.split("\t")) != len(names) or "\r" in line or "\0" in line:
            return number
        rows.append(line.split("\t"))
        numbers.append(number)
    columns = {}
    for place, (name, kind) in enumerate(header):
        values = [row[place] for row in rows]
        if kind in ("float", "float_seq"):
            for number, value in zip(numbers, values):
                parts = [value] if kind == "float" else value.split(" ")
                if any(part and not (NUMBER.fullmatch(part) and math.isfinite(float(part))) for part in parts):
                    return number
        columns[name] = [float(v) if v else None for v in values] if kind == "float" else values
    return dict(header), columns, numbers


FIELDS = st.one_of(
    st.sampled_from(
        [
            "",
            "NA",
            "null",
            "None",
            "nan",
            "n/a",
            "1",
            "4.5",
            "1e9",
            "-3",
            "1,5",
            "inf",
            "1_000",
            " 4",
            "4 ",
            " ",
            "  ",
            '"',
            "'",
            "#",
        ]
    ),
    st.sampled_from(
        ["2020-01-01", "0x10", "1e999", "a b", "1 2.5", "\u2028", "\x85", "\x0b", "é", "True", "+7", ".5", "5."]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0"), max_size=4),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
HEADERS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from([*TYPES, "float", "token"])).map(":".join),
    min_size=1,
    max_size=4,
)


@st.composite
def files(draw):
    header = draw(HEADERS)
    width = len(header)
    widths = st.one_of(st.just(width), st.just(width), st.just(width), st.integers(1, width + 1))
    rows = draw(st.lists(widths.flatmap(lambda n: st.lists(FIELDS, min_size=n, max_size=n)), max_size=6))
    lines = ["\t".join(header), *("\t".join(row) for row in rows)]
    ends = draw(st.sampled_from(["\n", "\r\n"]))
    text = ends.join(lines) + draw(st.sampled_from(["", ends, ends * 2]))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_of_blanks_is_a_token_in_a_file_of_one_column(tmp_path, end):
    path = tmp_path / "some.item"
    path.write_bytes(end.join(["item_id:token", "", "a", " ", "", "", "b", ""]).encode())
    read = read_atomic_file(path)
    assert read.columns["item_id"].tolist() == ["a", " ", "b"] and read.lines.tolist() == [3, 4, 7]


@settings(max_examples=400, deadline=None)
@given(files())
def test_any_file_is_read_or_refused_as_by_a_reader_of_a_few_lines(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("atomic") / "some.inter"
    path.write_bytes(data)
    expected = naive_read(data)
    if isinstance(expected, int):
        with pytest.raises(DatasetError, match=re.escape(f"{path}, line ")) as error:
            read_atomic_file(path)
        assert "expected" in str(error.value) and "\n" not in str(error.value)
        return
    types, columns, lines = expected
    read = read_atomic_file(path)
    assert read.types == types and read.lines.tolist() == lines
    for name, values in columns.items():
        if types[name] == "float":
            assert read.columns[name].dtype == np.float64
            assert [None if math.isnan(v) else v for v in read.columns[name].tolist()] == values
        else:
            assert read.columns[name].tolist() == values


@pytest.mark.parametrize(
    "text, message",
    [
        ("user_id:token\titem_id:token\nu1\ti1\t\n", "line 2: found 3 fields .*expected 2, separated by tabs"),
        ("user_id:token\titem_id:token\nu1\ti1\nu2\n", "line 3: found 1 fields .*expected 2"),
        ("user_id\titem_id\nu1\ti1\n", "line 1: found 'user_id', but expected a header of field:type"),
        ("user_id:token,item_id:token\nu1,i1\n", "line 1: found .*expected a header of field:type, separated by tabs"),
        ("user_id:token\titem_id:int\n", "line 1: field 'item_id' has the type 'int', but expected one of token,"),
        ("user_id:token\tuser_id:token\n", "line 1: field user_id occurs twice"),
        ("user_id:token\trating:float\nu\t4\n\nu\t4,5\n", "line 4: rating is '4,5', but expected a finite number"),
        ("user_id:token\ttime:float\nu\t2020-01-01\n", "line 2: time is '2020-01-01', but expected a finite number"),
        (
            "user_id:token\tx:float_seq\nu\t1 2 b\n",
            "line 2: x has the value 'b', but expected finite numbers separated",
        ),
        ("user_id:token\titem_id:token\nu1\ti\r1\n", "line 2: found a carriage return within the line"),
        ("user_id:token\nu\0\n", "line 2: found a zero byte"),
        ("", "line 1: found '', but expected a header"),
    ],
)
def test_what_breaks_a_rule_is_named_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "some.inter"
    path.write_bytes(text.encode())
    with pytest.raises(DatasetError, match=f"some.inter, {message}"):
        read_atomic_file(path)


@pytest.mark.parametrize(
    "word", ["True", "true", "FALSE", "nan", "inf", "-Infinity", "NA", " 4", "4 ", "1_0", "0x1", "٣", "1e400"]
)
@pytest.mark.parametrize("columns", [1, 2])
def test_what_is_a_number_to_others_is_none(tmp_path, word, columns):
    path = tmp_path / "some.inter"
    header, row = "a:float\tb:token"[: 7 if columns == 1 else None], [word, "x"][:columns]
    path.write_text(f"{header}\n" + "\t".join(row) + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="line 2: a is .* but expected a finite number"):
        read_atomic_file(path)


def test_ids_that_look_like_missing_values_are_ids(tmp_path):
    ids = ["NA", "null", "None", "nan", "n/a", "NaN", "<NA>", "#N/A", "", '"x', "#1"]
    path = tmp_path / "some.item"
    path.write_text("item_id:token\tx:token\n" + "".join(f"{token}\t1\n" for token in ids))
    assert read_atomic_file(path).columns["item_id"].tolist() == ids


def test_other_encodings_and_separators(tmp_path):
    path = tmp_path / "some.item"
    path.write_bytes("item_id:token|title:token_seq\n1|Amélie,Bär\n".encode("latin-1"))
    read = read_atomic_file(path, separator="|", encoding="latin-1")
    assert read.columns["title"].tolist() == ["Amélie,Bär"]
    with pytest.raises(DatasetError, match="line 2: found bytes that are not text in the encoding utf-8"):
        read_atomic_file(path, separator="|")


def test_only_the_fields_that_are_asked_for_are_read(tmp_path):
    path = tmp_path / "some.inter"
    path.write_text("user_id:token\titem_id:token\trating:float\nu\ti\tbad\n")
    read = read_atomic_file(path, fields=["item_id", "other"])
    assert list(read.columns) == ["item_id"] and read.columns["item_id"].tolist() == ["i"]
    assert read_header(path) == {"user_id": "token", "item_id": "token", "rating": "float"}
