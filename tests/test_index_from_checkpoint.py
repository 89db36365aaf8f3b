"""The index of a trained model gives that model's own rankings."""

import numpy as np
import pytest
import torch
from conftest import prepare, write_interactions

from recbole_sparse_elsa.errors import CheckpointError, DatasetError, OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.runs import SavedRun


def trained(model, dataset, **options):
    """A trained model with its data, and its checkpoint."""
    run = prepare(model, dataset, **options)
    run.trainer.fit(run.train_data, run.valid_data)
    run.trainer.tensorboard.close()
    run.checkpoint = run.trainer.saved_model_file
    saved = torch.load(run.checkpoint, weights_only=False)
    run.model.load_state_dict(saved["state_dict"])
    return run


def full_ranking(run, user_ids):
    """The model's own scores of all items but padding, and the tokens of each user's history."""
    scores = run.model.full_sort_predict({"user_id": torch.tensor(user_ids)}).view(len(user_ids), -1)[:, 1:]
    tokens = run.dataset.field2id_token["item_id"][1:]
    histories = run.model.histories
    rows = [histories.item_indices[slice(*histories.row_pointers[user : user + 2])].tolist() for user in user_ids]
    return scores.numpy(), [[str(tokens[item]) for item in row] for row in rows]


def assert_same_ranking(run, index, user_ids, n):
    """Scores to rounding, and the same items wherever rounding cannot change their order."""
    scores, histories = full_ranking(run, user_ids)
    for own, history, found in zip(scores, histories, index.recommend(histories, n)):
        rounding = 1e-6 * max(1, own.max())  # float32 sums in another order
        np.testing.assert_allclose(index.scores(history), own, rtol=0, atol=rounding)
        positions = [index.position(token) for token in history]
        own[positions] = -1
        order = np.argsort(-own, kind="stable")[:n]
        np.testing.assert_allclose(found.scores, own[order], rtol=0, atol=rounding)
        of_found = own[[index.position(item) for item in found.items]]
        np.testing.assert_allclose(of_found, own[order], rtol=0, atol=rounding)
        # Beyond a gap in the scores that rounding cannot bridge, the items before it are the same.
        (gaps,) = np.nonzero(-np.diff(own[order]) > 2 * rounding)
        tokens = index.item_tokens[order]
        for gap in gaps:
            assert set(found.items[: gap + 1]) == set(tokens[: gap + 1])


def test_ranks_as_the_model_does_on_ml_100k():
    run = trained("SparseELSA", "ml-100k", embedding_size=64, k=8, epochs=10, popularity_scale=0.25)
    index = SavedRun(run.checkpoint).index
    assert index.n_items == 1682 and index.embedding_size == 64
    assert (np.diff(index.item_embeddings.indptr) == 8).all()
    assert_same_ranking(run, index, list(range(1, 944)), 100)
    counts = np.bincount(run.train_data.dataset.inter_feat["item_id"].numpy(), minlength=1683)[1:]
    assert index.popularity.tolist() == counts.tolist()


def test_held_out_users(checkerboard):
    options = {
        "eval_args": {"split": {"HU": {"test_users": 8}}},
        "metrics": ["NDCG"],
        "topk": [8],
        "valid_metric": "NDCG@8",
        "epochs": 30,
        "popularity_scale": 0.25,
    }
    run = trained("SparseELSA", checkerboard, **options)
    index = SavedRun(run.checkpoint).index
    assert_same_ranking(run, index, list(range(1, run.model.histories.n_users)), 5)
    assert index.popularity.sum() == len(run.train_data.dataset.inter_feat)
    # A user like the even ones gets even items.
    found = index.recommend(["i0", "i2", "i4", "i6"], 8)
    assert all(int(item[1:]) % 2 == 0 for item in found.items)


