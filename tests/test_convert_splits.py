"""``sparse-elsa convert``: fixed splits, in the forms in which the field shares them."""

import glob
import gzip
import os
import re
import shlex
import sys

import conftest
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.quick_start import run_recbole
from scipy import sparse

from recbole_sparse_elsa import output
from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.convert import conversion, convert
from recbole_sparse_elsa.convert.published_counts import find_published_counts, published_counts

HEADER = "user_id:token\titem_id:token"
# User 2 has nothing to train on, and user 1 nothing in the test.
TRAIN, TEST = [(0, 1), (0, 3), (1, 0)], [(0, 2), (2, 3)]


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    opened = gzip.open(path, "wb") if path.endswith(".gz") else open(path, "wb")
    with opened as file:
        file.write(text.encode())


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def pairs_of(path):
    header, *lines = read(path).splitlines()
    return header, [tuple(map(int, line.split("\t"))) for line in lines]


def refusal(*arguments):
    before = sorted(glob.glob("**", recursive=True))
    with pytest.raises(SystemExit) as refused:
        main(["convert", *arguments])
    assert sorted(glob.glob("**", recursive=True)) == before
    assert "\n" not in refused.value.code
    return refused.value.code


def write_matrix(path, pairs, shape=(3, 4), data=None, form="csr"):
    rows, columns = zip(*pairs)
    matrix = sparse.coo_array((np.ones(len(pairs)) if data is None else data, (rows, columns)), shape=shape)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    sparse.save_npz(path, matrix.asformat(form))


def write_lists(folder):
    # Blanks at the end of a line and users without items are in the published files.
    write(f"{folder}/train.txt", "0 1 3\n1 0 \n2 \n")
    write(f"{folder}/test.txt", "0 2\n1\n2 3")


def write_pairs(folder):
    write(f"{folder}/train.csv", "user_id,item_id\n0,1\n0,3\n1,0\n")
    write(f"{folder}/test.csv", "user_id,item_id\n0,2\n2,3\n")


def write_pairs_in_another_order(folder):
    write(f"{folder}/mine_train.csv.gz", "\ufeffiid;uid\r\n1;0\r\n3;0\r\n0;1\r\n")
    write(f"{folder}/mine_test.csv.gz", "iid;uid\n2;0\n3;2\n")


def write_pairs_without_header(folder):
    write(f"{folder}/train.tsv", "0\t1\n0\t3\n1\t0\n")
    write(f"{folder}/test.tsv", "0\t2\n2\t3\n")


def write_matrices(folder):
    write_matrix(f"{folder}/mine_train.npz", TRAIN)
    write_matrix(f"{folder}/mine_test.npz", TEST, form="coo")


FORMS = {
    "lists": write_lists,
    "pairs": write_pairs,
    "pairs in another order": write_pairs_in_another_order,
    "pairs without a header": write_pairs_without_header,
    "matrices": write_matrices,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("given_as", ["folder", "files"])
def test_each_form_of_a_fixed_split_becomes_its_parts(form, given_as, capsys):
    FORMS[form]("raw")
    sources = ["raw"] if given_as == "folder" else sorted(glob.glob("raw/*"))
    main(["convert", *sources, "--output", "dataset/mine"])
    assert sorted(os.listdir("dataset/mine")) == ["mine.test.inter", "mine.train.inter"]
    assert pairs_of("dataset/mine/mine.train.inter") == (HEADER, TRAIN)
    assert pairs_of("dataset/mine/mine.test.inter") == (HEADER, TEST)
    out = capsys.readouterr().out
    rows = [["mine train", "3", "2", "3"], ["mine test", "2", "2", "2"], ["mine", "5", "3", "4"]]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()[2:5]]
    assert table == rows
    assert "Every pair of user and item occurs once, in one of the parts." in out
    assert "There is no validation data" in out and "Next:" not in out


def test_files_of_any_name_are_parts_by_options():
    write("ua.base", "1\t10\t5\t881250949\n2\t11\t3\t881250950\n")
    write("ua.test", "1\t11\t4\t881250951\n")
    columns = ["--user", "1", "--item", "2", "--rating", "3", "--time", "4"]
    main(["convert", "--train", "ua.base", "--test", "ua.test", *columns, "--output", "mine"])
    assert read("mine/mine.test.inter") == f"{HEADER}\trating:float\ttimestamp:float\n1\t11\t4\t881250951\n"
    assert len(read("mine/mine.train.inter").splitlines()) == 3


