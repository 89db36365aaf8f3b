"""The paper's baselines, against other implementations and values worked out by hand."""

import importlib.util
import math
import tracemalloc

import numpy as np
import pytest
import torch
from conftest import prepare
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.quick_start import load_data_and_model, run_recbole
from scipy.sparse import csr_matrix, issparse
from test_models import users_of

from recbole_sparse_elsa.core import SparseAutoencoder, bytes_per_item, embedding_size_report
from recbole_sparse_elsa.errors import CheckpointError, OptionError, TrainingError
from recbole_sparse_elsa.model import pruned_ease
from recbole_sparse_elsa.training.checkpoint import read_checkpoint


def fitted(name, dataset, **options):
    run = prepare(name, dataset, **options)
    run.trainer.fit(run.train_data, run.valid_data)
    run.model.eval()
    return run


def scores_of_all(run):
    return run.model.full_sort_predict(users_of(run, range(run.model.n_users))).view(run.model.n_users, -1)


# PrunedEASE


def ease_weights(rows, reg_weight):
    """EASE in double precision by numpy's general inverse (Steck, WWW 2019, equation 8)."""
    inverse = np.linalg.inv(rows.T @ rows + reg_weight * np.eye(rows.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def test_ease_with_all_weights_kept_is_recboles_ease(random_dataset):
    ours = fitted("PrunedEASE", random_dataset, reg_weight=20.0, k=30)
    recboles = fitted("EASE", random_dataset, reg_weight=20.0)
    torch.testing.assert_close(scores_of_all(ours)[:, 1:], scores_of_all(recboles)[:, 1:], rtol=0, atol=1e-5)
    assert ours.trainer.evaluate(ours.test_data) == recboles.trainer.evaluate(recboles.test_data)
    assert ours.model.bytes_per_item() == 4 * 30


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_items=st.integers(2, 12),
    k=st.integers(1, 12),
    dtype=st.sampled_from(["float32", "float64"]),
    block_size=st.sampled_from([1, 20, 2**22]),
)
def test_weights_are_the_largest_of_the_inverse_whatever_the_blocks(seed, n_items, k, dtype, block_size):
    rows = (np.random.default_rng(seed).random((20, n_items)) < 0.4).astype(np.float32)
    expected = ease_weights(rows.astype(np.float64), 2.0)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pruned_ease, "_BLOCK_SIZE", block_size)
        matrix = pruned_ease._regularised_gram_matrix(csr_matrix(rows), 2.0, np.dtype(dtype), show_progress=False)
        pruned_ease._invert_in_place(matrix, 2.0)
        pruned = pruned_ease._pruned_by_row(matrix, k, show_progress=False).toarray()
        of_matrix = pruned_ease._pruned_by_matrix(matrix, k, show_progress=False).toarray()
    kept = of_matrix != 0
    np.testing.assert_allclose(of_matrix[kept], expected[kept], rtol=0, atol=1e-5)
    n_kept = min(k, n_items - 1) * n_items
    largest = np.sort(np.abs(expected).ravel())[::-1][:n_kept]
    np.testing.assert_allclose(np.sort(np.abs(of_matrix).ravel())[::-1][:n_kept], largest, rtol=0, atol=1e-5)
    assert kept.sum() <= n_kept and not of_matrix.diagonal().any()
    for row, all_weights in zip(pruned, expected):
        kept = row != 0
        np.testing.assert_allclose(row[kept], all_weights[kept], rtol=0, atol=1e-5)
        # Which of two equal weights is kept is open; how large the kept ones are is not.
        largest = np.sort(np.abs(all_weights))[::-1][: min(k, n_items - 1)]
        found = np.sort(np.abs(row))[::-1][: min(k, n_items - 1)]
        np.testing.assert_allclose(found, largest, rtol=0, atol=1e-5)
        assert kept.sum() <= k


def test_ease_states_its_memory_before_and_its_size_after(random_dataset, caplog):
    run = prepare("PrunedEASE", random_dataset, k=4, solver_dtype="float64", state="INFO")
    with caplog.at_level("INFO"):
        run.trainer.fit(run.train_data, run.valid_data)
    assert "for a dense 30 x 30 matrix of float64" in caplog.text
    assert "item embeddings: 4 non-zeros per item, 32 bytes per item, 0.2667 of the dense 30 x 30 matrix" in caplog.text
    assert issparse(run.model.item_weights) and run.model.item_weights.nnz == 30 * 4