def test_elsa_sae(checkerboard):
    run = trained("ELSASAE", checkerboard, k=4, code_size=24, autoencoder_epochs=2)
    index = SavedRun(run.checkpoint).make_index("float32")
    assert index.embedding_size == 24 and np.diff(index.item_embeddings.indptr).max() <= 4
    assert_same_ranking(run, index, list(range(1, 61)), 5)


@pytest.mark.parametrize("model", ["SparseELSA", "SparseSLIM"])
def test_scales_of_items(checkerboard, model):
    run = trained(model, checkerboard, popularity_scale=0.25, k=4)
    index = SavedRun(run.checkpoint).index
    assert index.scales_input == (model == "SparseSLIM")
    assert index.item_scale.tolist() == run.model.item_embedding.item_scale.tolist()
    assert_same_ranking(run, index, list(range(1, 61)), 5)


@pytest.mark.parametrize("model", ["SparseELSA", "SparseSLIM", "ELSASAE", "FineTunedELSASAE"])
def test_an_index_says_which_model_it_is_of_and_how_that_was_made(checkerboard, model):
    options = {} if model.startswith("Sparse") else {"code_size": 24, "autoencoder_epochs": 2}
    options |= {"dense_epochs": 2} if model == "FineTunedELSASAE" else {}
    run = trained(model, checkerboard, k=4, **options)
    SavedRun(run.checkpoint).index.save("an.index")
    assert SparseIndex.load("an.index").made_by == f"{model}: {run.model.recipe_in_words()}"


def test_codes_that_training_went_on_from(checkerboard):
    codes = {"k": 4, "code_size": 24, "autoencoder_epochs": 5, "dense_epochs": 3}
    run = trained("FineTunedELSASAE", checkerboard, **codes, value_dtype="int4")
    index = SavedRun(run.checkpoint).make_index("int4")
    assert index.embedding_size == 24 and index.encoding == "int4"
    # The model rounds for its scores what the index rounds to hold it.
    assert_same_ranking(run, index, list(range(1, 61)), 5)


@pytest.mark.parametrize("encoding", ["float16", "int8", "int4"])
def test_the_encoding_is_the_callers_choice(checkerboard, encoding):
    run = trained("SparseELSA", checkerboard)
    assert SavedRun(run.checkpoint).make_index(encoding).encoding == encoding
    with pytest.raises(OptionError, match="encoding is 'int2'"):
        SavedRun(run.checkpoint).make_index("int2")


@pytest.mark.parametrize("model", ["ELSA", "EASE"])
def test_another_model(checkerboard, model):
    run = prepare(model, checkerboard, epochs=1)
    run.trainer._save_checkpoint(0, verbose=False)
    with pytest.raises(CheckpointError, match=f"holds model {model}, but must hold SparseELSA or SparseSLIM or"):
        SavedRun(run.trainer.saved_model_file).make_index()


def test_elsa_sae_before_its_autoencoder_was_fitted(checkerboard):
    run = prepare("ELSASAE", checkerboard, k=4, code_size=24)
    run.trainer._save_checkpoint(0, verbose=False)
    with pytest.raises(CheckpointError, match="autoencoder was not fitted yet"):
        SavedRun(run.trainer.saved_model_file).make_index()


def test_the_data_set_is_elsewhere_or_another(checkerboard, working_folder):
    run = trained("SparseELSA", checkerboard)
    expected = SavedRun(run.checkpoint).index.item_tokens.tolist()
    (working_folder / "dataset").rename(working_folder / "moved")
    with pytest.raises(DatasetError, match="checkerboard, on which the model was trained, was not found in dataset"):
        SavedRun(run.checkpoint).make_index()
    assert SavedRun(run.checkpoint, data_path="moved").index.item_tokens.tolist() == expected
    write_interactions(working_folder / "other", "checkerboard", [(f"u{i % 9}", f"i{i}") for i in range(39)])
    with pytest.raises(CheckpointError, match="holds 40 items, but data set checkerboard in other/checkerboard has 39"):
        SavedRun(run.checkpoint, data_path="other").make_index()