def test_recbole_trains_on_the_parts_by_the_command_that_is_printed(capsys, monkeypatch):
    # Each user likes the items of one of two kinds: half of them for training, a quarter for each other part.
    lists = {part: [] for part in ("train", "valid", "test")}
    for user in range(30):
        items = [item for item in range(40) if item % 2 == user % 2]
        for place, part in enumerate(("train", "train", "valid", "test")):
            chosen = [item for item in items if (item + user) // 2 % 4 == place]
            lists[part].append((user, chosen))
    for part, users in lists.items():
        lines = {}
        for user, items in users:
            lines.setdefault(user, []).extend(items)
        write(f"raw/{part}.txt", "".join(f"{user} {' '.join(map(str, items))}\n" for user, items in lines.items()))
    main(["convert", "raw", "--output", "dataset/mine"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == ("Next: sparse-elsa train --dataset=mine --benchmark_filename=\"['train', 'valid', 'test']\"")
    monkeypatch.setattr(sys, "argv", shlex.split(last.removeprefix("Next: sparse-elsa ")))
    found = run_recbole(
        "ItemKNN",
        "mine",
        config_dict={**conftest.QUIET, "metrics": ["Recall"], "valid_metric": "Recall@10", "topk": [10]},
    )
    assert found["test_result"]["recall@10"] > 0.9


def test_a_matrix_with_other_values_than_ones_has_ratings_in_every_part():
    write_matrix("train.npz", TRAIN, data=np.array([5, 3, 4]))
    write_matrix("test.npz", TEST)
    main(["convert", "train.npz", "test.npz", "--output", "mine"])
    assert read("mine/mine.train.inter").splitlines() == [f"{HEADER}\trating:float", "0\t1\t5", "0\t3\t3", "1\t0\t4"]
    assert read("mine/mine.test.inter").splitlines() == [f"{HEADER}\trating:float", "0\t2\t1.0", "2\t3\t1.0"]


def test_stored_zeros_and_other_shapes_are_told(capsys):
    write_matrix("train.npz", TRAIN, data=np.array([1, 0, 1]), form="coo")
    write_matrix("test.npz", TEST, shape=(3, 5))
    main(["convert", "train.npz", "test.npz", "--output", "mine"])
    out = capsys.readouterr().out
    assert "Zeros that are stored are no interactions: 1 are left out." in out
    assert "The matrices have different shapes: train.npz 3 × 4, test.npz 3 × 5." in out
    assert pairs_of("mine/mine.train.inter")[1] == [(0, 1), (1, 0)]


def test_pairs_in_two_parts_and_repeated_ones_are_told(capsys):
    write("train.csv", "user,item\n1,2\n1,2\n1,3\n2,2\n")
    write("valid.csv", "user,item\n1,3\n")
    write("test.csv", "user,item\n1,3\n1,2\n9,9\n")
    main(["convert", "train.csv", "valid.csv", "test.csv", "--output", "mine"])
    out = capsys.readouterr().out
    assert "train has 1 repeated pairs of user and item." in out
    assert "1 pairs of valid are in train, too." in out
    assert "2 pairs of test are in train, too." in out
    assert "1 pairs of test are in valid, too." in out
    assert len(read("mine/mine.train.inter").splitlines()) == 5  # every interaction is kept


splits = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=2, unique=True, max_size=60)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(splits, st.data())
def test_lists_pairs_and_matrices_tell_of_the_same_split(working_folder, pairs, data):
    n_train = data.draw(st.integers(1, len(pairs) - 1))
    parts = {"train": pairs[:n_train], "test": pairs[n_train:]}
    for part, some in parts.items():
        lists = [" ".join(map(str, [user, *(item for other, item in some if other == user)])) for user in range(13)]
        write(f"lists/{part}.txt", "\n".join(lists) + "\n")
        write(f"pairs/{part}.csv", "".join(f"{user},{item}\n" for user, item in some))
        write_matrix(f"matrices/{part}.npz", some, shape=(13, 13))
    for form in ("lists", "pairs", "matrices"):
        convert([form], f"mine/{form}", overwrite=True)
        for part, some in parts.items():
            header, found = pairs_of(f"mine/{form}/{form}.{part}.inter")
            assert header == HEADER and sorted(found) == sorted(some)


@pytest.mark.parametrize(
    "files, error",
    [
        # The form of ml-100k and of leave-one-out files, whose third number is no item.
        ({"train.txt": "1 2 5\n1 3 4\n"}, "train.txt, line 2: user 1 has a second line, beside line 1, but must have"),
        ({"train.txt": "0 1\n0 2\n1 2 3\n"}, "train.txt, line 2: user 0 has a second line, .* as line 3 has more than"),
        ({"train.txt": "0 1 x\n"}, "train.txt, line 1: '0 1 x' begins none of the files .*; of other files name the"),
        ({"train.txt": "0 1\n1 2 3,4\n"}, "train.txt, line 2: '3,4' is there, but must be a whole number"),
        ({"train.txt": ""}, "train.txt is empty"),
        ({"train.txt": "0\n1\n"}, "train.txt: no interaction follows the first line"),
        ({"train.csv": "0,1\n1,2,3\n"}, "train.csv, line 2: has 3 fields, but must have 2, separated by ',', as the"),
        ({"train.csv": "0,1\n1,\n"}, "train.csv, line 2: column 2 is empty, but must have a value in every line"),
        ({"train.csv": "user,item,stars\n0,1,2\n"}, "train.csv, line 1: 'user,item,stars' begins none of the files"),
        ({"train.npz": "PK\x03\x04"}, "train.npz is no whole sparse matrix of scipy.sparse.save_npz"),
        ({"train.npz": "0 1 2\n"}, "train.npz is no whole sparse matrix of scipy.sparse.save_npz"),
    ],
)
def test_a_wrong_part_is_refused_with_its_place(files, error):
    for name, text in files.items():
        write(name, text)
        if name.endswith(".npz"):
            write_matrix("test.npz", TEST)
        else:
            write(name.replace("train", "test"), "0 1\n" if "txt" in name else "0,1\n")
    code = refusal(*sorted(glob.glob("*")), "--output", "mine")
    assert re.match(f"DatasetError: {error}", code) or "but " in code and re.search(error, code), code


def test_a_wrong_test_part_leaves_no_training_part_behind():
    write("train.txt", "0 1 2\n1 2\n")
    write("test.txt", "0 3\n1 a\n")
    assert "test.txt, line 2: 'a' is there" in refusal("train.txt", "test.txt", "--output", "mine")


@pytest.mark.parametrize(
    "matrix, error",
    [
        (np.array([1.0, np.nan, 1.0]), "train.npz has values of type float64, but must be a matrix of finite real"),
        (np.array([1j, 1, 1]), "train.npz has values of type complex128"),
    ],
)
def test_matrices_without_real_values_are_refused(matrix, error):
    write_matrix("train.npz", TRAIN, data=matrix)
    write_matrix("test.npz", TEST)
    assert error in refusal("train.npz", "test.npz", "--output", "mine")


@pytest.mark.parametrize(
    "arguments, error",
    [
        (
            ["train.txt", "other.txt"],
            "train.txt is a part of a fixed split by its name, and other.txt is not; give --tr",
        ),
        (["train.txt", "valid.txt"], "test is missing, but a fixed split must have it; give --test FILE"),
        (["train.txt", "old_train.txt", "test.txt"], "train.txt and old_train.txt are both train by their names"),
        (["train.txt", "--test", "test.txt"], "source is train.txt, but is not allowed beside --train, --valid and"),
        (["--test", "test.txt"], "train is missing, but a fixed split must have it; give --train FILE"),
        (["--train", "nowhere.txt", "--test", "test.txt"], "train: nowhere.txt was not found, or is no file"),
        ([], "source is missing; give raw files, or the folder that holds them, or --train and --test"),
        (["half"], "folder half has no ratings.csv, .* nor train.txt and test.txt; give the file itself"),
        (["train.txt", "test.npz"], "test.npz is scipy .npz, but train.txt is not; give files of one kind"),
    ],
)
def test_parts_that_are_missing_or_unclear_are_refused(arguments, error):
    for name in ("train.txt", "old_train.txt", "valid.txt", "test.txt", "other.txt", "half/train.txt"):
        write(name, "0 1 2\n")
    write_matrix("test.npz", TEST)
    assert re.search(error, refusal(*arguments, "--output", "mine"))


def test_one_file_is_a_whole_data_set_whatever_its_name():
    write("train.txt", "0 1 2\n1 1\n")
    main(["convert", "train.txt", "--output", "mine"])
    assert os.listdir("mine") == ["mine.inter"]


def test_overwriting_leaves_nothing_of_the_old_data_set():
    write_lists("raw")
    write("raw/valid.txt", "1 2\n")
    write("whole.txt", "5 6\n")
    main(["convert", "raw", "--output", "mine"])
    assert "mine.train.inter exists already" in refusal("raw", "--output", "mine")
    main(["convert", "whole.txt", "--output", "mine", "--overwrite"])
    assert os.listdir("mine") == ["mine.inter"]
    os.remove("raw/valid.txt")
    main(["convert", "raw", "--output", "mine", "--overwrite"])
    assert sorted(os.listdir("mine")) == ["mine.test.inter", "mine.train.inter"]


def test_a_source_is_never_replaced():
    write("mine/mine.train.inter", "user_id:token\titem_id:token\n1\t2\n")
    write("mine/mine.test.inter", "user_id:token\titem_id:token\n1\t3\n")
    code = refusal("mine/mine.train.inter", "mine/mine.test.inter", "--output", "mine", "--overwrite")
    assert "is a source, too, and would be replaced; give another folder" in code
    main(["convert", "mine/mine.train.inter", "mine/mine.test.inter", "--output", "other"])
    assert read("other/other.train.inter") == read("mine/mine.train.inter")


def test_nothing_is_left_of_parts_when_the_disk_is_full(monkeypatch):
    write_lists("raw")
    original = output.write_file

    def write_but_the_last(file, write):
        def full(opened):
            write(opened)
            if "test" in file:
                raise OSError(28, "No space left on device")

        return original(file, full)

    monkeypatch.setattr(output, "write_file", write_but_the_last)
    assert "mine.test.inter cannot be written: No space left on device" in refusal("raw", "--output", "mine")


@pytest.mark.parametrize("form", ["lists", "pairs in another order", "matrices"])
def test_the_progress_bar_counts_the_bytes_of_all_parts(form, monkeypatch):
    FORMS[form]("raw")
    bars = []

    class Bar(conversion.tqdm):
        def __init__(self, **options):
            super().__init__(**options)
            bars.append(self)

    monkeypatch.setattr(conversion, "tqdm", Bar)
    main(["convert", "raw", "--output", "mine"])
    (bar,) = bars
    assert bar.total == bar.n == sum(map(os.path.getsize, glob.glob("raw/*")))


def test_published_counts_stand_beside_those_of_a_known_data_set(capsys):
    write_lists("raw")
    main(["convert", "raw", "--output", "dataset/gowalla-ngcf"])
    out = capsys.readouterr().out
    assert re.search(r"\|\s+train \|\s+3 \|\s+810,128 \|", out)
    assert re.search(r"\|\s+users \|\s+3 \|\s+29,858 \|", out)
    assert "Other than published: users, items, interactions, train, test (He et al., LightGCN, SIGIR 2020" in out


def test_a_data_set_is_known_by_its_counts_whatever_its_name():
    counts = {"users": 29858, "items": 40981, "interactions": 1027370, "train": 810128, "test": 217242}
    found = find_published_counts("mine", counts)
    assert found is not None and found.title == "Gowalla, split of NGCF and LightGCN"
    assert find_published_counts("mine", {**counts, "items": 40980}) is None
    known = find_published_counts("Gowalla_NGCF", {**counts, "items": 40980})
    assert known is not None and known.counts["items"] == 40981
    whole = find_published_counts("ml-1m", {"users": 6040, "items": 3706, "interactions": 1000209})
    assert whole is not None and whole.title == "MovieLens-1M"


def test_published_parts_add_up_to_the_published_interactions():
    for published in published_counts():
        parts = [published.counts[part] for part in ("train", "valid", "test") if part in published.counts]
        assert not parts or sum(parts) == published.counts["interactions"], published.title
