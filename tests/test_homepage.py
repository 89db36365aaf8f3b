"""Homepages: which rows and items, the page in HTML, and the command."""

import os
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import prepare
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.segments import (
    Homepage,
    HomepageRow,
    ItemMetadata,
    homepage,
    homepage_html,
    name_segments,
    segment_catalogue,
)

# Three segments, of the factors +0 (a), +1 (b) and -2 (c).
EMBEDDINGS = csr_matrix(
    np.array(
        [
            [1.0, 0.0, 0.0],
            [0.8, 0.6, 0.0],
            [0.8, 0.0, -0.6],
            [0.0, 1.0, 0.0],
            [0.6, 0.8, 0.0],
            [0.0, 0.0, -1.0],
            [0.0, 0.6, -0.8],
        ],
        dtype=np.float32,
    )
)
TOKENS = ["a1", "a2", "a3", "b1", "b2", "c1", "c2"]


@pytest.fixture
def index():
    return SparseIndex(EMBEDDINGS, TOKENS)


@pytest.fixture
def segments():
    return segment_catalogue(EMBEDDINGS, TOKENS, min_size=2)


def test_rows_are_the_best_segments_and_hold_their_best_items(index, segments):
    # The user vector of a2 and b1 is (.8, 1.6, 0).
    page = homepage(index, segments, ["a2", "b1"])
    assert [row.items for row in page.rows] == [["b2"], ["a1", "a3"], ["c2"]]
    assert [row.affinity for row in page.rows] == pytest.approx([1.6, 0.8, 0], abs=1e-6)
    # b2: .48 + 1.28; a1: .8; a3: .64; c2: .96; and c1, with 0, is not shown.
    assert [score for row in page.rows for score in row.scores] == pytest.approx([1.76, 0.8, 0.64, 0.96])
    assert [segments[row.segment].name for row in page.rows] == [row.name for row in page.rows]
    assert (page.history, page.unknown_items) == (["a2", "b1"], [])


def test_rows_by_scores_are_the_segments_whose_items_score_most(index, segments):
    # The row of c scores .96, and that of a .8 with one item in it, but 1.44 with two.
    page = homepage(index, segments, ["a2", "b1"], items_per_row=1, rows_by="scores")
    assert [row.items for row in page.rows] == [["b2"], ["c2"], ["a1"]]
    assert [row.affinity for row in page.rows] == pytest.approx([1.6, 0, 0.8], abs=1e-6)
    page = homepage(index, segments, ["a2", "b1"], rows_by="scores")
    assert [row.items for row in page.rows] == [["b2"], ["a1", "a3"], ["c2"]]


def test_only_as_many_rows_and_items_as_are_asked_for(index, segments):
    page = homepage(index, segments, ["a2", "b1"], rows=2, items_per_row=1)
    assert [row.items for row in page.rows] == [["b2"], ["a1"]]


def test_a_segment_of_which_nothing_is_left_makes_no_row(index, segments):
    page = homepage(index, segments, ["b1", "b2", "a2"], rows=2)
    assert [row.items for row in page.rows] == [["a1", "a3"], ["c2"]]
    assert homepage(index, segments, TOKENS).rows == []


def test_unknown_items_are_skipped_and_repeated_ones_count_once(index, segments):
    page = homepage(index, segments, ["nope", "a2", "b1", "a2", "nope"])
    assert page.unknown_items == ["nope"]
    assert page.rows == homepage(index, segments, ["a2", "b1"]).rows


@pytest.mark.parametrize(
    "history, options, error",
    [
        (["nope"], {}, "the index has no item of this history"),
        ([], {}, "the index has no item of this history"),
        ("a1", {}, "history is the text 'a1', but must be a list of item tokens"),
        (["a1"], {"rows": 0}, "rows is 0, but must be a whole number of at least 1"),
        (["a1"], {"items_per_row": 2.0}, "items_per_row is 2.0, but must be a whole number"),
        (["a1"], {"rows_by": "score"}, "rows_by is 'score', but must be one of affinity, scores"),
    ],
)
def test_what_cannot_be_had_is_said(index, segments, history, options, error):
    with pytest.raises(OptionError, match=error):
        homepage(index, segments, history, **options)


def test_segments_of_another_catalogue_are_refused(segments):
    with pytest.raises(OptionError, match="the segments were made from other items than the index has"):
        homepage(SparseIndex(EMBEDDINGS, TOKENS[::-1]), segments, ["a1"])


def naive_homepage(dense, segments, history, rows, items_per_row, rows_by):
    """Lists of places, row by row, in plain Python; dense is the matrix of the item embeddings of norm 1."""
    user = sum(dense[item] for item in history)
    candidates = []
    for place, segment in enumerate(segments):
        direction = np.zeros(dense.shape[1])
        for dimension, sign in segment.factors:
            direction[dimension] += sign
        affinity = direction @ user / max(np.linalg.norm(direction), 1)
        scores = {item: dense[item] @ user for item in segment.items if item not in history}
        best = sorted((item for item in scores if scores[item] > 1e-6), key=lambda item: -scores[item])[:items_per_row]
        if best:
            worth = affinity if rows_by == "affinity" else sum(scores[item] for item in best)
            candidates.append((-worth, place, best))
    return [best for _, _, best in sorted(candidates)[:rows]]


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(1, 8))
def test_a_homepage_is_what_the_definition_says(seed, min_size, rows, items_per_row, n_history):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(40, 8)) * (rng.random((40, 8)) < 0.5)
    matrix[~matrix.any(axis=1), 0] = 1
    dense = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    tokens = [f"i{place}" for place in range(40)]
    index = SparseIndex(csr_matrix(dense), tokens)
    segments = segment_catalogue(index.item_embeddings, tokens, min_size=min_size)
    history = rng.choice(40, size=n_history, replace=False)
    for rows_by in ("affinity", "scores"):
        page = homepage(index, segments, [tokens[item] for item in history], rows, items_per_row, rows_by)
        shown = [item for row in page.rows for item in row.items]
        assert len(set(shown)) == len(shown)
        assert not set(shown) & set(page.history)
        assert all(set(row.items) <= set(segments[row.segment].item_tokens) for row in page.rows)
        expected = naive_homepage(dense, segments, history.tolist(), rows, items_per_row, rows_by)
        assert [row.items for row in page.rows] == [[tokens[item] for item in row] for row in expected]


