"""The retrieval index against a plain dense computation of what it promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array, csr_array, csr_matrix, random_array

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex, sparse_index
from recbole_sparse_elsa.index.posting_lists import PostingLists, best


def naive_scores(index, history):
    """``relu(x Â Âᵀ - x) s`` with dense matrices in float64."""
    dense = index.item_embeddings.toarray().astype(np.float64)
    scales = np.ones(index.n_items) if index.item_scale is None else index.item_scale.astype(np.float64)
    x = np.isin(index.item_tokens, list(history)) / (scales if index.scales_input else 1)
    return np.maximum(x @ dense @ dense.T - x, 0) * scales


def naive_best(scores, n, left_out=()):
    """Positions in the order of falling scores, the earlier first of equal ones."""
    order = [position for position in np.argsort(-scores, kind="stable") if position not in set(left_out)]
    return order[:n]


@pytest.fixture
def small():
    """Four items in two dimensions: two apart, one between them, and one opposite to the first."""
    rows = csr_matrix([[2.0, 0], [0, 0.5], [3, 4], [-1, 0]])
    return SparseIndex(rows, ["east", "north", "between", "west"], popularity=[5, 9, 9, 1])


def test_worked_by_hand(small):
    assert small.n_items == 4 and small.embedding_size == 2
    np.testing.assert_allclose(small.item_embeddings.toarray(), [[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], rtol=1e-6)
    np.testing.assert_allclose(small.user_vector(["east", "north"]), [1, 1])
    np.testing.assert_allclose(small.scores(["east", "north"]), [0, 0, 1.4, 0], atol=1e-6)
    found = small.recommend(["east", "north"], 2)
    assert found.items.tolist() == ["between", "west"] and found.unknown_items == []
    np.testing.assert_allclose(found.scores, [1.4, 0], atol=1e-6)
    similar = small.similar("between", 3)
    assert similar.items.tolist() == ["north", "east", "west"]
    np.testing.assert_allclose(similar.scores, [0.8, 0.6, 0], atol=1e-6)


def test_scales_of_items_by_hand():
    rows = csr_matrix([[2.0, 0], [0, 0.5], [3, 4], [4, 3]])
    tokens = ["east", "north", "between", "more east"]
    index = SparseIndex(rows, tokens, item_scale=[1, 1, 1 / 2, 1 / 4])
    np.testing.assert_allclose(index.scores(["east"]), [0, 0, 0.3, 0.2], atol=1e-4)
    assert index.recommend(["east"], 2).items.tolist() == ["between", "more east"]
    assert index.explain(["east"], "between").history_parts.tolist() == pytest.approx([0.3], abs=1e-4)
    # Similarity is of the embeddings.
    similar = index.similar("east", 2)
    assert similar.items.tolist() == ["more east", "between"]
    np.testing.assert_allclose(similar.scores, [0.8, 0.6], atol=1e-6)
    user_vector = index.user_vector(["east"])
    np.testing.assert_allclose(index.scored_rows() @ user_vector, [1, 0, 0.3, 0.2], atol=1e-4)


def test_items_of_a_history_divided_by_their_scales_by_hand():
    rows = csr_matrix([[2.0, 0], [0, 0.5], [3, 4]])
    index = SparseIndex(rows, ["east", "north", "between"], item_scale=[1, 1 / 4, 1 / 2], scales_input=True)
    # The history is 1 of east and 4 of north; its own part of an item with the scale 1/4 is 4/4.
    np.testing.assert_allclose(index.user_vector(["east", "north"]), [1, 4])
    np.testing.assert_allclose(index.scores(["east", "north"]), [0, 0, (0.6 + 4 * 0.8) / 2], atol=1e-6)
    explained = index.explain(["east", "north"], "between")
    assert explained.history_items.tolist() == ["north", "east"]
    assert explained.history_parts.tolist() == pytest.approx([1.6, 0.3])


@pytest.mark.parametrize("scales", [*([1, scale, 1] for scale in (0, -1, float("nan"), 1e6, 1e-6)), [1, 1], "abc"])
def test_scales_that_are_not_allowed(scales):
    with pytest.raises(OptionError, match="item_scale must be 3 normal numbers of float16 above 0, one for each item"):
        SparseIndex(csr_matrix(np.eye(3)), ["a", "b", "c"], item_scale=scales)


def test_explanation_by_hand(small):
    explained = small.explain(["east", "west", "north", "nowhere"], "between")
    assert explained.history_items.tolist() == ["north", "east", "west"]
    np.testing.assert_allclose(explained.history_parts, [0.8, 0.6, -0.6], atol=1e-6)
    # East and west cancel out in the first dimension.
    assert explained.dimensions.tolist() == [1]
    np.testing.assert_allclose(explained.dimension_parts, [0.8], atol=1e-6)
    assert explained.score == pytest.approx(0.8)
    # As in the model, an item does not count for itself.
    assert small.explain(["east", "between"], "between").history_items.tolist() == ["east"]
    assert small.explain(["between"], "between").score == 0


def test_unknown_items_are_reported_and_skipped(small):
    found = small.recommend(["nowhere", "east", "south", "nowhere"], 1)
    assert found.unknown_items == ["nowhere", "south"] and not found.by_popularity
    assert found.items.tolist() == small.recommend(["east"], 1).items.tolist()


@pytest.mark.parametrize("history", [[], ["nowhere"]])
def test_a_user_without_a_known_item(small, history):
    with pytest.raises(OptionError, match="no item of the history of this user; if_unknown=popular"):
        small.recommend(history, 1)
    found = small.recommend(history, 3, if_unknown="popular", block=["east"])
    assert found.items.tolist() == ["north", "between", "west"] and found.by_popularity
    assert found.scores.tolist() == [9, 9, 1] and found.unknown_items == history
    assert small.scores(history).tolist() == [0, 0, 0, 0]


def test_a_batch(small):
    histories = [["east"], ["nowhere"], ["north", "between"]]
    found = small.recommend(histories, 1, if_unknown="popular")
    assert [of_user.items.tolist() for of_user in found] == [["between"], ["north"], ["east"]]
    assert [of_user.by_popularity for of_user in found] == [False, True, False]
    with pytest.raises(OptionError, match="user 1 of the batch"):
        small.recommend(histories, 1)


def test_allowed_and_blocked_items(small):
    assert small.recommend(["north"], 2, allow=["west", "east", "new"]).items.tolist() == ["east", "west"]
    assert small.recommend(["north"], 2, block=["between", "new"]).items.tolist() == ["east", "west"]
    assert small.recommend(["north"], 1, allow=["east", "west"], block=["east"]).items.tolist() == ["west"]
    # An item of the history stays masked when it is allowed.
    assert small.recommend(["east"], 1, allow=["east", "west"]).items.tolist() == ["west"]
    assert small.recommend(["east"], 1, allow=["east"], mask_history=False).items.tolist() == ["east"]


@pytest.mark.parametrize(
    "arguments, options, said",
    [
        ((["east"], 4), {}, "n is 4, but only 3 items are left to recommend to this user"),
        ((["east"], 1), {"allow": ["new"]}, "n is 1, but only 0 items are left"),
        (([["east"], ["east", "west"]], 3), {}, "only 2 items are left to recommend to user 1 of the batch"),
        ((["east"], 0), {}, "n is 0, but must be a whole number of at least 1"),
        ((["east"], 1.0), {}, "n is 1.0, but must be a whole number"),
        (("east", 1), {}, "history is the text 'east', but must be a list of item tokens"),
        (([1, 2], 1), {}, "history is 1, but must be a list of item tokens"),
        ((["east", 2], 1), {}, "history must hold item tokens, which are str"),
        ((["east"], 1), {"allow": "east"}, "allow is the text 'east'"),
        ((["east"], 1), {"if_unknown": "guess"}, "if_unknown is 'guess', but must be error or popular"),
    ],
)
def test_what_cannot_be_recommended(small, arguments, options, said):
    with pytest.raises(OptionError, match=said):
        small.recommend(*arguments, **options)


def test_items_that_the_index_does_not_have(small):
    for ask in (lambda: small.similar("south", 1), lambda: small.explain(["east"], "south")):
        with pytest.raises(OptionError, match="does not have item 'south'"):
            ask()
    with pytest.raises(OptionError, match="no item of this history"):
        small.explain(["nowhere"], "east")
    assert "east" in small and "south" not in small and small.position("west") == 3


def test_popularity_may_be_whole_numbers_as_floats():
    index = SparseIndex(csr_matrix(np.eye(2)), ["a", "b"], popularity=np.array([1.0, 2.0**53]))
    assert index.popularity.dtype == np.int64 and index.popularity.tolist() == [1, 2**53]


def test_popular_items_need_their_popularity():
    index = SparseIndex(csr_matrix(np.eye(2)), ["a", "b"])
    with pytest.raises(OptionError, match="made without the popularity"):
        index.recommend(["c"], 1, if_unknown="popular")


@pytest.mark.parametrize(
    "rows, options, said",
    [
        (np.eye(2), {}, "must be a SciPy sparse matrix"),
        (csr_matrix(np.eye(2) * 1j), {}, "complex128, but must be real numbers"),
        (csr_matrix([[1.0, 0], [np.nan, 1]]), {}, "not finite"),
        (csr_matrix([[1.0, 0], [np.inf, 1]]), {}, "not finite"),
        (csr_matrix((0, 3)), {"item_tokens": []}, "at least one item"),
        (csr_matrix((2, 2**20 + 1)), {}, "1048577 latent dimensions, but an index holds at most 1048576"),
        (csr_matrix(np.eye(3)), {}, "2 item_tokens for 3 rows"),
        (csr_matrix(np.eye(2)), {"item_tokens": ["a", "a"]}, "distinct, but 'a' occurs twice"),
        (csr_matrix(np.eye(2)), {"item_tokens": [1, 2]}, "item_tokens must be str"),
        (
            csr_matrix(np.eye(2)),
            {"encoding": "float8"},
            "encoding is 'float8', but must be float32, float16, int8, int4",
        ),
        (csr_matrix(np.eye(2)), {"popularity": [1, -1]}, "popularity must be 2 whole numbers of at least 0"),
        (csr_matrix(np.eye(2)), {"popularity": [1.5, 1]}, "popularity must be"),
        (csr_matrix(np.eye(2)), {"popularity": [float("nan"), 1]}, "popularity must be"),
        (csr_matrix(np.eye(2)), {"popularity": [1e30, 1]}, "popularity must be"),
        (csr_matrix(np.eye(2)), {"popularity": np.array([2**64 - 1, 1], dtype=np.uint64)}, "popularity must be"),
        (csr_matrix(np.eye(2)), {"popularity": [1, 2, 3]}, "popularity must be"),
    ],
)
def test_what_is_no_index(rows, options, said):
    with pytest.raises(OptionError, match=said):
        SparseIndex(rows, **{"item_tokens": ["a", "b"], **options})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("form", [csr_matrix, csr_array, csc_array])
def test_any_sparse_matrix_will_do_and_stays_as_it_is(dtype, form):
    dense = np.array([[0, 3, 0], [4, 0, -3], [0, 0, 0]], dtype=dtype)
    rows = form(dense)
    index = SparseIndex(rows, np.array(["a", "b", "c"]))
    np.testing.assert_allclose(index.item_embeddings.toarray(), [[0, 1, 0], [0.8, 0, -0.6], [0, 0, 0]], rtol=1e-6)
    assert (rows.toarray() == dense).all() and index.n_nonzeros == 3
    assert index.scores(["b"]).tolist() == [0, 0, 0]


def test_entries_that_occur_twice_are_added_and_zeros_dropped():
    rows = csr_matrix(([1.0, 2.0, 4.0, 0.0], [1, 1, 0, 2], [0, 4]), shape=(1, 3))
    index = SparseIndex(rows, ["a"])
    np.testing.assert_allclose(index.item_embeddings.toarray(), [[0.8, 0.6, 0]], rtol=1e-6)
    assert index.n_nonzeros == 2


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-300, 1e300])
def test_rows_of_any_length(scale):
    index = SparseIndex(csr_matrix(np.array([[3.0, 4.0]]) * scale), ["a"], encoding="float16")
    np.testing.assert_allclose(index.item_embeddings.toarray(), [[0.6, 0.8]], rtol=1e-3)


def test_float32_rows_of_norm_1_keep_their_very_values():
    rows = random_array((50, 40), density=0.2, rng=np.random.default_rng(0), format="csr").astype(np.float32)
    first = SparseIndex(rows, [str(position) for position in range(50)])
    second = SparseIndex(first.item_embeddings, first.item_tokens)
    assert (first.item_embeddings != second.item_embeddings).nnz == 0


@pytest.mark.parametrize("encoding, most", [("float16", 2**-11), ("int8", 0.6 / 127), ("int4", 0.6 / 7)])
def test_encodings_round(encoding, most):
    rows = random_array((200, 70_000), density=14 / 70_000, rng=np.random.default_rng(0), format="csr")
    tokens = [str(position) for position in range(200)]
    exact = SparseIndex(rows, tokens).item_embeddings
    encoded = SparseIndex(rows, tokens, encoding=encoding)
    assert encoded.encoding == encoding and encoded.item_embeddings.dtype == np.float32
    assert abs(exact - encoded.item_embeddings).max() < 1.5 * most
    norms = np.sqrt(encoded.item_embeddings.power(2).sum(axis=1))
    np.testing.assert_allclose(norms[np.diff(exact.indptr) > 0], 1, rtol=1e-6)


# Against the naive computation


def item_embeddings(n_items, embedding_size, n_nonzeros, rng):
    """Rows with up to ``n_nonzeros`` non-zeros, in dimensions of which the first are much more frequent."""
    rows = np.repeat(np.arange(n_items), n_nonzeros)
    columns = (embedding_size * rng.random(len(rows)) ** 3).astype(int)
    return csr_matrix((rng.standard_normal(len(rows)), (rows, columns)), shape=(n_items, embedding_size))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_recommends_what_dense_matrices_give(data):
    n_items = data.draw(st.integers(2, 40), "n_items")
    rng = np.random.default_rng(data.draw(st.integers(0, 999), "seed"))
    rows = item_embeddings(n_items, data.draw(st.sampled_from([2, 9, 30])), data.draw(st.integers(1, 5)), rng)
    tokens = [f"i{position}" for position in range(n_items)]
    scales = data.draw(st.sampled_from([None, rng.uniform(0.2, 1, n_items)]), "item_scale")
    encoding = data.draw(st.sampled_from(["float32", "float16", "int8", "int4"]))
    index = SparseIndex(rows, tokens, encoding=encoding, item_scale=scales, scales_input=data.draw(st.booleans()))
    some = st.lists(st.sampled_from(tokens), max_size=n_items)
    history = data.draw(st.lists(st.sampled_from(tokens), min_size=1, max_size=n_items), "history")
    mask_history = data.draw(st.booleans())
    allow, block = data.draw(st.none() | some, "allow"), data.draw(st.none() | some, "block")
    left_out = {
        position
        for position, token in enumerate(tokens)
        if (mask_history and token in history)
        or (allow is not None and token not in allow)
        or (block is not None and token in block)
    }
    if len(left_out) == n_items:
        return
    n = data.draw(st.integers(1, n_items - len(left_out)), "n")
    scores = index.scores(history)
    np.testing.assert_allclose(scores, naive_scores(index, history), rtol=1e-7, atol=1e-5)
    found = index.recommend(history, n, mask_history=mask_history, allow=allow, block=block)
    expected = naive_best(scores, n, left_out)
    assert found.items.tolist() == [tokens[position] for position in expected]
    assert found.scores.tolist() == scores[expected].tolist()
    for item in found.items[:3]:
        explained = index.explain(history, item)
        assert explained.score == pytest.approx(scores[tokens.index(item)], abs=1e-5)
        for parts in (explained.history_parts, explained.dimension_parts):
            assert max(parts.sum(), 0) == pytest.approx(explained.score, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.sampled_from([1, 5, 20]),
    n_nonzeros=st.integers(1, 8),
    mask_history=st.booleans(),
    spread=st.sampled_from([None, 0, 0.5, 3]),
    scales_input=st.booleans(),
)
def test_posting_lists_give_what_scoring_every_item_gives(
    seed, n, n_nonzeros, mask_history, spread, scales_input
):
    rng = np.random.default_rng(seed)
    rows, names = item_embeddings(3000, 500, n_nonzeros, rng), [str(position) for position in range(3000)]
    scales = None if spread is None else np.exp(rng.normal(0, spread, 3000)).clip(1e-4, 6e4)
    index = SparseIndex(rows, names, item_scale=scales, scales_input=scales_input)
    history = rng.choice(index.item_tokens, rng.integers(1, 30))
    expected = index.recommend(history, n, mask_history=mask_history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_index, "_MANY_ITEMS", 0)
        found = index.recommend(history, n, mask_history=mask_history)
    assert found.items.tolist() == expected.items.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


def test_posting_lists_with_rows_and_users_without_a_non_zero(monkeypatch):
    monkeypatch.setattr(sparse_index, "_MANY_ITEMS", 0)
    for rows in (csr_matrix([[0.0, 0], [0, 0], [3, 4], [0, 1]]), csr_matrix((4, 2))):
        index = SparseIndex(rows, ["a", "b", "c", "d"])
        found = index.recommend(["a", "b"], 2)
        assert found.items.tolist() == ["c", "d"] and found.scores.tolist() == [0, 0]


def test_posting_lists_leave_few_items_to_score():
    """The test above would also pass if they never found anything."""
    rng = np.random.default_rng(0)
    index = SparseIndex(item_embeddings(20_000, 1000, 8, rng), [str(position) for position in range(20_000)])
    lists, nothing, n_few = PostingLists(index.item_embeddings), np.empty(0, dtype=np.int64), 0
    for _ in range(20):
        user_vector = index.user_vector(rng.choice(index.item_tokens, 20))
        candidates = lists.candidates(user_vector, 10, nothing, nothing)
        if candidates is not None:
            n_few += 1
            assert set(best(index.item_embeddings @ user_vector, 10)) <= set(candidates.tolist())
            assert len(candidates) <= 2000
    assert n_few >= 15


@settings(max_examples=200, deadline=None)
@given(scores=st.lists(st.integers(-3, 3), min_size=1, max_size=200), data=st.data())
def test_best_of_scores_with_ties(scores, data):
    scores = np.array(scores, dtype=np.float32)
    n = data.draw(st.integers(1, len(scores)))
    assert best(scores, n).tolist() == np.argsort(-scores, kind="stable")[:n].tolist()
