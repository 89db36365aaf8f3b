"""Files and options of any content end in one line, not in a traceback, and use no more memory than they should."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import OptionError, SegmentsFileError, UserError
from recbole_sparse_elsa.index import SparseIndex, export
from recbole_sparse_elsa.leaderboard.read_results import read_results
from recbole_sparse_elsa.leaderboard.specification import read_specification
from recbole_sparse_elsa.leaderboard.tables import in_latex
from recbole_sparse_elsa.runs import run
from recbole_sparse_elsa.search import read_search_space
from recbole_sparse_elsa.segments import Segments, homepage, segment_catalogue


def refused(call, kind=UserError):
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable() and 0 < len(message) < 2000
    return message


@pytest.mark.parametrize(
    "text, said",
    [
        ("models: {A: {model: EASE, options: {1: 2}}}", "models.A.options has the option 1: 2, but options have names"),
        ("models: {A: {model: EASE, sizes: {1: [2]}}}", "has the option 1: [2]"),
        ("models: {A: {model: EASE, sizes: {a.b: [2]}}}", "unknown option a.b"),
        ("options: {1: 2}\nmodels: {A: {model: EASE}}", "options has the option 1: 2"),
        ("models: {A: {model: EASE}}\nbaseline: [A]", "baseline is ['A'], but must be one of the models: A"),
        ("models: {A: {model: EASE}}\nbaseline: {A: 1}", "baseline is {'A': 1}"),
        ("models: {A: {model: EASE}}\nbaseline: 1", "baseline is 1"),
        ("models: " + "[" * 20_000, "nested too deep"),
        ("models: " + "{a: " * 20_000, "nested too deep"),
        ("models: {A: {model: EASE, options: {epochs: " + "9" * 5000 + "}}}", "is not a YAML file"),
        ("models: {A: {model: EASE, options: {epochs: 0x" + "f" * 5000 + "}}}", ""),
        ("models: {A: {model: EASE, options: {epochs: 2020-13-45}}}", "is not a YAML file"),
        ("models: !!map [1]", "is not a YAML file"),
        ("models: &a [*a]", "models is [[...]]"),
        ("models: {\"\\e[2J\": 1}", r"models.\x1b[2J is 1"),
    ],
)
def test_leaderboard_files(text, said, checkerboard):
    with open("board.yaml", "w", encoding="utf-8") as file:
        file.write(f"datasets: [{checkerboard}]\n{text}\n")
    assert said in refused(lambda: read_specification("board.yaml"))


@pytest.mark.parametrize(
    "bound", ["9" * 400, "-" + "9" * 400, "0x" + "f" * 5000, "9" * 5000, "18446744073709551616", ".nan", "[1]"]
)
@pytest.mark.parametrize("kind", ["int", "logint", "uniform"])
def test_search_spaces(bound, kind):
    with open("space.yaml", "w") as file:
        file.write(f"k: {{{kind}: [1, {bound}]}}\n")
    if kind == "uniform" and bound == "18446744073709551616":
        bound = None
    assert "space.yaml" in refused(lambda: read_search_space("space.yaml"))


@pytest.mark.parametrize("text", ["[" * 20_000, "[1]", "a: 2020-13-45", "a: " + "9" * 5000, "\x00"])
def test_config_files(text):
    with open("options.yaml", "w") as file:
        file.write(text)
    assert "options.yaml" in refused(lambda: run("EASE", "checkerboard", config_files=["options.yaml"]))


def an_index(embedding_size=6):
    rows = csr_matrix(np.eye(6, embedding_size) + 0.1)
    return SparseIndex(rows, list("abcdef"))


def test_segments_of_another_width_or_with_lone_surrogates():
    index = an_index()
    segments = segment_catalogue(index.item_embeddings, index.item_tokens, 2, min_size=1)
    assert "of 6 latent dimensions, but the index has 7" in refused(lambda: homepage(an_index(7), segments, ["a"]))
    segments.save("s.json")
    content = json.load(open("s.json"))
    for name, value in (
        ("item_tokens", ["\ud800", *content["item_tokens"][1:]]),
        ("labels", ["\udcff"] * 6),
        ("names", ["\ud83d"] * (2 * len(content["factors_of_leaf"]) - 1)),
        ("leaf_of_item", [2**70] * 6),
        ("prominence", [10**400] * 6),
        ("n_segments", 10**400),
    ):
        json.dump({**content, name: value}, open("s.json", "w"))
        assert "s.json is damaged" in refused(lambda: Segments.load("s.json"), SegmentsFileError)


def review(**changes):
    return json.dumps({"reviewerID": "u", "asin": "B000000000", "overall": 5.0, "unixReviewTime": 1, **changes})


@pytest.mark.parametrize(
    "lines, said",
    [
        ([review(), "[" * 100_000], "line 2: not a whole JSON object"),
        (["[" * 100_000], "begins none of the files"),
        ([review(), review(reviewerID="\ud800")], "line 2: "),
        ([review(), review(overall="9" * 5000)], "line 2: "),
        ([review()[:-1] + ', "x": ' + "9" * 5000 + "}"], "begins none of the files"),
    ],
)
def test_raw_files(lines, said):
    with open("reviews.json", "w") as file:
        file.write("\n".join([*lines, ""]))
    with pytest.raises(SystemExit) as ended:
        main(["convert", "reviews.json", "--output", "mine"])
    assert said in ended.value.code and ended.value.code.isprintable() and not os.path.exists("mine")


def test_a_line_without_end_takes_little_memory():
    script = "import resource, sys; from recbole_sparse_elsa.__main__ import main\n"
    script += "resource.setrlimit(resource.RLIMIT_DATA, 2 * (600 * 2**20,)); main(sys.argv[1:])"
    with gzip.open("ratings.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"userId,movieId,rating,timestamp\n1,1,5.0,1\n")
        for _ in range(200):
            file.write(b"1" * 2**20)
    command = [sys.executable, "-c", script, "convert", "ratings.csv.gz", "--output", "mine"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    said = "DatasetError: ratings.csv.gz, line 3: it is longer than 16,777,216 characters"
    assert ended.stderr.splitlines()[-1] == said


def a_result(**changes):
    row = dict.fromkeys("label model dataset size data_checksum cell python torch numpy scipy pandas".split(), "x")
    row |= {"recbole": "x", "recbole_sparse_elsa": "x", "seed": "1", "phase": "test", "metric": "ndcg@10"}
    row |= {"value": "0.5", "bytes_per_item": "4", "config": "{}", "protocol": "p", "users": "5", **changes}
    with open("results.csv", "w") as file:
        quoted = ('"' + value.replace('"', '""') + '"' for value in row.values())
        file.write(",".join(row) + "\n" + ",".join(quoted) + "\n")


@pytest.mark.parametrize(
    "changes",
    [
        *({column: text} for column in ("seed", "value", "bytes_per_item", "users") for text in ("x", "\x1b[2J")),
        *({"config": text} for text in ("", "[]", "[" * 100_000, '{"eval_args": 1}')),
    ],
)
def test_results_with_text_where_numbers_belong(changes):
    a_result(**changes)
    assert f"in column {list(changes)[0]}, which cannot be read" in refused(lambda: read_results("results.csv"))


@pytest.mark.parametrize(
    "config", ['{"benchmark_filename": "x"}', '{"pruning_schedule": "x", "embedding_size": "wide"}', '{"k": {}}']
)
def test_results_of_other_options_make_tables(config, capsys):
    a_result(config=config)
    main(["tables", "results.csv", "--output", "out"])
    assert os.path.exists("out/tables.tex")


@pytest.mark.parametrize("url", ["nowhere", "http://", "http://[", "a b", "http://x:port", "\x1b"])
def test_an_address_that_is_none(url):
    pytest.importorskip("qdrant_client")

    def fill():
        client = export.open_qdrant(url)
        export.fill_qdrant(an_index(), client, "items")

    refused(fill, OptionError)


PIPED = {
    "index": ["recommend", "pipe", "a"],
    "tokens": ["recommend", "an.index", "a", "--allow", "pipe"],
    "segments": ["homepage", "an.index", "pipe", "--items", "a"],
    "source": ["segments", "pipe", "--output", "s.json"],
    "checkpoint": ["index", "pipe.pth", "--output", "x.index"],
    "board": ["leaderboard", "pipe", "--output", "out"],
    "results": ["tables", "pipe", "--output", "out"],
    "raw": ["convert", "pipe", "--output", "out"],
    "config": ["train", "--config_files=pipe"],
    "resume": ["train", "--resume=pipe"],
}


@pytest.mark.parametrize("arguments", PIPED.values(), ids=PIPED)
def test_an_input_that_is_a_pipe_is_refused(arguments):
    an_index().save("an.index")
    for name in ("pipe", "pipe.pth"):
        os.mkfifo(name)
    command = [sys.executable, "-m", "recbole_sparse_elsa", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "pipe" in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_labels_are_latex_whatever_they_begin_with():
    assert in_latex("[a]") == "{}[a]" and in_latex("*a") == "{}*a"
    assert in_latex("é ± ł – 中 \x1b😀") == r"é $\pm$ ł -- (U+4E2D) (U+001B)(U+1F600)"
    assert in_latex("e\u0301") == "é"
