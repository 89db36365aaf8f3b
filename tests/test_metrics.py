"""The metrics beside RecBole's, through RecBole's collector and evaluator, against naive loops over users."""

import math
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import prepare
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config
from recbole.evaluator import Collector, Evaluator

from recbole_sparse_elsa.evaluation.metrics import CalibratedRecall, RareHits, register_metrics


@pytest.fixture(scope="module")
def config():
    """Options with the metrics that are compared, unrounded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pytest"])
        return Config(
            "Pop",
            "ml-100k",
            config_dict={
                "metrics": ["CalibratedRecall", "Recall", "NDCG", "Precision", "F1", "F1OfMeans"],
                "valid_metric": "CalibratedRecall@3",
                "topk": [1, 3, 5],
                "metric_decimal_place": 12,
                "state": "WARNING",
            },
        )


def evaluated(config, scores, targets):
    """RecBole's result for each user's scores of all items and targets."""
    collector = Collector(config)
    positive_users = [user for user, items in enumerate(targets) for _ in items]
    positive_items = [item for items in targets for item in items]
    collector.eval_batch_collect(
        torch.tensor(scores), None, torch.tensor(positive_users), torch.tensor(positive_items)
    )
    return Evaluator(config).evaluate(collector.get_data_struct())


def naive(scores, targets, k):
    """The metrics as the papers write them, user by user."""
    calibrated, recall, ndcg, precision, f1 = [], [], [], [], []
    for row, items in zip(scores, targets):
        top = sorted(range(len(row)), key=lambda item: -row[item])[:k]
        hits = len(set(top) & set(items))
        calibrated.append(hits / min(k, len(items)))
        recall.append(hits / len(items))
        precision.append(hits / k)
        f1.append(2 * precision[-1] * recall[-1] / (precision[-1] + recall[-1]) if hits else 0)
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(top) if item in items)
        ndcg.append(gain / sum(1 / math.log2(place + 2) for place in range(min(k, len(items)))))
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    means = mean(precision) + mean(recall)
    return {
        f"calibratedrecall@{k}": mean(calibrated),
        f"recall@{k}": mean(recall),
        f"ndcg@{k}": mean(ndcg),
        f"precision@{k}": mean(precision),
        f"f1@{k}": mean(f1),
        f"f1ofmeans@{k}": 2 * mean(precision) * mean(recall) / means if means else 0,
    }


@given(data=st.data())
def test_agrees_with_a_loop_over_users(config, data):
    n_users, n_items = data.draw(st.integers(1, 6)), data.draw(st.integers(5, 12))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scores = generator.permuted(np.tile(np.arange(n_items) / n_items, (n_users, 1)), axis=1).tolist()
    targets = [
        sorted(data.draw(st.sets(st.integers(0, n_items - 1), min_size=1, max_size=n_items))) for _ in range(n_users)
    ]
    result = evaluated(config, scores, targets)
    for k in (1, 3, 5):
        for name, value in naive(scores, targets, k).items():
            assert result[name] == pytest.approx(value, abs=1e-9)
        assert result[f"calibratedrecall@{k}"] >= result[f"recall@{k}"]
        if max(len(items) for items in targets) <= k:
            assert result[f"calibratedrecall@{k}"] == result[f"recall@{k}"]


def test_a_value_worked_out_by_hand(config):
    # Ranked 3, 2, 1, 0. Targets of the first user: 3, 1, 0 and 4 (of which 2 in the top 3); of the second: 2.
    scores = [[1.0, 2.0, 3.0, 4.0, 0.0]] * 2
    result = evaluated(config, scores, [[3, 1, 0, 4], [2]])
    assert result["calibratedrecall@3"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["recall@3"] == pytest.approx((2 / 4 + 1) / 2)
    # The first user has precision 2/3 and recall 1/2, the second 1/3 and 1.
    assert result["f1@3"] == pytest.approx((4 / 7 + 1 / 2) / 2)
    assert result["f1ofmeans@3"] == pytest.approx(2 * (1 / 2) * (3 / 4) / (1 / 2 + 3 / 4))
    assert result["calibratedrecall@1"] == 0.5
    assert result["calibratedrecall@5"] == 1.0


def test_each_user_at_each_cutoff(config):
    hits = np.array([[True, False, True], [False, True, False]])
    values = CalibratedRecall(config).metric_info(hits, np.array([2, 5]))
    assert values.tolist() == [[1, 0.5, 1], [0, 0.5, pytest.approx(1 / 3)]]


def test_is_a_metric_for_early_stopping_and_bigger_is_better(config):
    assert config["valid_metric_bigger"] is True


@given(data=st.data())
def test_rare_hits_agree_with_a_loop_over_users(data):
    n_items = data.draw(st.integers(5, 11))
    popularity = data.draw(st.lists(st.integers(0, 4), min_size=n_items, max_size=n_items))
    recommended = [data.draw(st.permutations(range(1, n_items + 1))) for _ in range(3)]
    targets = [data.draw(st.sets(st.integers(1, n_items), min_size=1)) for _ in range(3)]
    rare = sorted(range(1, n_items + 1), key=lambda item: popularity[item - 1])[: n_items // 2]
    cutoffs = [1, 3, 5]
    is_hit = [[item in items for item in row[:5]] for row, items in zip(recommended, targets)]
    found = {
        "rec.topk": torch.tensor([[*hits, len(items)] for hits, items in zip(is_hit, targets)]).int(),
        "rec.items": torch.tensor([row[:5] for row in recommended]),
        # RecBole's counter has no items without an interaction.
        "data.count_items": Counter({item: n for item, n in enumerate(popularity, start=1) if n}),
        "data.num_items": n_items + 1,
    }
    metric = RareHits({"topk": cutoffs, "metric_decimal_place": 12})
    result = metric.calculate_metric(SimpleNamespace(get=found.__getitem__))
    for k in cutoffs:
        hits = [len(set(row[:k]) & items & set(rare)) for row, items in zip(recommended, targets)]
        assert result[f"rarehits@{k}"] == pytest.approx(sum(hits) / 3)


def test_rare_hits_through_a_run(checkerboard):
    run = prepare("SparseELSA", checkerboard, metrics=["RareHits", "Hit"], topk=[10], valid_metric="Hit@10")
    run.trainer.fit(run.train_data, run.valid_data)
    assert 0 < run.trainer.evaluate(run.test_data)["rarehits@10"] < 1


def test_registering_again_changes_nothing():
    from recbole.evaluator.register import metrics_dict

    before = dict(metrics_dict)
    register_metrics()
    assert metrics_dict == before
