"""Segments: how a catalogue falls into them, their names, their file, and the command."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from conftest import prepare, write_interactions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.sparse import csr_matrix
from scipy.spatial.distance import squareform
from sklearn.metrics import normalized_mutual_info_score

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.benchmark.segments import agreement, index_of_model
from recbole_sparse_elsa.errors import DatasetError, OptionError, SegmentsFileError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.segments import ItemMetadata, Segments, name_segments, read_item_file, segment_catalogue
from recbole_sparse_elsa.segments.naming import log_odds_z
from recbole_sparse_elsa.segments.segment_catalogue import dominant_factors

# Two items each of the factors +0, +1 and -2, one of -1, and one without a non-zero.
EMBEDDINGS = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.8, 0.0, 0.1],
        [0.0, 0.7, 0.1],
        [0.3, 0.9, 0.0],
        [0.0, 0.1, -0.5],
        [0.0, 0.0, -0.9],
        [0.2, -0.9, 0.0],
        [0.0, 0.0, 0.0],
    ],
    dtype=np.float32,
)
TOKENS = ["a1", "a2", "b1", "b2", "c1", "c2", "small", "cold"]


def catalogue(*arguments, **options):
    return segment_catalogue(csr_matrix(EMBEDDINGS), TOKENS, *arguments, **options)


def members(segments):
    return {frozenset(segment.item_tokens) for segment in segments}


def test_an_item_belongs_to_its_dominant_signed_factor():
    segments = catalogue(min_size=1)
    assert {tuple(segment.factors): set(segment.item_tokens) for segment in segments} == {
        ((0, 1),): {"a1", "a2"},
        ((1, 1),): {"b1", "b2"},
        ((2, -1),): {"c1", "c2"},
        ((1, -1),): {"small"},
    }
    assert segments.left_over == ["cold"]
    assert [segment.size for segment in segments] == [2, 2, 2, 1]
    assert segments.segment_of_item.tolist() == [0, 0, 1, 1, 2, 2, 3, -1]


def test_of_equal_weights_the_first_dimension_is_dominant():
    segments = segment_catalogue(csr_matrix([[0.5, -0.5], [0, 1.0], [0, -2.0]]), ["x", "y", "z"], min_size=1)
    assert members(segments) == {frozenset("x"), frozenset("y"), frozenset("z")}
    assert {segment.factors[0]: segment.item_tokens for segment in segments}[0, 1] == ["x"]


def test_a_small_segment_is_merged_into_the_most_similar_one():
    # It points against b, has nothing in common with c, and a little with a.
    segments = catalogue(min_size=2)
    assert members(segments) == {frozenset({"a1", "a2", "small"}), frozenset({"b1", "b2"}), frozenset({"c1", "c2"})}
    assert segments[0].factors == [(0, 1), (1, -1)]
    half = 2**-0.5
    assert segments.vectors.toarray() == pytest.approx(np.array([[half, -half, 0], [0, 1, 0], [0, 0, -1]]))


def test_or_is_dropped_and_its_items_are_left_over():
    segments = catalogue(min_size=2, small="drop")
    assert members(segments) == {frozenset({"a1", "a2"}), frozenset({"b1", "b2"}), frozenset({"c1", "c2"})}
    assert segments.left_over == ["small", "cold"]


def test_similar_segments_are_merged_first():
    # a and b share b2; c shares little with either.
    tree = catalogue(min_size=2, small="drop")
    assert members(tree.cut(2)) == {frozenset({"a1", "a2", "b1", "b2"}), frozenset({"c1", "c2"})}
    assert members(tree.cut(1)) == {frozenset({"a1", "a2", "b1", "b2", "c1", "c2"})}


def test_a_dimension_with_both_signs_counts_neither_way():
    segments = segment_catalogue(csr_matrix([[1.0, 0], [-1.0, 0], [0.1, 1.0]]), ["x", "y", "z"], 1, min_size=1)
    assert segments[0].factors == [(0, 1), (0, -1), (1, 1)]
    assert segments.vectors.toarray().tolist() == [[0, 1]]


def test_items_are_listed_by_popularity_or_else_by_weight():
    assert catalogue(min_size=1)[0].item_tokens == ["a1", "a2"]  # .9 / .906 and .8 / .806
    by_popularity = catalogue(min_size=1, popularity=[1, 5, 2, 2, 0, 1, 0, 9])
    assert [segment.item_tokens for segment in by_popularity] == [["a2", "a1"], ["b1", "b2"], ["c2", "c1"], ["small"]]


def sparse_matrices():
    shapes = st.tuples(st.integers(1, 40), st.integers(1, 8))
    return st.builds(
        lambda shape, k, seed: (
            np.random.default_rng(seed).normal(size=shape)
            * (np.random.default_rng(seed + 1).random(shape) < k / shape[1])
        ),
        shapes,
        st.integers(1, 4),
        st.integers(0, 10**6),
    )


@settings(deadline=None, max_examples=150)
@given(sparse_matrices(), st.integers(1, 12), st.sampled_from(["merge", "drop"]))
def test_segments_partition_the_catalogue_at_every_cut(matrix, min_size, small):
    tokens = [f"i{place}" for place in range(len(matrix))]
    try:
        tree = segment_catalogue(csr_matrix(matrix), tokens, min_size=min_size, small=small)
    except OptionError as error:
        # Only where there is nothing to make a segment of that size of.
        column = np.abs(matrix).argmax(axis=1)
        dominant = column * 2 + (matrix[np.arange(len(matrix)), column] < 0)
        counts = np.bincount(dominant[np.abs(matrix).max(axis=1) > 0], minlength=1)
        assert (counts.max() if small == "drop" else counts.sum()) < min_size or "no non-zero" in str(error)
        return
    again = segment_catalogue(csr_matrix(matrix), tokens, min_size=min_size, small=small)
    previous = None
    for n_segments in range(1, tree.tree.n_leaves + 1):
        cut = tree.cut(n_segments)
        assert len(cut) == n_segments
        assert all(segment.size >= min_size for segment in cut)
        placed = [token for segment in cut for token in segment.item_tokens]
        assert sorted(placed + cut.left_over) == sorted(tokens)
        assert len({segment.name for segment in cut}) == n_segments
        norms = np.sqrt(cut.vectors.multiply(cut.vectors).sum(axis=1)).A1
        assert all(abs(norm - 1) < 1e-6 or norm == 0 for norm in norms)
        assert members(cut) == members(again.cut(n_segments))
        if previous is not None:  # one segment of the coarser cut falls into two
            assert all(any(set(segment.item_tokens) <= other for other in previous) for segment in cut)
        previous = members(cut)
    if small == "merge":
        assert {tokens.index(token) for token in tree.left_over} == set(np.flatnonzero(~matrix.any(axis=1)))


@settings(deadline=None, max_examples=150)
@given(sparse_matrices(), st.integers(1, 6), st.sampled_from([2, 2.5, 3.0, 5]), st.sampled_from(["merge", "drop"]))
def test_no_merge_makes_a_segment_of_more_than_its_share_at_any_cut(matrix, min_size, max_ratio, small):
    tokens = [f"i{place}" for place in range(len(matrix))]
    try:
        segments = segment_catalogue(csr_matrix(matrix), tokens, min_size=min_size, max_ratio=max_ratio, small=small)
    except OptionError:
        return  # nothing can be had of that size
    n_items = sum(segment.size for segment in segments)
    for n_segments in range(1, segments.tree.n_leaves + 1):
        for segment in segments.cut(n_segments):
            assert len(segment.factors) == 1 or segment.size <= max_ratio * n_items / n_segments + 1e-9


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 60))
def test_without_a_bound_segments_merge_by_wards_criterion(seed, n_leaves):
    # Each item has a latent dimension of its own, and so is a leaf.
    rng = np.random.default_rng(seed)
    matrix = np.eye(n_leaves) + rng.random((n_leaves, n_leaves)) * 0.4 * (rng.random((n_leaves, n_leaves)) < 0.5)
    tokens = [str(place) for place in range(n_leaves)]
    tree = segment_catalogue(csr_matrix(matrix), tokens, min_size=1, max_ratio=np.inf).tree
    rows = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    members = rows / np.linalg.norm(rows, axis=0)
    similarity = (rows @ rows.T + members.T @ members) / 2
    distances = np.sqrt(np.maximum(1 - similarity, 0))
    np.fill_diagonal(distances, 0)
    expected = linkage(squareform(distances, checks=False), "ward")[:, :2].astype(int)
    assert tree.merges == np.sort(expected, axis=1).tolist()


def test_even_segments_of_a_catalogue_that_falls_into_one():
    # All items are alike but for a dimension of their own: merged without a bound, one segment takes nearly all.
    rng = np.random.default_rng(0)
    matrix = np.hstack([np.full((200, 1), 0.9), 2 * np.eye(200)]) + 0.3 * rng.random((200, 201))
    tokens = [str(place) for place in range(200)]
    for max_ratio, largest in ((2, 20), (3, 30)):
        segments = segment_catalogue(csr_matrix(matrix), tokens, 20, min_size=1, max_ratio=max_ratio)
        assert segments[0].size <= largest
    default = segment_catalogue(csr_matrix(matrix), tokens, 20, min_size=1)
    assert members(default) == members(segments)


def test_scale_and_form_of_the_embeddings_do_not_matter():
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(60, 12)) * (rng.random((60, 12)) < 0.4)
    tokens = [str(place) for place in range(60)]
    scaled = csr_matrix(matrix * rng.uniform(0.1, 9, size=(60, 1)))
    segments = segment_catalogue(csr_matrix(matrix), tokens, min_size=4)
    assert members(segments) == members(segment_catalogue(scaled, tokens, min_size=4))
    assert members(segments) == members(segment_catalogue(scaled.tocsc(), tokens, min_size=4))


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"n_segments": 4, "min_size": 2}, "n_segments is 4, but there can be at most 3 segments of at least 2 items"),
        ({"n_segments": 0}, "n_segments is 0, but must be a whole number of at least 1"),
        ({"min_size": 8}, "min_size is 8, but there are only 7 items: give at most 7"),
        ({"min_size": 3, "small": "drop"}, "min_size is 3, but no signed factor is dominant in more than 2 items"),
        ({"min_size": 1.5}, "min_size is 1.5, but must be a whole number"),
        ({"max_ratio": 1.9}, "max_ratio is 1.9, but must be a number of at least 2, or inf for no bound"),
        ({"max_ratio": float("nan")}, "max_ratio is nan, but must be a number of at least 2"),
        ({"max_ratio": True}, "max_ratio is True, but must be a number of at least 2"),
        ({"small": "hide"}, "small is 'hide', but must be merge or drop"),
        ({"popularity": [1, 2], "min_size": 1}, "popularity must be 8 finite numbers"),
    ],
)
def test_what_cannot_be_had_is_said(arguments, error):
    with pytest.raises(OptionError, match=error):
        catalogue(**arguments)


def test_wrong_embeddings_and_tokens_are_refused():
    with pytest.raises(OptionError, match="must be a SciPy sparse matrix"):
        segment_catalogue(EMBEDDINGS, TOKENS)
    with pytest.raises(OptionError, match="must be 8 distinct tokens"):
        segment_catalogue(csr_matrix(EMBEDDINGS), TOKENS[:-1])
    with pytest.raises(OptionError, match="not finite"):
        segment_catalogue(csr_matrix([[np.nan]]), ["a"])
    with pytest.raises(OptionError, match="no non-zero"):
        segment_catalogue(csr_matrix((2, 2)), ["a", "b"], min_size=1)


# Names


def metadata_of(terms, labels=None):
    return ItemMetadata(labels=labels or [f"Title of {token}" for token in TOKENS], terms=terms, fields={})


def test_log_odds_by_hand():
    # 4 of 10 members and 1 of 90 others; the prior: 10 items with 10 * 5.5 / 101 = .5446 of them.
    z = log_odds_z(np.array([4]), 10, np.array([5]), 100)
    prior = 10 * 5.5 / 101
    log_odds_ratio = np.log((4 + prior) / (16 - prior)) - np.log((1 + prior) / (99 - prior))
    variance = 1 / (4 + prior) + 1 / (16 - prior) + 1 / (1 + prior) + 1 / (99 - prior)
    assert z == pytest.approx(log_odds_ratio / np.sqrt(variance))
    # As frequent among the members as elsewhere.
    assert log_odds_z(np.array([10]), 10, np.array([100]), 100) == pytest.approx(0, abs=0.3)


def test_a_segment_is_named_by_what_sets_it_apart():
    n = 30
    matrix = np.kron(np.eye(2), np.ones((n, 1)))
    terms = [["Film", "Horror"], ["film", "horror", "odd"]] * (n // 2) + [["Film", "Love"]] * n
    metadata = ItemMetadata(labels=[f"T{item}" for item in range(2 * n)], terms=terms, fields={})
    segments = name_segments(segment_catalogue(csr_matrix(matrix), map(str, range(2 * n))), metadata)
    assert [segment.name for segment in segments] == ["Horror, odd", "Love"]
    assert segments[0].item_labels[:2] == ["T0", "T1"]
    # The two together are the whole catalogue, which nothing sets apart.
    assert segments.cut(1)[0].name == "T0, T1"
    assert [segment.name for segment in segments.cut(1).cut(2)] == ["Horror, odd", "Love"]


def test_without_terms_a_segment_is_named_by_its_first_items():
    segments = name_segments(catalogue(min_size=2), metadata_of([[]] * 8))
    assert segments[1].name == "Title of b1, Title of b2"
    assert catalogue(min_size=2)[1].name == "b1, b2"


def test_ones_own_naming_function_and_names_that_are_not_distinct():
    seen = []

    def naming(labels, terms):
        seen.append((labels, terms))
        return "row"

    segments = name_segments(catalogue(min_size=2), metadata_of([["Odd", "odd"]] * 8), naming)
    # Those that share a name are told apart by their first items.
    named = ["row: Title of a1", "row: Title of b1", "row: Title of c2"]
    assert [segment.name for segment in segments] == named
    assert [segment.name for segment in segments.cut(1)] == ["row"]
    assert len(seen) == 5  # the three leaves, and the two that they merge to
    assert (["Title of b1", "Title of b2"], []) in seen
    with pytest.raises(OptionError, match="naming must return the name of a segment as text, but returned None"):
        name_segments(catalogue(min_size=2), metadata_of([[]] * 8), lambda labels, terms: None)
    with pytest.raises(OptionError, match="metadata are of 1 items, but there are 8"):
        name_segments(catalogue(min_size=2), ItemMetadata(["x"], [[]], {}))


def test_names_of_segments_with_equal_titles_are_told_apart_all_the_same():
    def names_with(labels):
        metadata = metadata_of([["Odd"]] * 8, labels=labels)
        return [segment.name for segment in name_segments(catalogue(min_size=2), metadata, lambda *_: "row")]

    # The segments list a1, a2, small; b1, b2; c2, c1.
    assert names_with(["T", "A", "T", "B", "C", "T", "x", "x"]) == ["row: T, A", "row: T, B", "row: T, C"]
    assert names_with(["T"] * 8) == ["row: T, T, T", "row: T, T", "row: T, T (2)"]


ITEM_FILE = """item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\tmean:float
2\tThe "Big" Sleep, or: sleep\t1946\tFilm-Noir Children's\t4.1
1\tToy Story\t1995\tAnimation\t4
1\tAgain\t1995\tTwice\t4
4\t\t\t\t
"""


def test_an_item_file_gives_labels_and_terms():
    with open("mine.item", "w", encoding="utf-8") as file:
        file.write(ITEM_FILE)
    metadata = read_item_file("mine.item", ["1", "2", "3", "4"])
    assert metadata.labels == ["Toy Story", 'The "Big" Sleep, or: sleep', "3", "4"]
    assert metadata.terms == [["Toy", "Story", "Animation"], ["Big", "Sleep", "Film-Noir", "Children's"], [], []]
    assert metadata.fields["genre"] == [["Animation"], ["Film-Noir", "Children's"], [], []]
    assert read_item_file("mine.item", ["2"], ["genre"]).terms == [["Film-Noir", "Children's"]]
    with pytest.raises(OptionError, match="field tags is not in item file mine.item, which has movie_title"):
        read_item_file("mine.item", ["2"], ["tags"])


def test_details_tell_when_which_genres_and_who():
    with open("mine.item", "w", encoding="utf-8") as file:
        file.write("item_id:token\ttitle:token_seq\tauthors:token_seq\tpublication_year:float\tgenres:token\n")
        file.write("1\tIt\tStephen King\t1986\tHorror|Thriller|Drama|Clown\n2\tIliad\tHomer\t-720\t\n3\tX\t\t\t\n")
    metadata = read_item_file("mine.item", ["1", "2", "3", "4"])
    assert metadata.details == ["1986 · Horror, Thriller, Drama · Stephen King", "Homer", "", ""]
    with open("mine.item", "w", encoding="utf-8") as file:
        file.write(ITEM_FILE)
    details = ["1995 · Animation", "1946 · Film-Noir, Children's", ""]
    assert read_item_file("mine.item", ["1", "2", "4"]).details == details


@pytest.mark.parametrize(
    "field, values",
    [
        ("language_code:token", ["English", "French"]),
        ("originalLanguage:token", ["English", "French"]),
        ("spoken:token", ["eng", "en-US"]),
        ("spoken:token_seq", ["eng fre", "pt_BR"]),
        ("imdb_id:token", ["tt0114709", "tt0113497"]),
        ("isbn:token", ["043965548X", "B0007"]),
        ("image_url:token", ["http://a.example/a.png", "http://b.example"]),
    ],
)
def test_codes_are_no_terms_unless_they_are_asked_for(field, values):
    with open("mine.item", "w", encoding="utf-8") as file:
        file.write(f"item_id:token\ttitle:token\t{field}\tgenre:token\n")
        file.writelines(f"{place}\tT{place}\t{value}\tpop\n" for place, value in enumerate(values))
        file.write("9\tT9\t\trock\n")
    assert read_item_file("mine.item", ["0", "1", "9"]).terms == [["T0", "pop"], ["T1", "pop"], ["T9", "rock"]]
    name = field.split(":")[0]
    assert all(read_item_file("mine.item", ["0", "1"], [name]).terms)


def test_codes_are_no_titles():
    with open("mine.item", "w", encoding="utf-8") as file:
        file.write("item_id:token\tattribute_ids:token_seq\n1\t274 163\n")
    assert read_item_file("mine.item", ["1"]).labels == ["1"]


def test_wrong_item_files_are_refused():
    with pytest.raises(DatasetError, match="item file nowhere.item cannot be read: No such file"):
        read_item_file("nowhere.item", [])
    for content in (b"title\tgenre\n1\t2\n", b"", b"item_id:token\tx:token\n1\t2\t3\t4\n2\n", b"item_id:token\n\xff\n"):
        with open("wrong.item", "wb") as file:
            file.write(content)
        with pytest.raises(DatasetError, match="item file wrong.item"):
            read_item_file("wrong.item", ["1"])


# The file


def test_a_saved_file_loads_the_same_segments():
    segments = name_segments(catalogue(2, min_size=2), metadata_of([["\u00c4 <b>"]] * 8, ["\u00c4 <b>\u2028"] * 8))
    segments.save("s.json")
    assert os.listdir() == ["s.json"]
    loaded = Segments.load("s.json")
    for ours, theirs in ((segments, loaded), (segments.cut(3), loaded.cut(3))):
        assert [vars(segment).keys() for segment in ours] == [vars(segment).keys() for segment in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert (one.node, one.name, one.factors, one.item_tokens, one.item_labels) == (
                (other.node, other.name, other.factors, other.item_tokens, other.item_labels)
            )
    assert loaded.left_over == ["cold"]
    first = open("s.json", "rb").read()
    loaded.save("s.json")
    assert open("s.json", "rb").read() == first
    with pytest.raises(OptionError, match="^nowhere/s.json cannot be written: No such file"):
        segments.save("nowhere/s.json")


def test_details_are_saved_and_files_without_them_are_read():
    metadata = ItemMetadata(labels=TOKENS, terms=[[]] * 8, fields={}, details=[f"{place} · x" for place in range(8)])
    name_segments(catalogue(min_size=2), metadata).save("s.json")
    assert [Segments.load("s.json").tree.detail(item) for item in (0, 7)] == ["0 · x", "7 · x"]
    content = json.load(open("s.json"))
    del content["details"]
    with open("s.json", "w") as file:
        json.dump(content, file)
    assert Segments.load("s.json").tree.detail(7) == ""
    with open("s.json", "w") as file:
        json.dump({**content, "details": ["x"]}, file)
    with pytest.raises(SegmentsFileError, match="is damaged: details is wrong"):
        Segments.load("s.json")


@pytest.mark.parametrize(
    "content, error",
    [
        (None, "cannot be read: No such file"),
        ("", "is damaged, or no segments file"),
        ("[" * 10**5, "is damaged, or no segments file"),
        ("[1]", "is no segments file; sparse-elsa segments makes one"),
        ({"format_version": 2, "package_version": "9.0"}, "has version 2 of the format, written by .* '9.0'"),
        ({"merges": "absent"}, "is damaged: merges is missing"),
        ({"n_segments": 7}, "is damaged: n_segments is 7, but there can be at most 3"),
        ({"embedding_size": 10**30}, "is damaged: embedding_size is wrong"),
        ({"leaf_of_item": [5] * 8}, "is damaged: leaf_of_item is wrong"),
        ({"merges": [[0, 1], [3, 9]]}, "is damaged: merges is wrong"),
        ({"merges": [[0, 1], [0, 2]]}, "is damaged: merges is wrong"),
        ({"factors_of_leaf": [[0], [2], [99]]}, "is damaged: factors_of_leaf is wrong"),
        ({"item_tokens": ["a"] * 8}, "is damaged: item_tokens are not distinct"),
        ({"prominence": [float("nan")] * 8}, "is damaged: prominence is wrong"),
        ({"names": ["a"]}, "is damaged: names is wrong"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(content, error):
    if content is not None:
        catalogue(min_size=2).save("s.json")
        if isinstance(content, dict):
            content = {**json.load(open("s.json")), **content}
            content = json.dumps({name: value for name, value in content.items() if value != "absent"})
        with open("s.json", "w") as file:
            file.write(content)
    with pytest.raises(SegmentsFileError, match=error):
        Segments.load("s.json")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), lambda children: st.lists(children)
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_with_anything_in_it_loads_right_or_is_refused(data):
    catalogue(min_size=2).save("s.json")
    if data.draw(st.booleans()):
        content = json.load(open("s.json"))
        name = data.draw(st.sampled_from(sorted(content)))
        if isinstance(content[name], list) and data.draw(st.booleans()):
            content[name][data.draw(st.integers(0, len(content[name]) - 1))] = data.draw(JUNK)
        else:
            content[name] = data.draw(JUNK)
        changed = json.dumps(content).encode()
    else:
        changed = bytearray(open("s.json", "rb").read())
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with open("s.json", "wb") as file:
        file.write(changed)
    try:
        loaded = Segments.load("s.json")
    except SegmentsFileError as error:
        assert "\n" not in str(error)
        return
    for n_segments in range(1, loaded.tree.n_leaves + 1):
        cut = loaded.cut(n_segments)
        assert cut.vectors.shape == (n_segments, loaded.tree.embedding_size)
        assert sum(segment.size for segment in cut) + len(cut.left_over) == 8


# The command


def write_genres(path, n_items):
    lines = [f"i{item}\tTitle {item}\t{'Round' if item % 2 else 'Square'}" for item in range(n_items)]
    with open(path, "w") as file:
        file.write("\n".join(["item_id:token\ttitle:token_seq\tgenre:token_seq", *lines]) + "\n")


@pytest.fixture
def checkpoint(checkerboard):
    """A checkpoint of SparseELSA, whose data set has an .item file: a genre of even items, and one of odd."""
    pieces = prepare("SparseELSA", checkerboard, k=2)
    pieces.trainer.fit(pieces.train_data, pieces.valid_data, show_progress=False)
    write_genres("dataset/checkerboard/checkerboard.item", 40)
    return pieces.trainer.saved_model_file


def test_the_command_segments_a_checkpoint(checkpoint, capsys):
    before = set(os.listdir())
    sizes = ["--n_segments", "2", "--min_size", "4"]
    main(["segments", checkpoint, "--output", "s.json", *sizes, "--term_fields", "genre"])
    out = capsys.readouterr().out
    assert "2 segments of 40 items, 0 items left over; the tree can be cut into 1 to " in out
    assert "; the largest of the 2 has 50.0% of the items\n" in out
    assert "Title " in out
    assert set(os.listdir()) == before | {"s.json"}
    segments = Segments.load("s.json")
    # The checkerboard has no user of both kinds.
    assert {(segment.name, len({int(token[1:]) % 2 for token in segment.item_tokens})) for segment in segments} == {
        ("Round", 1),
        ("Square", 1),
    }


def test_the_command_on_an_index_file_without_metadata(capsys):
    SparseIndex(csr_matrix(EMBEDDINGS), TOKENS, popularity=np.arange(8)[::-1].copy()).save("mine.index")
    main(["segments", "mine.index", "--output", "s.json", "--min_size", "2"])
    out = capsys.readouterr().out
    assert out.startswith("No metadata: segments are named by item tokens; give a .item file with --item-file\n")
    assert "1 items left over" in out
    assert Segments.load("s.json")[0].item_tokens == ["a1", "a2", "small"]


@pytest.mark.parametrize(
    "options, error",
    [
        (["nowhere.index"], "IndexFileError: .*nowhere.index"),
        (["nowhere.pth"], "CheckpointError: checkpoint nowhere.pth does not exist"),
        (["mine.index", "--n_segments", "9", "--min_size", "1"], "OptionError: n_segments is 9, but there can be at"),
        (["mine.index", "--n_segments", "0"], "OptionError: n_segments is 0"),
        (["mine.index", "--min_size", "0"], "OptionError: min_size is 0"),
        (["mine.index", "--max_ratio", "1"], "OptionError: max_ratio is 1.0, but must be a number of at least 2"),
        (["mine.index", "--min_size", "1", "--item_file", "nowhere.item"], "DatasetError: item file nowhere.item"),
        (["mine.index", "--min_size", "1", "--term_fields", "genre"], "OptionError: term_fields are given, but"),
        (["mine.index", "--output", "nowhere/s.json"], "OutputError: output: nowhere/s.json cannot be written: No"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(options, error):
    SparseIndex(csr_matrix(EMBEDDINGS), TOKENS).save("mine.index")
    with pytest.raises(SystemExit, match=error):
        main(["segments", "--output", "s.json", *options])
    assert os.listdir() == ["mine.index"]


# The benchmark


def test_agreement_of_segments_with_labels():
    # As scikit-learn's, where each item has one label; an item that is left over does not count.
    segment_of_item, label_of_item = np.array([0, 0, 1, 1, 1, 2, -1]), np.array([0, 1, 1, 1, 0, 2, 2])
    nmi, purity = agreement(segment_of_item, np.eye(3)[label_of_item])
    assert nmi == pytest.approx(normalized_mutual_info_score(segment_of_item[:-1], label_of_item[:-1]))
    assert purity == pytest.approx((1 + 2 + 1) / 6)
    # Half an item for each of two labels.
    assert agreement(np.array([0, 1]), np.array([[0.5, 0.5], [0, 1.0]]))[1] == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize("model", ["SparseELSA", "SparseSLIM"])
def test_the_benchmark_lists_items_by_the_scores_of_the_model(random_dataset, model):
    run = prepare(model, random_dataset, popularity_scale=0.5, k=4)
    run.trainer.fit(run.train_data, run.valid_data)
    dataset = run.train_data.dataset
    index = index_of_model(run.model, dataset)
    for user in range(1, dataset.user_num):
        history = dataset.inter_matrix(form="csr")[user].indices
        expected = run.model.full_sort_predict({"user_id": torch.tensor([user])}).detach()[1:]
        scores = index.scores([dataset.id2token("item_id", item) for item in history])
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


def test_the_benchmark_writes_its_tables(working_folder, capsys):
    # Users like items of one genre only; the benchmark ranks 100 items.
    pairs = [(f"u{user}", f"i{item}") for user in range(60) for item in range(user % 2, 120, 2) if (item + user) % 5]
    write_interactions(working_folder / "dataset", "mine", pairs)
    write_genres("dataset/mine/mine.item", 120)
    tiny = "--test_users 8 --k 16 --elsa_embedding_size 8 --epochs 22 --min_size 4 --kmeans_runs 1"
    main(
        ["benchmark", "segments", "--output", "out", "--dataset", "mine", "--device", "cpu"]
        + ["--n_segments", "2", "--rows", "2", "--items_per_row", "3", *tiny.split()]
    )
    assert sorted(os.listdir("out")) == ["homepages.csv", "segments.csv", "segments.md"]
    out = capsys.readouterr().out
    assert "NMI and purity are against the 2 values of genre, of 120 items that have one" in out
    (ours,) = [line.split("|") for line in out.splitlines() if "segments of SparseELSA" in line]
    assert float(ours[4]) > 0.9  # purity: no user has items of both genres
    assert "shown as" in out and "plain list" in out and "popular rows" in out
    with pytest.raises(SystemExit, match="OptionError: field tags is not in item file"):
        main(["benchmark", "segments", "--output", "out", "--dataset", "mine", "--label_field", "tags"])


def test_of_more_dominant_factors_than_can_be_merged_the_weightiest_stay():
    # Items 0 to 3 have a latent dimension of their own each. Dimension 0 has most weight in all, dimension 1 next.
    rows = csr_matrix(
        [[0.9, 0.2, 0, 0], [0.5, 0.8, 0, 0], [0.4, 0.3, 0.85, 0], [0, 0, 0.3, 0.95]],
    )
    all_factors, all_magnitudes = dominant_factors(rows)
    assert all_factors.tolist() == [0, 2, 4, 6] and all_magnitudes.tolist() == [0.9, 0.8, 0.85, 0.95]
    same, _ = dominant_factors(rows, 4)
    assert same.tolist() == [0, 2, 4, 6]
    factors, magnitudes = dominant_factors(rows, 2)
    # Squares of weights: 1.22, .77, .8125, .9025: dimensions 0 and 3 stay. Item 1 and 2 have weight in 0.
    assert factors.tolist() == [0, 0, 0, 6]
    assert magnitudes.tolist() == [0.9, 0.5, 0.4, 0.95]
    # An item without any of those that stay goes where the items with which it shares factors go: with one factor left,
    # item 3 shares dimension 2 with item 2, which has dimension 0.
    factors, magnitudes = dominant_factors(rows, 1)
    assert factors.tolist() == [0, 0, 0, 0] and magnitudes.tolist() == [0.9, 0.5, 0.4, 0.0]
    alone = csr_matrix([[1.0, 0.0], [0.9, 0.0], [0.0, 0.5]])
    assert dominant_factors(alone, 1)[0].tolist() == [0, 0, -1]


def test_a_catalogue_with_a_latent_dimension_an_item_is_divided(monkeypatch):
    # The function has the name of its module.
    monkeypatch.setattr(sys.modules[segment_catalogue.__module__], "_MOST_FACTORS", 12)
    # Two groups of 40 items; each item has a dimension of its own and two of the first of its group.
    rows = np.eye(80) * 0.9
    for item in range(80):
        for neighbour in (item, item + 1):
            rows[item, item // 40 * 40 + neighbour % 6] += 0.4
    segments = segment_catalogue(csr_matrix(rows), [str(item) for item in range(80)], 2, popularity=np.arange(80))
    groups = [{int(token) // 40 for token in segment.item_tokens} for segment in segments]
    assert sorted(segment.size for segment in segments) == [40, 40] and all(len(group) == 1 for group in groups)
