"""Metrics as repaired, on values worked out by hand."""

import numpy as np
import pytest
import torch
from conftest import prepare
from recbole.evaluator import metrics
from recbole.evaluator.collector import torch as torch_of_the_collector

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.plugin.repairs.metrics import best_items

INF = float("inf")


def test_of_equal_scores_the_first_of_the_catalogue_is_taken_however_many_are_asked_for():
    scores = torch.tensor([[-INF, 1.0, 3.0, 1.0, 1.0, 2.0], [-INF, 5.0, 5.0, 5.0, 5.0, 5.0]])
    expected = [[2, 5, 1, 3, 4], [1, 2, 3, 4, 5]]
    for k in range(1, 6):
        values, items = best_items(scores, k)
        assert items.tolist() == [row[:k] for row in expected]
        assert torch.equal(values, scores.gather(1, items))


def test_a_figure_depends_neither_on_the_other_cutoffs_nor_on_the_order_of_the_file(working_folder):
    """In this data every item is as popular as any other: only the order of equal scores makes Pop's figures."""
    pairs = [(f"u{user}", f"i{(user + step) % 12:02}") for user in range(12) for step in (0, 1, 3, 5)]
    figures = []
    for name, lines in (("there", pairs), ("back", pairs[::-1])):
        write_fixed(working_folder, name, lines)
        for topk in ([3], [1, 3, 9]):
            options = {"topk": topk, "metrics": ["MRR", "NDCG"], "valid_metric": "MRR@3"}
            run = prepare("Pop", name, **options, benchmark_filename=["train", "valid", "test"])
            run.trainer.fit(run.train_data, run.valid_data)
            result = run.trainer.evaluate(run.test_data)
            figures.append((result["mrr@3"], result["ndcg@3"]))
    assert len(set(figures)) == 1


def write_fixed(folder, name, lines):
    """Each user's last item but one by its number is validated on, the last tested on; the order of the lines stays."""
    items = {user: sorted(item for owner, item in lines if owner == user) for user, _ in lines}
    (folder / "dataset" / name).mkdir(parents=True)
    for part, chosen in (("train", slice(0, -2)), ("valid", slice(-2, -1)), ("test", slice(-1, None))):
        rows = [f"{user}\t{item}" for user, item in lines if item in items[user][chosen]]
        text = "\n".join(["user_id:token\titem_id:token", *rows]) + "\n"
        (folder / "dataset" / name / f"{name}.{part}.inter").write_text(text)


def test_lists_of_users_with_few_candidates_are_filled_up_with_the_padding():
    scores = torch.tensor([[-INF, -INF, 3.0, -INF, 4.0]])
    assert best_items(scores, 4)[1].tolist() == [[4, 2, 0, 0]]
    assert best_items(scores, 5)[1].tolist() == [[4, 2, 0, 0, 0]]


def test_only_the_collector_ranks_by_it():
    assert torch_of_the_collector.topk is best_items
    assert torch.topk is not best_items


def test_shannon_entropy_is_a_sum():
    # Four items, each a quarter of the lists: ln 4. RecBole gives ln 4 / 4.
    entropy = metrics.ShannonEntropy({"topk": [2], "metric_decimal_place": 4})
    assert entropy.get_entropy(np.array([[1, 2], [3, 4]])) == pytest.approx(1.3862943611)


def test_the_padding_is_no_item_of_the_catalogue():
    config = {"topk": [2], "metric_decimal_place": 4}
    assert metrics.ItemCoverage(config).get_coverage(np.array([[1, 2], [3, 4]]), 5) == 1
    assert metrics.GiniIndex(config).get_gini(np.array([[1, 2], [3, 4]]), 5) == 0
    # One of four items in all lists: (4 - 1) / 4.
    assert metrics.GiniIndex(config).get_gini(np.array([[1], [1]]), 5) == pytest.approx(0.75)


def test_labels_that_are_ratings_are_refused():
    with pytest.raises(OptionError, match="AUC needs labels of 0 and 1, but there is 3"):
        metrics.AUC({"metric_decimal_place": 4}).metric_info(np.array([0.1, 0.9]), np.array([1.0, 3.0]))
