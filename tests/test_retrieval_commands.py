"""``sparse-elsa index``, ``recommend``, ``export`` and ``benchmark retrieval``, run as a user would."""

import csv
import importlib.util
import os
import re
import sys

import numpy as np
import pytest
from conftest import prepare
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.index.export import VECTOR_NAME, fill_qdrant, recommend_from_qdrant


def index_of(n_items=60, embedding_size=30, k=4, seed=0, **options):
    rng = np.random.default_rng(seed)
    columns = rng.random((n_items, embedding_size)).argsort(axis=1)[:, :k].ravel()
    pointers = np.arange(n_items + 1) * k
    rows = csr_matrix((rng.standard_normal(n_items * k), columns, pointers), shape=(n_items, embedding_size))
    return SparseIndex(rows, [f"item {position}" for position in range(n_items)], **options)


def rows_of(printed):
    """The table of what a command printed, as lists of texts."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if "|" in line]


def error_of(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return str(ended.value)


# index and recommend


def test_from_a_checkpoint_to_a_table(checkerboard, capsys):
    run = prepare("SparseELSA", checkerboard, epochs=30)
    run.trainer.fit(run.train_data, run.valid_data)
    run.trainer.tensorboard.close()
    capsys.readouterr()
    main(["index", run.trainer.saved_model_file, "--output", "an.index", "--encoding", "float16"])
    printed = capsys.readouterr().out
    heading, _, row = rows_of(printed)
    assert dict(zip(heading, row))["items"] == "40" and dict(zip(heading, row))["encoding"] == "float16"
    assert "Next: sparse-elsa recommend an.index" in printed
    index = SparseIndex.load("an.index")
    main(["recommend", "an.index", "i0", "i2", "i99", "--n", "4", "--explain", "--output", "found.csv"])
    printed = capsys.readouterr().out
    assert "Unknown to the model, and skipped: i99" in printed
    expected = index.recommend(["i0", "i2"], 4)
    heading, _, *rows = rows_of(printed)
    assert heading == ["rank", "item", "score", "because of"]
    assert [row[:2] for row in rows] == [[str(rank + 1), item] for rank, item in enumerate(expected.items)]
    np.testing.assert_allclose([float(row[2]) for row in rows], expected.scores, rtol=1e-5)
    assert all(re.fullmatch(r"i[02] \(0\.\d+\)(, i[02] \(0\.\d+\))?", row[3]) for row in rows)
    with open("found.csv", encoding="utf-8", newline="") as file:
        assert [row["item"] for row in csv.DictReader(file)] == expected.items.tolist()


def test_options_of_recommend(capsys):
    index = index_of(popularity=range(60))
    index.save("an.index")
    with open("some.txt", "w", encoding="utf-8") as file:
        file.write("item 3\nitem 4\n\nitem 5\n")

    def items(*options):
        main(["recommend", "an.index", *options])
        return [row[1] for row in rows_of(capsys.readouterr().out)[2:]]

    assert len(items("item 1")) == 10
    assert items("item 1", "--n", "2", "--allow", "some.txt") == index.recommend(
        ["item 1"], 2, allow=["item 3", "item 4", "item 5"]
    ).items.tolist()
    best = index.recommend(["item 1"], 1).items[0]
    with open("some.txt", "w", encoding="utf-8") as file:
        file.write(best)
    assert best not in items("item 1", "--n", "5", "--block", "some.txt")
    kept = items("item 1", "item 2", "--n", "60", "--keep-history")
    assert {"item 1", "item 2"} < set(kept)
    assert items("nowhere", "--n", "2", "--if-unknown", "popular") == ["item 59", "item 58"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["index", "none.pth", "--output", "an.index"], "CheckpointError: checkpoint none.pth does not exist"),
        (["index", "none.pth", "--output", "nowhere/an.index"], "OutputError: output: nowhere/an.index"),
        (["index", "none.pth", "--output", "o", "--encoding", "int2"], "OptionError: argument --encoding"),
        (["recommend", "none.index", "a"], "IndexFileError: index file none.index cannot be read"),
        (["recommend", "an.index", "a"], "OptionError: the index has no item of the history of this user"),
        (["recommend", "an.index", "item 1", "--n", "60"], "OptionError: n is 60, but only 59 items are left"),
        (["recommend", "an.index", "item 1", "--n", "0"], "OptionError: n is 0, but must be a whole number"),
        (["recommend", "an.index", "a", "--if-unknown", "popular"], "OptionError: if_unknown is popular, but this"),
        (["recommend", "an.index", "a", "--allow", "none.txt"], "OptionError: allow: none.txt cannot be read"),
        (["recommend", "an.index", "a", "--output", "no/a.csv"], "OutputError: output: no/a.csv"),
        (["export", "an.index"], "OptionError: output is missing"),
        (["export", "none.index", "--output", "a.parquet"], "IndexFileError: index file none.index"),
        (["export", "an.index", "--to", "qdrant", "--collection", "a"], "OptionError: to is qdrant, which needs"),
        (["export", "an.index", "--to", "qdrant", "--path", "a", "--url", "b"], "OptionError: to is qdrant"),
        (["export", "an.index", "--output", "a", "--batch-size", "0"], "OptionError: batch-size is 0"),
    ],
)
def test_what_a_user_can_mend_is_said_in_one_line(arguments, said):
    index_of().save("an.index")
    error = error_of(*arguments)
    assert error.startswith(said) and "\n" not in error
    assert os.listdir() == ["an.index"]


@pytest.mark.parametrize(
    "module, options, extra",
    [
        ("pyarrow", ["--output", "a"], "parquet"),
        ("qdrant_client", "--to qdrant --path q --collection c".split(), "qdrant"),
    ],
)
def test_a_missing_library_is_named(monkeypatch, module, options, extra):
    index_of().save("an.index")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    assert f'pip install "recbole_sparse_elsa[{extra}]"' in error_of("export", "an.index", *options)


# export


def test_parquet_holds_the_item_embeddings():
    parquet = pytest.importorskip("pyarrow.parquet")
    index = index_of(encoding="float16")
    index.save("an.index")
    main(["export", "an.index", "--output", "items.parquet"])
    table = parquet.read_table("items.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("item", "string"),
        ("indices", "list<element: int32>"),
        ("values", "list<element: float>"),
    ]
    rows = table.to_pylist()
    assert [row["item"] for row in rows] == index.item_tokens.tolist()
    for row, embedding in zip(rows, index.item_embeddings.toarray()):
        assert row["indices"] == sorted(row["indices"])
        rebuilt = np.zeros(index.embedding_size, dtype=np.float32)
        rebuilt[row["indices"]] = row["values"]
        assert (rebuilt == embedding).all()
    assert sorted(os.listdir()) == ["an.index", "items.parquet"]


@pytest.fixture
def qdrant():
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    yield client
    client.close()


def test_qdrant_finds_the_same_100_items_for_every_user(qdrant):
    index = index_of(1000, 200, 16)
    assert fill_qdrant(index, qdrant, "items", batch_size=300) == 1000
    rng = np.random.default_rng(1)
    for _ in range(20):
        history = [*rng.choice(index.item_tokens, 20), "nowhere"]
        expected = index.recommend(history, 100)
        found = recommend_from_qdrant(index, qdrant, "items", history, 100)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
        assert set(found.items) == set(expected.items)
        assert found.unknown_items == ["nowhere"]


class Interrupted(Exception):
    pass


def test_filling_qdrant_goes_on_where_it_was_interrupted(qdrant, monkeypatch):
    index = index_of(100)
    upsert, n_batches = qdrant.upsert, 0

    def failing_upsert(*arguments, **options):
        nonlocal n_batches
        n_batches += 1
        if n_batches == 4:
            raise Interrupted("connection lost")
        return upsert(*arguments, **options)

    monkeypatch.setattr(qdrant, "upsert", failing_upsert)
    with pytest.raises(OptionError, match="cannot fill collection items: connection lost; run again to go on"):
        fill_qdrant(index, qdrant, "items", batch_size=10)
    assert qdrant.count("items").count == 30
    assert fill_qdrant(index, qdrant, "items", batch_size=10) == 70
    assert fill_qdrant(index, qdrant, "items", batch_size=10) == 0


def test_a_collection_of_an_earlier_index_is_replaced(qdrant):
    fill_qdrant(index_of(100, seed=1), qdrant, "items")
    index = index_of(80, seed=2)
    assert fill_qdrant(index, qdrant, "items") == 80
    assert qdrant.count("items").count == 80
    found = recommend_from_qdrant(index, qdrant, "items", ["item 1"], 3)
    assert found.items.tolist() == index.recommend(["item 1"], 3).items.tolist()


def test_a_collection_of_something_else_is_left_alone(qdrant):
    from qdrant_client import models

    size = models.VectorParams(size=2, distance=models.Distance.DOT)
    qdrant.create_collection("photos", vectors_config=size)
    qdrant.upsert("photos", [models.PointStruct(id=1, vector=[1.0, 2.0])])
    with pytest.raises(OptionError, match=f"photos has other vectors than {VECTOR_NAME}"):
        fill_qdrant(index_of(), qdrant, "photos")
    assert qdrant.count("photos").count == 1


def test_the_export_to_a_folder_of_qdrant(capsys):
    pytest.importorskip("qdrant_client")
    index_of().save("an.index")
    command = ["export", "an.index", "--to", "qdrant", "--path", "folder", "--collection", "items"]
    main(command)
    assert "Collection items holds 60 items, of which 60 were sent now" in capsys.readouterr().out
    main(command)
    assert "of which 0 were sent now" in capsys.readouterr().out


def test_a_server_that_is_not_there():
    pytest.importorskip("qdrant_client")
    index_of().save("an.index")
    options = ["--to", "qdrant", "--url", "http://127.0.0.1:1", "--collection", "items"]
    assert error_of("export", "an.index", *options).startswith("OptionError: Qdrant cannot fill collection items")


# benchmark retrieval

TINY = "--items 400 900 --k 4 8 --history 5 10 --embedding_size 64 --dense_size 32 --n 10 --queries 10".split()


def test_benchmark_writes_tables_and_plots(capsys):
    run = prepare("SparseELSA", "ml-100k", embedding_size=32, epochs=7)
    run.trainer.fit(run.train_data, run.valid_data)
    run.trainer.tensorboard.close()
    capsys.readouterr()
    main(["benchmark", "retrieval", "--output", "out", *TINY, "--checkpoint", run.trainer.saved_model_file])
    printed = capsys.readouterr().out
    rows = [row for row in rows_of(printed) if row[3:4] and row[3] in ("index", "dense ELSA", "EASE")]
    shapes = {(row[0], row[1], row[2]) for row in rows}
    assert shapes == {("400", "4", "5"), ("900", "4", "5"), ("400", "8", "5"), ("400", "4", "10")}
    assert all(float(row[4]) <= float(row[5]) for row in rows)
    encodings = [row for row in rows_of(printed) if row[0] in ("float32", "float16", "int8", "int4")]
    assert [row[0] for row in encodings] == ["float32", "float16", "int8", "int4"] and float(encodings[0][2]) == 0
    sizes = [float(row[4]) for row in encodings]
    assert sizes[0] - sizes[1] == pytest.approx(2 * 4, abs=0.2) and sizes[1] - sizes[2] == pytest.approx(4, abs=0.2)
    files = os.listdir("out")
    assert {"retrieval.csv", "retrieval_summary.csv", "retrieval_encodings.csv", "retrieval.md"} <= set(files)
    # The loss is against the model itself, as RecBole evaluates it.
    run.config["topk"], run.config["metrics"] = [100], ["NDCG"]
    run.trainer.evaluator.__init__(run.config)
    run.trainer.eval_collector.__init__(run.config)
    own = run.trainer.evaluate(run.test_data, show_progress=False)["ndcg@100"]
    assert float(encodings[0][1]) == pytest.approx(own, abs=1e-4)
    with open("out/retrieval.csv", encoding="utf-8", newline="") as file:
        queries = [row for row in csv.DictReader(file) if row["method"] == "index"]
    assert len(queries) == 4 * 10 and all(float(row["recall"]) == 1 for row in queries)
    if importlib.util.find_spec("matplotlib"):
        assert {f"retrieval_by_{name}.png" for name in ("items", "k", "history")} <= set(files)


@pytest.mark.parametrize(
    "options, said",
    [
        (["--items", "50"], "OptionError: items is 50, but must be at least n + history, which is 1100"),
        (["--k", "5000"], "OptionError: k is 5000, but must be at most embedding_size"),
        (["--queries", "0"], "OptionError: queries is 0"),
        (["--checkpoint", "none.pth"], "CheckpointError: checkpoint none.pth does not exist"),
    ],
)
def test_benchmark_refuses(options, said):
    assert error_of("benchmark", "retrieval", "--output", "out", *options).startswith(said)


def test_benchmark_refuses_a_model_of_few_items(checkerboard):
    run = prepare("SparseELSA", checkerboard)
    run.trainer._save_checkpoint(0, verbose=False)
    error = error_of("benchmark", "retrieval", "--output", "out", "--checkpoint", run.trainer.saved_model_file)
    assert error.endswith("holds 40 items, but NDCG@100 needs at least 100")


def test_benchmark_without_faiss(monkeypatch, capsys):
    from recbole_sparse_elsa.benchmark import retrieval

    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(retrieval, "encoding_losses", lambda *_: None)
    monkeypatch.setattr(retrieval, "_write", lambda options, rows, encodings, left_out, ran_on: print(left_out))
    main(["benchmark", "retrieval", "--output", "out", *TINY])
    assert "FAISS is not installed and is left out" in capsys.readouterr().out
