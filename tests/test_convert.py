"""``sparse-elsa convert``: what it makes of publishers' raw files, and what it says of wrong ones."""

import glob
import gzip
import io
import json
import os
import re
import tarfile
import tracemalloc

import conftest
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset

from recbole_sparse_elsa import output
from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.convert import conversion, convert
from recbole_sparse_elsa.errors import OptionError

CONFIGS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs", "held-out")
HEADER = "user_id:token\titem_id:token\trating:float"
TIMED = f"{HEADER}\ttimestamp:float"


def review_2018(user, item, rating, timestamp):
    return json.dumps(
        {"overall": rating, "verified": True, "reviewerID": user, "asin": item, "reviewText": 'Übel, "so\n so"'}
        | {"unixReviewTime": timestamp}
    )


def review_2023(user, item, rating, timestamp):
    return json.dumps(
        {"rating": rating, "title": "Good", "text": "a\tb", "images": [], "asin": "B00VARIANT", "parent_asin": item}
        | {"user_id": user, "timestamp": timestamp, "helpful_vote": 0, "verified_purchase": True},
        ensure_ascii=False,
    )


# The publishers' forms: the name of a file, its lines, and the .inter file that they make.
FORMS = {
    "movielens csv": (
        "ratings.csv",
        ["userId,movieId,rating,timestamp", "1,307,3.5,1256677221", "2,1,4.0,789652009"],
        [TIMED, "1\t307\t3.5\t1256677221", "2\t1\t4.0\t789652009"],
    ),
    "ml-1m": (
        "ratings.dat",
        ["1::1193::5::978300760", "6040::1::3::956704887"],
        [TIMED, "1\t1193\t5\t978300760", "6040\t1\t3\t956704887"],
    ),
    "ml-10m": ("ratings.dat", ["1::122::4.5::838985046"], [TIMED, "1\t122\t4.5\t838985046"]),
    "goodbooks": (
        "ratings.csv",
        ["user_id,book_id,rating", "1,258,5", "2,4081,4"],
        [HEADER, "1\t258\t5", "2\t4081\t4"],
    ),
    "goodbooks, first edition": ("ratings.csv", ["book_id,user_id,rating", "7,314,5"], [HEADER, "314\t7\t5"]),
    "netflix": (
        "combined_data_1.txt",
        # 2005-09-06 is day 13032 since 1970-01-01.
        ["1:", "1488844,3,2005-09-06", "822109,5,1970-01-02", "13368:", "1488844,4,2005-09-06"],
        [TIMED, "1488844\t1\t3\t1125964800", "822109\t1\t5\t86400", "1488844\t13368\t4\t1125964800"],
    ),
    "amazon 2018 ratings": (
        "Video_Games.csv",
        ["0439381673,A21ROB4YDOZA5P,1.0,1402272000", "B00000I1BJ,A1XO9HQ4VUXBOW,5.0,950400"],
        [TIMED, "A21ROB4YDOZA5P\t0439381673\t1.0\t1402272000", "A1XO9HQ4VUXBOW\tB00000I1BJ\t5.0\t950400"],
    ),
    "amazon 2014 ratings": (
        "ratings_Beauty.csv",
        ["A39HTATAQ9V7YF,0205616461,5.0,1369699200"],
        [TIMED, "A39HTATAQ9V7YF\t0205616461\t5.0\t1369699200"],
    ),
    "amazon 2018 reviews": (
        "Video_Games_5.json",
        [review_2018("A1HP7NVNPFMA4N", "0700026657", 5.0, 1445040000), review_2018("#oc-R11D", "B1", 1, 1)],
        [TIMED, "A1HP7NVNPFMA4N\t0700026657\t5.0\t1445040000", "#oc-R11D\tB1\t1\t1"],
    ),
    "amazon 2023 ratings": (
        "Toys_and_Games.csv",
        ["user_id,parent_asin,rating,timestamp", "AGKASBHYZPGTEPO6LWZPVJWB2BVA,B006GBITXC,3.0,1452647382007"],
        [TIMED, "AGKASBHYZPGTEPO6LWZPVJWB2BVA\tB006GBITXC\t3.0\t1452647382.007"],
    ),
    "amazon 2023 reviews": (
        "All_Beauty.jsonl",
        [
            review_2023("AGKHLEW2SOWHNMFQIJGBECAF7INQ", "B00YQ6X8EO", 5.0, 1588687728923),
            review_2023("A\u00c4", "B2", 2, 10**12),
        ],
        [TIMED, "AGKHLEW2SOWHNMFQIJGBECAF7INQ\tB00YQ6X8EO\t5.0\t1588687728.923", "A\u00c4\tB2\t2\t1000000000.000"],
    ),
}