# The page in HTML


class Texts(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), set(), []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


EVIL = "\"><script>alert('1')</script>&amp;<img src=http://x.example/y onerror=z>"


def test_all_text_of_the_page_is_escaped():
    row = HomepageRow(0, EVIL, 1.0, ["t"], [EVIL], [0.5])
    page = homepage_html(Homepage([row], [EVIL], [EVIL]), title=EVIL)
    parsed = Texts(page)
    assert not parsed.tags & {"script", "img", "link", "iframe"}
    assert not parsed.attributes & {"src", "href", "onerror"}
    assert sum(EVIL in text for text in parsed.texts) == 6  # title, heading, history, unknown items, row, item


def test_the_page_needs_nothing_but_itself(index, segments):
    metadata = ItemMetadata([f"Title of {token}" for token in TOKENS], [[]] * 7, {})
    page = homepage_html(homepage(index, name_segments(segments, metadata), ["a2", "b1"]))
    assert "http" not in page and "url(" not in page and "@import" not in page
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page
    texts = Texts(page).texts
    assert [text for text in texts if text.startswith("Title of ") and "," not in text and "·" not in text] == (
        ["Title of b2", "Title of a1", "Title of a3", "Title of c2"]
    )


def test_the_page_tells_year_and_genre_below_the_title(index, segments):
    details = ["1999 · <Drama>" if token == "b2" else "" for token in TOKENS]
    named = name_segments(segments, ItemMetadata(TOKENS, [[]] * 7, {}, details))
    page = homepage(index, named, ["a2", "b1"])
    assert [row.details for row in page.rows] == [["1999 · <Drama>"], ["", ""], [""]]
    texts = Texts(homepage_html(page)).texts
    assert texts[texts.index("b2") :][:2] == ["b2", "1999 · <Drama>"]


def test_a_page_without_a_row_says_so(index, segments):
    page = homepage_html(homepage(index, segments, TOKENS))
    assert "No segment has an item left that the model scores above 0." in Texts(page).texts


# The command


@pytest.fixture
def files(index, segments):
    index.save("mine.index")
    segments.save("s.json")
    return ["homepage", "mine.index", "s.json"]


def test_the_command_prints_the_rows_and_writes_the_page(files, capsys):
    main([*files, "--items", "a2", "b1", "nope", "--rows", "2", "--output", "page.html"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Skipped, since the index does not have them: nope"
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["b1, b2", "1.600", "1", "b2"]
    assert len(lines) == 6 and lines[-1] == "Written: page.html"
    assert "<h1>Homepage</h1>" in open("page.html").read()
    main([*files, "--items", "a2", "b1", "--items_per_row", "1", "--rows_by", "scores"])
    assert [line.split("|")[4].strip() for line in capsys.readouterr().out.splitlines()[2:]] == ["b2", "c2", "a1"]
    main([*files, "--items", "a2", "b1", "--n_segments", "1"])
    assert capsys.readouterr().out.splitlines()[2].endswith("|  b2; c2; a1 |")


def test_the_command_knows_the_users_of_a_checkpoint(checkerboard, capsys):
    pieces = prepare("SparseELSA", checkerboard, k=2)
    pieces.trainer.fit(pieces.train_data, pieces.valid_data, show_progress=False)
    checkpoint = pieces.trainer.saved_model_file
    main(["segments", checkpoint, "--output", "s.json", "--min_size", "4"])
    main(["homepage", checkpoint, "s.json", "--user", "u3", "--output", "page.html"])
    capsys.readouterr()
    page = open("page.html").read()
    history = {f"i{item}" for item in range(1, 40, 2) if (item // 2 + 1) % 4 != 0}
    texts = Texts(page).texts
    assert "Homepage of user u3" in texts and f"History: {len(history)} items" in texts
    assert set(next(text for text in texts if "·" in text).split(" · ")) == history
    with pytest.raises(SystemExit, match="user is u99, but data set checkerboard does not have such a user"):
        main(["homepage", checkpoint, "s.json", "--user", "u99"])


@pytest.mark.parametrize(
    "options, error",
    [
        (["--items", "nope"], "OptionError: the index has no item of this history"),
        (["--user", "u1"], "OptionError: user is u1, but index file mine.index knows no users"),
        ([], "OptionError: one of the arguments --items --user is required"),
        (["--items", "a1", "--rows", "0"], "OptionError: rows is 0"),
        (["--items", "a1", "--n_segments", "4"], "OptionError: n_segments is 4, but there can be at most 3"),
        (["--items", "a1", "--output", "nowhere/page.html"], "OutputError: output: nowhere/page.html cannot be"),
    ],
)
def test_the_command_says_what_is_wrong(files, options, error):
    with pytest.raises(SystemExit, match=error):
        main([*files, *options])
    assert sorted(os.listdir()) == ["mine.index", "s.json"]


def test_a_file_that_is_no_segments_file_is_refused(files):
    with pytest.raises(SystemExit, match="SegmentsFileError: segments file mine.index is damaged, or no segments file"):
        main(["homepage", "mine.index", "mine.index", "--items", "a1"])