def test_ease_that_does_not_fit_is_refused_before_the_matrix_is_made(random_dataset, monkeypatch):
    run = prepare("PrunedEASE", random_dataset, k=4)
    monkeypatch.setattr(pruned_ease, "available_memory", lambda: 2**20)
    monkeypatch.setattr(pruned_ease, "_regularised_gram_matrix", lambda *args: pytest.fail("the matrix was made"))
    with pytest.raises(TrainingError, match="does not fit into memory; it needs .* GiB are available") as error:
        run.trainer.fit(run.train_data, run.valid_data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prune_by", ["row", "matrix"])
def test_ease_takes_no_more_memory_than_it_states(prune_by, monkeypatch):
    n_items, k = 600, 300
    monkeypatch.setattr(pruned_ease, "_BLOCK_SIZE", 2**14)
    rows = np.random.default_rng(0).random((n_items, n_items), dtype=np.float32)
    tracemalloc.start()
    try:
        getattr(pruned_ease, f"_pruned_by_{prune_by}")(rows, k, False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    stated = n_items * k * pruned_ease._BYTES_PER_WEIGHT[prune_by] + 2**14 * pruned_ease._BYTES_PER_BLOCK_ENTRY
    assert 0.7 * stated < peak < 1.03 * stated


def test_a_matrix_that_cannot_be_decomposed_is_refused_with_what_helps():
    with pytest.raises(TrainingError, match="reg_weight 1e-09 in float32: use a larger reg_weight, or solver_dtype"):
        pruned_ease._invert_in_place(-np.eye(3, dtype=np.float32), 1e-9)


# UserKNN


def test_neighbours_agree_with_a_naive_loop_for_training_users_and_new_ones(random_dataset):
    run = fitted("UserKNN", random_dataset, k=7)
    training = run.model.interactions.toarray().astype(np.float64)
    histories = training.copy()
    histories[1] = 0
    histories[1, [3, 5, 8, 13, 21]] = 1  # a history that no training user has
    with_padding = np.pad(histories, ((0, 0), (1, 0)))
    run.model.set_histories(csr_matrix(with_padding, dtype=np.float32))
    scores = scores_of_all(run)[:, 1:].numpy()
    for user, history in enumerate(histories):
        similarities = {
            other: history @ row / math.sqrt(history.sum() * row.sum())
            for other, row in enumerate(training)
            if other != user and history @ row > 0
        }
        ranked = sorted(similarities, key=similarities.get, reverse=True)
        if len(ranked) > 7 and math.isclose(similarities[ranked[6]], similarities[ranked[7]], rel_tol=1e-6):
            continue  # either is a nearest neighbour
        expected = sum((similarities[other] * training[other] for other in ranked[:7]), np.zeros(30))
        np.testing.assert_allclose(scores[user], expected, rtol=0, atol=1e-5)


# ImplicitALS


def test_factors_of_a_training_user_are_those_of_their_history(random_dataset):
    """After the last alternation the library's own user factors belong to the item factors before it."""
    from implicit.cpu.als import AlternatingLeastSquares

    options = {"embedding_size": 4, "reg_weight": 1.0, "alpha": 2.0, "iterations": 300}
    run = fitted("ImplicitALS", random_dataset, **options)
    library = AlternatingLeastSquares(4, 1.0, 2.0, iterations=300, random_state=run.config["seed"], num_threads=1)
    library.fit(run.model.interactions, show_progress=False)
    own = library.user_factors @ library.item_factors.T
    np.testing.assert_allclose(scores_of_all(run)[:, 1:].numpy(), own, rtol=0, atol=0.01)


def test_als_without_its_library_says_what_to_install(monkeypatch):
    find_spec = importlib.util.find_spec
    without = lambda name, *args: None if name == "implicit" else find_spec(name, *args)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(OptionError, match=r'run: pip install "recbole_sparse_elsa\[als\]"'):
        run_recbole(model="ImplicitALS", dataset="ml-100k")


# ELSASAE


def autoencoder_with(encoder, decoder):
    autoencoder = SparseAutoencoder(len(encoder), len(decoder), torch.Generator())
    with torch.no_grad():
        autoencoder.encoder.copy_(torch.tensor(encoder))
        autoencoder.decoder.copy_(torch.tensor(decoder))
    return autoencoder


def test_code_and_loss_of_the_autoencoder_by_hand():
    autoencoder = autoencoder_with(
        [[1.0, 0.0, -1.0, 0.1, 0.0], [0.0, 0.5, 0.0, 0.1, 0.2]],
        [[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 1.0]],
    )
    embeddings = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    # Before the choice: (0, .5, 0, .1, .2) and (.6, .4, -.6, .14, .16).
    torch.testing.assert_close(autoencoder.encode(embeddings, 1)[0], torch.tensor([0.0, 0.5, 0.0, 0.0, 0.0]))
    codes = autoencoder.encode(embeddings, 3)
    torch.testing.assert_close(codes[1], torch.tensor([0.6, 0.4, -0.6, 0.0, 0.0]))
    torch.testing.assert_close(autoencoder.decode(codes)[1], torch.tensor([1.2, 0.4]))
    # k = 1: cosines 1 and .6 (of the x axis, from either code). 4k = 4: 1, and that of (1.2, .4 + .16).
    at_4k = (0.6 * 1.2 + 0.8 * 0.56) / math.hypot(1.2, 0.56)
    assert autoencoder.loss(embeddings, 1).item() == pytest.approx((1 - 0.6) / 2 + (1 - at_4k) / 2 / 8)
    # 4k = 8 is more than the five there are: (1.2, .4 + .14 + .16).
    at_5 = (0.6 * 1.2 + 0.8 * 0.7) / math.hypot(1.2, 0.7)
    at_2 = autoencoder.decode(autoencoder.encode(embeddings, 2))[1]
    cosine_at_2 = (0.6 * at_2[0] + 0.8 * at_2[1]).item() / at_2.norm().item()
    assert autoencoder.loss(embeddings, 2).item() == pytest.approx((1 - cosine_at_2) / 2 + (1 - at_5) / 2 / 8)


def test_each_code_may_have_its_own_number_of_nonzeros():
    autoencoder = autoencoder_with(
        [[1.0, 2.0, 3.0, 4.0], [1.0, -1.0, 1.0, -1.0]], [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, -0.6]]
    )
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    nonzeros = torch.tensor([1, 3, 2])
    codes = autoencoder.encode(embeddings, nonzeros)
    assert (codes != 0).sum(dim=1).tolist() == [1, 3, 2]
    for row, count in enumerate(nonzeros.tolist()):
        alone = embeddings[row : row + 1]
        torch.testing.assert_close(codes[row : row + 1], autoencoder.encode(alone, count))
    losses = [autoencoder.loss(embeddings[i : i + 1], count).item() for i, count in enumerate(nonzeros.tolist())]
    assert autoencoder.loss(embeddings, nonzeros).item() == pytest.approx(sum(losses) / 3)


def test_gradient_of_the_autoencoder_reaches_only_the_largest():
    autoencoder = autoencoder_with([[3.0, 0.1, 0.2], [2.0, 0.1, 0.2]], [[1.0, 0.2], [0.3, 1.0], [1.0, 1.0]])
    codes = autoencoder.encode(torch.tensor([[0.6, 0.8]]), 1)
    autoencoder.decode(codes).sum().backward()
    assert (autoencoder.encoder.grad[:, 0] != 0).all() and (autoencoder.encoder.grad[:, 1:] == 0).all()


CODES = {"k": 4, "code_size": 12, "autoencoder_epochs": 40, "autoencoder_batch_size": 16}


def test_the_codes_of_the_best_epoch_are_what_is_validated_and_saved(random_dataset, monkeypatch):
    run = prepare("ELSASAE", random_dataset, **CODES)
    distances, dense = [], []
    fit_autoencoder = run.trainer._fit_autoencoder

    def recording(nonzeros):
        dense.append(run.model.item_embedding().detach())
        best = read_checkpoint(run.trainer.saved_model_file)["state_dict"]["item_embedding.weight"]
        torch.testing.assert_close(dense[0], torch.nn.functional.normalize(best, dim=1))
        autoencoder = fit_autoencoder(nonzeros)
        untrained = run.model.create_autoencoder(torch.Generator().manual_seed(run.config["seed"]))
        distances.extend(part.loss(dense[0], 4).item() for part in (untrained, autoencoder))
        return autoencoder

    monkeypatch.setattr(run.trainer, "_fit_autoencoder", recording)
    _, best_valid_result = run.trainer.fit(run.train_data, run.valid_data)
    assert distances[1] < 0.7 * distances[0]
    assert dense[0].shape == (30, 16)
    codes = run.model.item_embedding()
    assert codes.shape == (30, 12) and ((codes != 0).sum(dim=1) == 4).all()
    assert run.model.item_embedding.is_compact
    assert run.trainer.evaluate(run.valid_data) == best_valid_result
    saved = read_checkpoint(run.trainer.saved_model_file)
    assert saved["state_dict"]["item_embedding.weight"].shape == (30 * 4,)
    assert not saved["optimizer"]["state"]
    assert torch.equal(load_data_and_model(run.trainer.saved_model_file)[1].item_embedding(), codes)


def test_a_run_that_is_killed_while_the_autoencoder_is_fitted_goes_on(random_dataset, monkeypatch):
    whole = fitted("ELSASAE", random_dataset, **CODES)
    killed = prepare("ELSASAE", random_dataset, **CODES)
    with monkeypatch.context() as patch:
        patch.setattr(killed.model, "replace_item_embeddings", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            killed.trainer.fit(killed.train_data, killed.valid_data)
    resumed = prepare("ELSASAE", random_dataset, **CODES, resume=killed.trainer._resume_file)
    resumed.trainer.fit(resumed.train_data, resumed.valid_data)
    assert torch.equal(resumed.model.item_embedding(), whole.model.item_embedding())


# All


def test_size_of_item_embeddings_is_counted_as_in_the_paper():
    assert bytes_per_item(128, 4096) == 1024  # method page, section 3
    assert bytes_per_item(3250, 3250) == 13000
    assert embedding_size_report(2.5, (10, 5)) == (
        "2.5 non-zeros per item, 20 bytes per item, 1 of the dense 10 x 5 matrix (20 bytes per item)"
    )


@pytest.mark.parametrize("name", ["PrunedEASE", "UserKNN", "ImplicitALS"])
def test_a_checkpoint_of_another_model_or_other_data_is_refused_in_one_line(random_dataset, checkerboard, name):
    run, other = (prepare(name, dataset, k=4) for dataset in (random_dataset, checkerboard))
    with pytest.raises(CheckpointError, match="of shape .* was trained on other data") as error:
        run.model.load_other_parameter(other.model.other_parameter())
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=f"holds no {name}"):
        run.model.load_other_parameter(prepare("EASE", checkerboard).model.other_parameter())


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("PrunedEASE", {"k": 0}, "k is 0, but must be a whole number of at least 1"),
        ("PrunedEASE", {"reg_weight": 0}, "reg_weight is 0, but must be a finite number above 0"),
        ("PrunedEASE", {"solver_dtype": "float16"}, "solver_dtype is 'float16', but must be float32 or float64"),
        ("PrunedEASE", {"prune_by": "column"}, "prune_by is 'column', but must be row or matrix"),
        ("PrunedEASE", {"resume": "a.pth"}, "PrunedEASE cannot be resumed, only ELSA, .*, FineTunedELSASAE"),
        ("UserKNN", {"k": 2.5}, "k is 2.5, but must be a whole number of at least 1"),
        ("ImplicitALS", {"embedding_size": 0}, "embedding_size is 0, but must be"),
        ("ImplicitALS", {"reg_weight": 0}, "reg_weight is 0, but must be"),
        ("ImplicitALS", {"alpha": -1}, "alpha is -1, but must be"),
        ("ImplicitALS", {"iterations": 0}, "iterations is 0, but must be"),
        ("ELSASAE", {"k": 513}, r"k is 513, but must lie in \[1, code_size\], and code_size is 512"),
        ("ELSASAE", {"code_size": 0}, "code_size is 0, but must be"),
        ("ELSASAE", {"autoencoder_epochs": 0}, "autoencoder_epochs is 0, but must be"),
        ("ELSASAE", {"autoencoder_batch_size": 0}, "autoencoder_batch_size is 0, but must be"),
        ("ELSASAE", {"autoencoder_learning_rate": 0}, "autoencoder_learning_rate is 0, but must be"),
    ],
)
def test_options_that_are_not_allowed_are_refused_before_any_data_are_loaded(name, options, message, monkeypatch):
    monkeypatch.setattr("recbole.data.dataset.dataset.Dataset.__init__", lambda *args: pytest.fail("data were loaded"))
    with pytest.raises(OptionError, match=message) as error:
        run_recbole(model=name, dataset="ml-100k", config_dict=options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, message", [("PrunedEASE", "number of items, which is 30"), ("UserKNN", "number of users, which is 50")]
)
def test_more_than_there_are_is_refused(random_dataset, name, message):
    with pytest.raises(OptionError, match=f"k is 51, but must be at most the {message}"):
        prepare(name, random_dataset, k=51)