def write_lines(path, lines, end="\n"):
    folder = os.path.dirname(path)
    os.makedirs(folder or ".", exist_ok=True)
    content = (end.join(lines) + end).encode()
    with gzip.open(path, "wb") if path.endswith(".gz") else open(path, "wb") as file:
        file.write(content)


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def every_file():
    return sorted(path for path in glob.glob("**", recursive=True) if os.path.isfile(path))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_each_publishers_file_becomes_an_inter_file(form, compressed, capsys):
    name, lines, expected = FORMS[form]
    source = f"raw/{name}{'.gz' if compressed else ''}"
    write_lines(source, lines)
    main(["convert", source, "--output", "dataset/mine"])
    assert read("dataset/mine/mine.inter") == "\n".join(expected) + "\n"
    assert every_file() == ["dataset/mine/mine.inter", source]
    rows = [line.split("\t") for line in expected[1:]]
    users, items = ({row[column] for row in rows} for column in (0, 1))
    out = capsys.readouterr().out
    assert re.search(rf"\|\s+mine \|\s+{len(rows)} \|\s+{len(users)} \|\s+{len(items)} \|", out)
    assert out.splitlines()[-1] == "Next: sparse-elsa train --dataset=mine"


def test_line_ends_of_windows_a_byte_order_mark_and_blank_lines_do_no_harm():
    name, lines, expected = FORMS["movielens csv"]
    write_lines(name, [f"\ufeff{lines[0]}", *lines[1:], ""], end="\r\n")
    main(["convert", name, "--output", "mine"])
    assert read("mine/mine.inter") == "\n".join(expected) + "\n"


NETFLIX_FILES = {
    "mv_0000001.txt": ["1:", "30878,4,2005-12-26"],
    "mv_0000002.txt": ["2:", "30878,3,2005-12-26", "7,1,2005-12-26"],
}
NETFLIX_INTER = "\n".join([TIMED, *(f"{row}\t1135555200" for row in ("30878\t1\t4", "30878\t2\t3", "7\t2\t1")), ""])


@pytest.mark.parametrize("source", ["netflix/training_set", "netflix"])
def test_a_folder_of_the_netflix_prize(source):
    for name, lines in NETFLIX_FILES.items():
        write_lines(f"netflix/training_set/{name}", lines)
    write_lines("netflix/movie_titles.txt", ["1,2003,Dinosaur Planet"])
    main(["convert", source, "--output", "dataset/netflix"])
    assert read("dataset/netflix/netflix.inter") == NETFLIX_INTER
    assert read("dataset/netflix/netflix.item").splitlines()[1:] == ["1\tDinosaur Planet\t2003"]


