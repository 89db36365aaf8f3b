"""What is faster, and gives the same."""

import logging
import types

import numpy as np
import pytest
import torch
from conftest import make_config, prepare, write_interactions
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import SLIMElastic, slimelastic
from sklearn.linear_model import ElasticNet

from recbole_sparse_elsa.machine import memory
from recbole_sparse_elsa.plugin import speed

pytestmark = pytest.mark.usefixtures("root_logger")


def slim_objective(interactions, weights, alpha, l1_ratio):
    """What SLIMElastic minimises for each item, as scikit-learn documents it."""
    errors = ((interactions - interactions @ weights) ** 2).sum(axis=0) / (2 * len(interactions))
    penalty = l1_ratio * abs(weights).sum(axis=0) + (1 - l1_ratio) / 2 * (weights**2).sum(axis=0)
    return errors + alpha * penalty


@pytest.mark.parametrize("alpha, l1_ratio", [(0.05, 0.01), (0.05, 0.5), (1.0, 0.9)])
def test_slim_finds_what_it_would_on_the_whole_catalogue(working_folder, monkeypatch, alpha, l1_ratio):
    generator = np.random.default_rng(0)
    # Items 15 to 29 share no user with the others.
    places = [(user, item) for user in range(60) for item in range(15) if generator.random() < 1 / (1 + item)]
    pairs = [(user, item + 15 * (user % 2)) for user, item in places]
    write_interactions(working_folder / "dataset", "long-tail", pairs)
    run = prepare("SLIMElastic", "long-tail", alpha=alpha, l1_ratio=l1_ratio)
    model = run.trainer.model
    widest = 0

    class WatchedElasticNet(ElasticNet):
        def fit(self, X, y):
            nonlocal widest
            widest = max(widest, X.shape[1])
            return super().fit(X, y)

    monkeypatch.setattr(slimelastic, "ElasticNet", WatchedElasticNet)
    SLIMElastic(run.config, run.train_data.dataset)
    assert widest < 15
    unrepaired = SLIMElastic.__new__(SLIMElastic)
    SLIMElastic.__init__.__wrapped__(unrepaired, run.config, run.train_data.dataset)
    assert widest == run.dataset.item_num
    interactions = model.interaction_matrix.toarray().astype(float)
    weights, expected = (slim.item_similarity.toarray() for slim in (model, unrepaired))
    assert weights == pytest.approx(expected, abs=0.02)
    assert slim_objective(interactions, weights, alpha, l1_ratio) == pytest.approx(
        slim_objective(interactions, expected, alpha, l1_ratio), abs=1e-4
    )
    assert (weights.diagonal() == 0).all() and (alpha == 1.0) == (not weights.any())
    interaction = Interaction({"user_id": torch.arange(1, 5), "item_id": torch.arange(3, 7)})
    for method in ("predict", "full_sort_predict"):
        assert torch.allclose(
            getattr(model, method)(interaction).double(), getattr(unrepaired, method)(interaction).double(), atol=0.1
        )


@pytest.mark.parametrize("option", ["positive_only", "hide_item"])
def test_slim_with_negative_weights_or_the_item_itself_is_recbole_s(checkerboard, monkeypatch, option):
    monkeypatch.setattr(speed, "_slim_weights", lambda *_: pytest.fail("items were left out"))
    assert prepare("SLIMElastic", "checkerboard", **{option: False}).trainer.model.item_similarity.shape[0] > 1


@given(st.integers(1, 10**6), st.integers(1, 10**8))
@settings(deadline=None)
def test_users_per_batch(n_users, n_items):
    users = speed._users_per_batch(n_users, n_items, torch.device("cpu"))
    assert 1 <= users <= n_users
    assert users == 1 or users * n_items <= 2**24


def test_users_per_batch_follow_the_memory(monkeypatch):
    free = types.SimpleNamespace(available=8 * 24 * 1000)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    assert speed._users_per_batch(500, 10, torch.device("cpu")) == 100
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 24 * 70, 8 * 24 * 10**9))
    assert speed._users_per_batch(500, 10, torch.device("cuda")) == 7


@pytest.mark.parametrize(
    "model, options, users",
    [
        ("EASE", {}, 60),
        ("EASE", {"eval_batch_size": 4096}, 4096 // 41),
        ("EASE", {"eval_batch_size": 82}, 2),
        ("EASE", {"eval_batch_size": 1}, 1),
        ("NeuMF", {}, 4096 // 41),  # scores each pair of user and item alone
        ("ENMF", {"train_neg_sample_args": None}, 4096 // 41),
    ],
)
def test_users_evaluated_at_a_time(checkerboard, caplog, model, options, users):
    with caplog.at_level(logging.INFO):
        config = make_config(checkerboard, model, **options)
        test_data = data_preparation(config, create_dataset(config))[2]
    assert test_data.step == users
    assert config["eval_batch_size"] == options.get("eval_batch_size", 4096)
    assert ("Evaluating 60 users at a time" in caplog.text) == (users == 60)