def make_tar(path, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, lines in {"README": ["not read"], **NETFLIX_FILES}.items():
            content = ("\n".join(lines) + "\n").encode()
            member = tarfile.TarInfo(f"training_set/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name, mode", [("training_set.tar", "w"), ("training_set.tar.gz", "w:gz")])
def test_the_tar_archive_of_the_netflix_prize(name, mode):
    make_tar(name, mode)
    main(["convert", name, "--output", "netflix"])
    assert read("netflix/netflix.inter") == NETFLIX_INTER


def test_several_files_are_one_data_set():
    for number, lines in enumerate(NETFLIX_FILES.values(), 1):
        write_lines(f"archive/combined_data_{number}.txt", lines)
    main(["convert", "archive", "--output", "folder"])
    main(["convert", "archive/combined_data_1.txt", "archive/combined_data_2.txt", "--output", "files"])
    assert read("folder/folder.inter") == read("files/files.inter") == NETFLIX_INTER


interactions = st.lists(
    st.tuples(
        st.integers(1, 10**9), st.integers(1, 10**9), st.sampled_from([0.5, 1.0, 3.5, 5.0]), st.integers(0, 10**10 - 1)
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(interactions)
def test_movielens_and_amazon_tell_of_the_same_interactions(working_folder, rows):
    write_lines("a.csv.gz", ["userId,movieId,rating,timestamp", *(",".join(map(str, row)) for row in rows)])
    write_lines("b.dat", ["::".join(map(str, row)) for row in rows])
    write_lines("c.json", [review_2018(str(user), str(item), *others) for user, item, *others in rows])
    for source in ("a.csv.gz", "b.dat", "c.json"):
        main(["convert", source, "--output", source[0], "--overwrite"])
        lines = read(f"{source[0]}/{source[0]}.inter").splitlines()[1:]
        fields = map(str.split, lines)
        assert [(int(user), int(item), float(rating), int(time)) for user, item, rating, time in fields] == rows


def test_recbole_loads_and_trains_on_what_was_written():
    # Every user rates every third item with 5 and the next one with 3.
    rows = [(user, item) for user in range(1, 31) for item in range(1, 31) if (item + user) % 3 < 2]
    lines = [f"{user},{item},{5.0 if (item + user) % 3 == 0 else 3.0},{10**9 + user}" for user, item in rows]
    write_lines("raw/ratings.csv", ["userId,movieId,rating,timestamp", *lines, lines[0]])
    films = [f"{item},Film {item} (1999),Drama" for item in range(1, 31)]
    write_lines("raw/movies.csv", ["movieId,title,genres", *films])
    main(["convert", "raw", "--output", "dataset/films"])
    options = {
        "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id", "movie_title"]},
        "val_interval": {"rating": "[4,inf)"},
        "rm_dup_inter": "first",
    }
    run = conftest.prepare("SparseELSA", "films", **options)
    assert (run.dataset.user_num, run.dataset.item_num, run.dataset.inter_num) == (31, 31, 300)
    first = run.dataset.token2id("item_id", "1")
    title = run.dataset.item_feat["movie_title"][first]
    assert [run.dataset.id2token("movie_title", token) for token in title.tolist()] == ["Film", "1"]
    run.trainer.fit(run.train_data, run.valid_data, saved=False)


GENRES = "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq"
ITEM_FILES = {
    "movielens csv": (
        "movies.csv",
        "movieId,title,genres\n"
        '11,"American President, The (1995)",Comedy|Drama|Romance\n'
        '26,"""Great"" Performances: Cats",(no genres listed)\n',
        f"{GENRES}\n11\tAmerican President, The\t1995\tComedy Drama Romance\n26\tGreat Performances: Cats\t\t\n",
    ),
    "ml-1m": (
        "movies.dat",
        "73::Mis\u00e9rables, Les (1995)::Drama|Musical\n".encode("latin-1"),
        f"{GENRES}\n73\tMis\u00e9rables, Les\t1995\tDrama Musical\n",
    ),
    "goodbooks": (
        "books.csv",
        "book_id,goodreads_book_id,authors,original_publication_year,title,language_code\n"
        '2,3,"J.K. Rowling, Mary GrandPr\u00e9",1997.0,"Harry Potter\t(#1)",eng\n9,5,Anon,,Untitled,\n',
        "item_id:token\ttitle:token_seq\tauthors:token_seq\tpublication_year:token\tlanguage:token\n"
        "2\tHarry Potter (#1)\tJ.K. Rowling, Mary GrandPr\u00e9\t1997\teng\n9\tUntitled\tAnon\t\t\n",
    ),
    "goodbooks, first edition": (
        "books.csv",
        "id,book_id,authors,original_publication_year,title,language_code\n2,3,Anon,-750.0,Odyssey,eng\n",
        "item_id:token\ttitle:token_seq\tauthors:token_seq\tpublication_year:token\tlanguage:token\n"
        "2\tOdyssey\tAnon\t-750\teng\n",
    ),
    "netflix": (
        "movie_titles.txt",
        "1,2003,Dinosaur Planet\n4388,NULL,Ancient Civilizations: Rome, and Pompeii\n",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\n"
        "1\tDinosaur Planet\t2003\n4388\tAncient Civilizations: Rome, and Pompeii\t\n",
    ),
}


@pytest.mark.parametrize("form", ITEM_FILES)
def test_the_publishers_file_of_items_becomes_an_item_file(form, capsys):
    source, lines, _ = FORMS[form]
    name, content, expected = ITEM_FILES[form]
    write_lines(source, lines)
    with open(name, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    main(["convert", source, "--output", "mine"])
    assert read("mine/mine.item") == expected
    written = ", ".join(os.path.join("mine", f"mine.{suffix}") for suffix in ("inter", "item"))
    assert f"Written: {written}\n" in capsys.readouterr().out


MOVIELENS, NETFLIX = FORMS["movielens csv"][1], FORMS["netflix"][1]
REVIEWS = FORMS["amazon 2018 reviews"][1]


@pytest.mark.parametrize(
    "lines, error",
    [
        (["userId,movieId,tag,timestamp", "1,2,good,3"], "line 1: 'userId,movieId,tag,timestamp' begins none of "),
        (["1,2,5,978300760"], "line 1: '1,2,5,978300760' begins none of the files .*item,user,rating,timestamp"),
        ([*MOVIELENS, "1,2,3.5"], "line 4: '1,2,3.5' has 3 fields, but must have 4: userId,movieId,rating,timestamp"),
        ([*MOVIELENS, "1,2,3,4,5"], "line 4: '1,2,3,4,5' has 5 fields, but must have 4"),
        ([*MOVIELENS, "1,2,good,978300760"], "line 4: rating is 'good', but must be a number from 0 to 5"),
        ([*MOVIELENS, "1,2,nan,978300760"], "line 4: rating is 'nan', but must be a number from 0 to 5"),
        ([*MOVIELENS, "1,2,5.5,978300760"], "line 4: rating is '5.5', but must be a number from 0 to 5"),
        ([*MOVIELENS, "1,,5,978300760"], "line 4: movieId is '', but must be a whole number"),
        ([*MOVIELENS, "1,2,5,today"], "line 4: timestamp is 'today', but must be a time in seconds since 1970"),
        ([MOVIELENS[0]], "no interaction follows the first line"),
        (["1::2::5::978300760", "1::2::5"], "line 2: '1::2::5' has 3 fields, but must have 4: UserID::MovieID"),
        (["user_id,book_id,rating", "1,2,-1"], "line 2: rating is '-1', but must be a number from 0 to 5"),
        (["30878,4,2005-12-26"], "line 1: '30878,4,2005-12-26' is a rating before any movie; a line such as 123: must"),
        ([*NETFLIX, "30878,4"], r"line 6: '30878,4' has 2 fields, but must have 3: customer,rating,date \(or a movie"),
        ([*NETFLIX, "30878,four,2005-12-26"], "line 6: rating is 'four', but must be a number from 0 to 5"),
        ([*NETFLIX, "30878,4,2005-12-2"], "line 6: date is '2005-12-2', but must be a date such as 2005-09-06"),
        ([*NETFLIX, "30878,4,2005-02-30"], "line 6: date is '2005-02-30', but must be a date such as 2005-09-06"),
        (["1:", "2:"], "no interaction follows the first line"),
        ([*REVIEWS, '{"overall": 5.0, "reviewerID": "A'], "line 3: not a whole JSON object: '{\"overall\": 5.0, "),
        ([*REVIEWS, '{"overall": 5.0}'], "line 3: must be a JSON object with reviewerID, asin, overall, unix"),
        ([*REVIEWS, "[]"], "line 3: must be a JSON object with reviewerID"),
        ([*REVIEWS, review_2018("A1", "B1", None, 1)], "line 3: overall is 'None', but must be a number from 0 to 5"),
        ([*REVIEWS, review_2018(None, "B1", 5, 1)], "line 3: reviewerID is 'None', but must be an id without spaces"),
        ([*REVIEWS, review_2018("A 1", "B1", 5, 1)], "line 3: reviewerID is 'A 1', but must be an id without spaces"),
        ([review_2023("A1", "B1", 5, 1588687728)], "line 1: timestamp is '1588687728', but must be a time in milli"),
        (["user_id,parent_asin,rating,timestamp", "A,B,5.0,1588687728"], "line 2: timestamp is '1588687728', but must"),
        (["PK\x03\x04" + "x" * 500], r"line 1: 'PK\\x03\\x04x{76}…' begins none"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line_and_what_was_expected(lines, error):
    write_lines("raw/wrong.txt", lines)
    with pytest.raises(SystemExit) as refused:
        main(["convert", "raw/wrong.txt", "--output", "dataset/mine"])
    assert re.match(rf"DatasetError: raw/wrong\.txt(, |: ){error}", refused.value.code), refused.value.code
    assert "\n" not in refused.value.code
    assert every_file() == ["raw/wrong.txt"] and os.listdir() == ["raw"]


def refused_file(name, content):
    with open(name, "wb") as file:
        file.write(content)
    with pytest.raises(SystemExit) as refused:
        main(["convert", name, "--output", "dataset/mine"])
    assert os.listdir() == [name]
    return refused.value.code


def test_files_that_are_not_text_or_empty():
    assert refused_file("a", b"") == "DatasetError: a is empty"
    os.remove("a")
    code = refused_file("a", b"PK\x03\x04\xff\xfe")
    assert code == "DatasetError: a, after line 0: not UTF-8 text; is it an archive to be unpacked first?"


def test_a_last_number_that_may_be_cut_is_refused_and_one_that_cannot_is_not():
    code = refused_file("ratings.csv", b"userId,movieId,rating,timestamp\n1,2,3.5,12566772")
    assert re.match("DatasetError: ratings.csv, line 2: the last line '1,2,3.5,12566772' has no line end, so", code)
    with open("whole.csv", "wb") as file:
        file.write(b"user_id,book_id,rating\n1,258,5")
    main(["convert", "whole.csv", "--output", "mine"])
    assert read("mine/mine.inter") == f"{HEADER}\n1\t258\t5\n"


def many_ratings(n):
    lines = [f"{number % 50},{number % 977},{number % 5 + 1},{10**9 + number}" for number in range(n)]
    return ["userId,movieId,rating,timestamp", *lines]


@pytest.mark.parametrize("damage", ["cut", "checksum", "more at the end"])
def test_a_damaged_gzip_file_is_refused_with_the_place(damage):
    content = bytearray(gzip.compress("\n".join(many_ratings(20_000)).encode()))
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "checksum":
        content[-8] ^= 1
    else:
        content += b"more"
    code = refused_file("ratings.csv.gz", bytes(content))
    found = re.match(r"DatasetError: ratings\.csv\.gz, after line (\d+): the file is truncated or damaged \(.+\)", code)
    assert found and 5_000 < int(found.group(1)) <= 20_001


def test_a_damaged_tar_archive_is_refused():
    make_tar("whole.tar")
    with open("whole.tar", "rb") as file:
        content = file.read()
    os.remove("whole.tar")
    start = content.index(b"2:\n30878")
    # Within the last member, at its start, within its head and before it.
    for place in (start + 3, start, start - 100, start - 512):
        assert re.search("(file|archive) is truncated or damaged", refused_file("training_set.tar", content[:place]))
    wrong = content.replace(b"1:\n308", b"<<<<<<", 1)
    assert "mv_0000001.txt, line 1: '<<<<<<78,4,2005-12-26' begins none" in refused_file("training_set.tar", wrong)
    os.remove("training_set.tar")
    with tarfile.open("empty.tar", "w"):
        pass
    with pytest.raises(SystemExit, match=r"DatasetError: empty.tar holds no mv_\*.txt"):
        main(["convert", "empty.tar", "--output", "mine"])


@pytest.mark.parametrize(
    "name, content, error",
    [
        ("movies.csv", "id,name\n", "line 1: expected the header movieId,title,genres; mend the file, or move it away"),
        ("movies.csv", "movieId,title,genres\n1,Film\n", "line 2: expected movieId,title,genres"),
        ("movies.csv", "movieId,title,genres\n1,A,B\nx,C,D\n", "line 3: expected a whole number as the item's id"),
    ],
)
def test_a_wrong_file_of_items_is_refused_before_the_interactions_are_read(name, content, error):
    write_lines("raw/ratings.csv", MOVIELENS)
    with open(f"raw/{name}", "w") as file:
        file.write(content)
    with pytest.raises(SystemExit, match=f"DatasetError: raw.{name}, {error}"):
        main(["convert", "raw", "--output", "mine"])
    assert os.listdir() == ["raw"]


@pytest.mark.parametrize(
    "arguments, error",
    [
        (["nowhere.csv", "--output", "mine"], "source: nowhere.csv was not found; give a raw file, or the folder"),
        (["empty", "--output", "mine"], "source: folder empty has no ratings.csv, ratings.dat, .*; give the file"),
        (["ratings.csv"], "the following arguments are required: --output"),
        (["ratings.csv", "--output", "ratings.csv"], "output: ratings.csv cannot be made a folder"),
        (["ratings.csv", "--output", "old"], "output: old.old.inter exists already; give another folder, or --over"),
    ],
)
def test_wrong_options_are_refused_in_one_line(arguments, error):
    write_lines("ratings.csv", MOVIELENS)
    write_lines("old/old.inter", ["old"])
    os.mkdir("empty")
    before = every_file()
    with pytest.raises(SystemExit, match=f"(Option|Output)Error: {error}"):
        main(["convert", *arguments])
    assert every_file() == before and sorted(os.listdir()) == ["empty", "old", "ratings.csv"]
    assert read("old/old.inter") == "old\n"


def test_files_of_two_kinds_are_not_one_data_set():
    write_lines("a.csv", MOVIELENS)
    write_lines("b.txt", NETFLIX)
    with pytest.raises(SystemExit, match="DatasetError: a.csv is MovieLens ratings.csv, but b.txt is Netflix Prize"):
        main(["convert", "a.csv", "b.txt", "--output", "mine"])


def test_overwrite_replaces_the_data_set_but_only_once_the_new_one_is_whole():
    write_lines("ratings.csv", MOVIELENS)
    write_lines("wrong.csv", [*MOVIELENS, "1"])
    write_lines("mine/mine.inter", ["old"])
    write_lines("mine/mine.item", ["old items"])
    with pytest.raises(SystemExit, match="wrong.csv, line 4"):
        main(["convert", "wrong.csv", "--output", "mine", "--overwrite"])
    assert (read("mine/mine.inter"), read("mine/mine.item")) == ("old\n", "old items\n")
    main(["convert", "ratings.csv", "--output", "mine", "--overwrite"])
    # Items of the old data set would be taken for those of the new one.
    assert os.listdir("mine") == ["mine.inter"]
    assert read("mine/mine.inter").startswith(TIMED)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_is_left_of_an_interrupted_conversion(interruption, monkeypatch):
    write_lines("ratings.csv", many_ratings(100))

    def write_some(file, write):
        def interrupted(opened):
            assert sorted(os.listdir("dataset/mine"))[0] == ".sparse-elsa.lock"  # and a temporary file
            write(opened)
            raise interruption

        return original(file, interrupted)

    original = output.write_file
    monkeypatch.setattr(output, "write_file", write_some)
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        main(["convert", "ratings.csv", "--output", "dataset/mine"])
    if isinstance(interruption, OSError):
        file = os.path.join("dataset", "mine", "mine.inter")
        assert ended.value.code == f"OutputError: {file} cannot be written: No space left on device"
    assert os.listdir() == ["ratings.csv"]


@pytest.mark.parametrize("names", [["ratings.csv"], ["ratings.csv.gz"], ["a.csv", "b.csv.gz"]])
def test_the_progress_bar_counts_the_bytes_on_the_disk(names, monkeypatch):
    for name in names:
        write_lines(name, many_ratings(100_000))
    bars = []

    class Bar(conversion.tqdm):
        def __init__(self, **options):
            super().__init__(**options)
            self.seen = []
            bars.append(self)

        def update(self, n):
            assert n >= 0
            super().update(n)
            self.seen.append(self.n)

    monkeypatch.setattr(conversion, "tqdm", Bar)
    main(["convert", *names, "--output", "mine"])
    (bar,) = bars
    assert bar.total == bar.n == sum(map(os.path.getsize, names))
    assert any(0 < seen < os.path.getsize(names[0]) for seen in bar.seen)


def test_the_bar_reaches_the_end_of_an_archive(capfd):
    make_tar("training_set.tar")
    main(["convert", "training_set.tar", "--output", "mine"])
    assert "100%" in capfd.readouterr().err


def test_memory_does_not_grow_with_the_file():
    peaks = []
    for n in (10_000, 60_000):
        write_lines("ratings.csv.gz", many_ratings(n))
        tracemalloc.start()
        main(["convert", "ratings.csv.gz", "--output", "mine", "--overwrite"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Held whole, 50,000 lines more would take several MB.
    assert peaks[1] - peaks[0] < 300_000


def test_the_call_returns_what_it_wrote():
    write_lines("ratings.csv", many_ratings(1000))
    written = convert(["ratings.csv"], os.path.join("dataset", "mine"))
    main(["convert", "ratings.csv", "--output", "other"])
    with open(written.inter_file, encoding="utf-8") as file, open("other/other.inter", encoding="utf-8") as other:
        lines = file.read()
        assert lines == other.read()
    rows = [line.split("\t") for line in lines.splitlines()[1:]]
    assert (written.name, written.item_file, written.interactions) == ("mine", None, len(rows))
    assert (written.users, written.items) == (len({row[0] for row in rows}), len({row[1] for row in rows}))
    with pytest.raises(OptionError, match="exists already"):
        convert(["ratings.csv"], os.path.join("dataset", "mine"))


def test_users_beyond_a_bound_are_not_counted(monkeypatch, capsys):
    monkeypatch.setattr(conversion, "MOST_COUNTED", 50)
    write_lines("ratings.csv", many_ratings(1000))
    main(["convert", "ratings.csv", "--output", "mine"])
    assert re.search(r"\|\s+mine \|\s+1,000 \|\s+50 \|\s+over 50 \|", capsys.readouterr().out)


def test_the_next_command_names_the_folder_of_the_data_set(capsys):
    write_lines("ratings.csv", MOVIELENS)
    for folder, options in [("mine/", "--dataset=mine --data_path=."), ("a/b", "--dataset=b --data_path=a")]:
        main(["convert", "ratings.csv", "--output", folder])
        assert capsys.readouterr().out.splitlines()[-1] == f"Next: sparse-elsa train {options}"


TEST_USERS = {
    "goodbooks-10k": 2500,
    "ml-20m": 10000,
    "netflix": 40000,
    "ml-1m": 1000,
    "amazon-video-games": 2000,
    "goodbooks-10k-5pct": 500,
}


def test_every_ready_file_of_held_out_users_is_known_here():
    assert sorted(os.listdir(CONFIGS)) == sorted(f"{name}.yaml" for name in TEST_USERS)


@pytest.mark.parametrize("name", TEST_USERS)
def test_ready_files_of_held_out_users_have_the_papers_protocol(name):
    text = read(os.path.join(CONFIGS, f"{name}.yaml"))
    options = yaml.safe_load(text)
    n_users = TEST_USERS[name]
    assert options["dataset"] == name
    held_out = {"test_users": n_users, "valid_users": n_users, "folds": 5, "hidden": 0.2}
    assert options["eval_args"] == {"split": {"HU": held_out}, "order": "RO", "group_by": "user", "mode": "full"}
    assert (options["metrics"], options["topk"]) == (["CalibratedRecall", "NDCG"], [20, 50, 100])
    assert options["valid_metric"] == "NDCG@100"
    assert f"--config_files=configs/held-out/{name}.yaml" in text
    assert f"--output dataset/{name}\n" in text


@pytest.mark.parametrize("name", TEST_USERS)
def test_ready_files_of_held_out_users_keep_users_with_five_positives(name):
    """The filters of the file alone, as RecBole applies them."""
    options = yaml.safe_load(read(os.path.join(CONFIGS, f"{name}.yaml")))
    # User u has u interactions; the last of each is rated 3.
    rows = [(user, item) for user in range(1, 9) for item in range(user)]
    lines = [f"u{user}\ti{item}\t{3 if item == user - 1 else 4}" for user, item in rows]
    write_lines(f"dataset/{name}/{name}.inter", [HEADER, *lines])
    filters = ("load_col", "val_interval", "user_inter_num_interval")
    config = Config("Pop", name, config_dict={option: options[option] for option in filters if option in options})
    dataset = create_dataset(config)
    kept = sorted(dataset.field2id_token["user_id"][1:])
    assert kept == (["u6", "u7", "u8"] if "val_interval" in options else ["u5", "u6", "u7", "u8"])
