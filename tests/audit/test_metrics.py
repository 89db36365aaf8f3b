"""Every metric that can be asked for, against scikit-learn where it has it, and else against a few naive lines.

The references know nothing of RecBole: a ranking is a list, a user's targets are a set. Item 0 is RecBole's padding.
"""

import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from conftest import prepare, write_interactions
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.register import metric_types, metrics_dict
from recbole.utils import EvaluatorType
from sklearn import metrics as sk

from recbole_sparse_elsa.errors import UserError

TOLERANCE = 1e-6
NOT_A_CANDIDATE = -math.inf

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


# How a user's ranking is judged -----------------------------------------------------------------------------------


def recall(top, targets, k):
    return len(set(top) & targets) / len(targets)


def hit(top, targets, k):
    return float(bool(set(top) & targets))


def precision(top, targets, k):
    return len(set(top) & targets) / k


def reciprocal_rank(top, targets, k):
    return next((1 / place for place, item in enumerate(top, 1) if item in targets), 0.0)


def average_precision(top, targets, k):
    """Of the places of the targets, divided by as many targets as the list can hold."""
    at_targets = [len(set(top[:place]) & targets) / place for place, item in enumerate(top, 1) if item in targets]
    return sum(at_targets) / min(k, len(targets))


def ndcg(top, targets, k):
    gain = sum(1 / math.log2(place + 1) for place, item in enumerate(top, 1) if item in targets)
    return gain / sum(1 / math.log2(place + 1) for place in range(1, min(k, len(targets)) + 1))


def calibrated_recall(top, targets, k):
    return len(set(top) & targets) / min(k, len(targets))


def f1(top, targets, k):
    hits = len(set(top) & targets)
    return 2 / (k / hits + len(targets) / hits) if hits else 0.0


def f1_of_means(tops, targets, k):
    """The harmonic mean of precision and recall, each averaged over the users."""
    means = [sum(metric(*pair, k) for pair in zip(tops, targets)) / len(targets) for metric in (precision, recall)]
    return 2 / sum(1 / mean for mean in means) if all(means) else 0.0


RANKED = {
    "recall": recall,
    "hit": hit,
    "precision": precision,
    "mrr": reciprocal_rank,
    "map": average_precision,
    "ndcg": ndcg,
    "calibratedrecall": calibrated_recall,
    "f1": f1,
}


# What all recommended lists are like ------------------------------------------------------------------------------


def item_coverage(tops, catalogue, counts, tail_ratio):
    return len(set().union(*tops)) / len(catalogue)


def average_popularity(tops, catalogue, counts, tail_ratio):
    return np.mean([np.mean([counts[item] for item in top]) for top in tops])


def shannon_entropy(tops, catalogue, counts, tail_ratio):
    times = Counter(item for top in tops for item in top)
    return scipy.stats.entropy(list(times.values()))


def gini_index(tops, catalogue, counts, tail_ratio):
    """The mean difference of two items' numbers of recommendations, relative to twice their mean."""
    times = Counter(item for top in tops for item in top)
    numbers = np.array([times[item] for item in catalogue])
    return np.abs(numbers[:, np.newaxis] - numbers).mean() / (2 * numbers.mean())


def tail_percentage(tops, catalogue, counts, tail_ratio):
    by_count = sorted(catalogue, key=lambda item: (counts[item], item))
    if tail_ratio > 1:
        tail = {item for item in catalogue if counts[item] <= tail_ratio}
    else:
        tail = set(by_count[: max(1, math.floor(round(len(catalogue) * tail_ratio, 6)))])
    return np.mean([np.mean([item in tail for item in top]) for top in tops])


BEYOND_ACCURACY = {
    "itemcoverage": item_coverage,
    "averagepopularity": average_popularity,
    "shannonentropy": shannon_entropy,
    "giniindex": gini_index,
    "tailpercentage": tail_percentage,
}


def rare_hits(tops, targets, catalogue, counts):
    rare = set(sorted(catalogue, key=lambda item: (counts[item], item))[: len(catalogue) // 2])
    return np.mean([len(set(top) & set(wanted) & rare) for top, wanted in zip(tops, targets)])


def grouped_auc(scores, targets):
    """The users' AUC by scikit-learn, weighted by their targets, of the users that have candidates of both kinds."""
    areas, weights = [], []
    for row, wanted in zip(scores, targets):
        candidates = [item for item, score in enumerate(row) if score != NOT_A_CANDIDATE]
        labels = [item in wanted for item in candidates]
        if 0 < sum(labels) < len(labels):
            areas.append(sk.roc_auc_score(labels, [row[item] for item in candidates]))
            weights.append(sum(labels))
    return np.average(areas, weights=weights) if weights else math.nan


VALUES = {
    "auc": sk.roc_auc_score,
    "rmse": lambda labels, values: math.sqrt(np.mean((np.array(labels) - values) ** 2)),
    "mae": sk.mean_absolute_error,
    "logloss": lambda labels, values: sk.log_loss(labels, values, labels=[0, 1]),
}


def test_every_metric_has_a_reference():
    assert set(metrics_dict) == {*RANKED, *BEYOND_ACCURACY, "rarehits", "f1ofmeans", "gauc", *VALUES}
    assert {name for name, kind in metric_types.items() if kind == EvaluatorType.VALUE} == set(VALUES)


# RecBole's side ---------------------------------------------------------------------------------------------------


def options(metrics, topk=(10,), **others):
    """Of a Config what the collector and the metrics look at."""
    given = {
        "metrics": list(metrics),
        "topk": list(topk),
        "metric_decimal_place": 12,
        "eval_args": {"mode": {"valid": "full", "test": "full"}},
        "device": torch.device("cpu"),
        "ITEM_ID_FIELD": "item_id",
        "USER_ID_FIELD": "user_id",
        "LABEL_FIELD": "label",
        "single_spec": True,
        **others,
    }
    return defaultdict(lambda: None, given)


def of_rankings(metrics, scores, targets, topk, counts=None, batches=None, dtype=torch.float64, **others):
    """What RecBole's collector and evaluator say of these users, who come in batches of the given sizes."""
    config = options(metrics, topk, **others)
    collector = Collector(config)
    n_items = len(scores[0])
    dataset = SimpleNamespace(num=lambda field: n_items, item_counter=Counter(counts or {}), user_counter=Counter())
    collector.data_collect(SimpleNamespace(dataset=dataset))
    start = 0
    for size in batches or [len(scores)]:
        wanted = [sorted(items) for items in targets[start : start + size]]
        users = [user for user, items in enumerate(wanted) for _ in items]
        items = [item for items in wanted for item in items]
        collector.eval_batch_collect(
            torch.tensor(scores[start : start + size], dtype=dtype),
            None,
            torch.tensor(users, dtype=torch.int64),
            torch.tensor(items, dtype=torch.int64),
        )
        start += size
    assert start == len(scores)
    return Evaluator(config).evaluate(collector.get_data_struct())


def of_values(metrics, labels, values, batches=None, dtype=torch.float64):
    """What RecBole's collector and evaluator say of these predictions."""
    config = options(metrics, eval_args={"mode": {"valid": "labeled", "test": "labeled"}})
    collector = Collector(config)
    start = 0
    for size in batches or [len(labels)]:
        part = slice(start, start + size)
        interaction = {"label": torch.tensor(labels[part], dtype=torch.float32)}
        collector.eval_batch_collect(torch.tensor(values[part], dtype=dtype), interaction, None, None)
        start += size
    return Evaluator(config).evaluate(collector.get_data_struct())


# Cases ------------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw, tied=False, masked=True, without_targets=False):
    """Scores of users for a small catalogue: the padding is no candidate, nor are some of the items."""
    n_items, n_users = draw(st.integers(3, 13)), draw(st.integers(1, 6))
    scores, targets = [], []
    for _ in range(n_users):
        if tied:
            row = draw(st.lists(st.integers(-2, 2), min_size=n_items, max_size=n_items))
        else:
            row = draw(st.permutations(range(-4, n_items - 4)))
        row = [float(score) for score in row]
        hidden = draw(st.sets(st.integers(1, n_items - 1), max_size=n_items - 2)) if masked else set()
        for item in {0} | hidden:
            row[item] = NOT_A_CANDIDATE
        candidates = [item for item in range(1, n_items) if item not in hidden]
        smallest = 0 if without_targets else 1
        targets.append(draw(st.sets(st.sampled_from(candidates), min_size=smallest)))
        scores.append(row)
    sizes, left = [], n_users
    while left:
        sizes.append(draw(st.integers(1, left)))
        left -= sizes[-1]
    counts = {item: draw(st.integers(0, 4)) for item in range(1, n_items)}
    return SimpleNamespace(
        scores=scores,
        targets=targets,
        batches=sizes,
        # An item without an interaction is not in RecBole's counter.
        counts={item: count for item, count in counts.items() if count},
        catalogue=range(1, n_items),
        topk=draw(st.lists(st.integers(1, n_items), min_size=1, max_size=3, unique=True)),
    )


def rankings(case, k):
    """Each user's k best candidates, fewer where there are not as many; of equal ones the first in the catalogue."""
    lists = []
    for row in case.scores:
        candidates = [item for item, score in enumerate(row) if score != NOT_A_CANDIDATE]
        lists.append(sorted(candidates, key=lambda item: (-row[item], item))[:k])
    return lists


def compare_ranked(case, found, names):
    for k in case.topk:
        tops = rankings(case, k)
        for name in names:
            expected = np.mean([RANKED[name](top, wanted, k) for top, wanted in zip(tops, case.targets)])
            assert found[f"{name}@{k}"] == pytest.approx(expected, abs=TOLERANCE), (name, k)


def compare_beyond_accuracy(case, found, names, tail_ratio=0.1):
    counts = Counter(case.counts)
    for k in case.topk:
        for name in names:
            expected = BEYOND_ACCURACY[name](rankings(case, k), case.catalogue, counts, tail_ratio)
            assert found[f"{name}@{k}"] == pytest.approx(expected, abs=TOLERANCE), (name, k)


# Rankings ---------------------------------------------------------------------------------------------------------


@given(case=cases())
@quick
def test_ranked_metrics(case):
    found = of_rankings(RANKED, case.scores, case.targets, case.topk, batches=case.batches)
    compare_ranked(case, found, RANKED)


@given(case=cases())
@quick
def test_ranked_metrics_in_single_precision(case):
    found = of_rankings(RANKED, case.scores, case.targets, case.topk, batches=case.batches, dtype=torch.float32)
    compare_ranked(case, found, RANKED)


@given(case=cases(tied=True))
@quick
def test_equal_scores_are_ranked_in_the_order_of_the_catalogue(case):
    found = of_rankings(RANKED, case.scores, case.targets, case.topk, batches=case.batches)
    compare_ranked(case, found, RANKED)


@given(case=cases(tied=True))
@quick
def test_a_figure_does_not_depend_on_the_other_cutoffs(case):
    together = of_rankings(RANKED, case.scores, case.targets, case.topk)
    for k in case.topk:
        for name, value in of_rankings(RANKED, case.scores, case.targets, [k]).items():
            assert together[name] == value


def test_the_figures_of_a_large_catalogue_of_equal_scores():
    n_items = 2000
    scores, targets = [[NOT_A_CANDIDATE] + [0.5] * (n_items - 1)] * 3, [{1}, {2, 3}, {n_items - 1}]
    case = SimpleNamespace(scores=scores, targets=targets, topk=[1, 10, 50])
    compare_ranked(case, of_rankings(RANKED, scores, targets, case.topk), RANKED)


@given(case=cases(tied=True))
@quick
def test_equal_scores_or_not_batches_do_not_matter(case):
    metrics = [*RANKED, "GAUC", "RareHits", *BEYOND_ACCURACY]
    whole = of_rankings(metrics, case.scores, case.targets, case.topk, case.counts, tail_ratio=0.3)
    parts = of_rankings(metrics, case.scores, case.targets, case.topk, case.counts, case.batches, tail_ratio=0.3)
    assert parts == pytest.approx(whole, abs=1e-9, nan_ok=True)


@given(case=cases(masked=False))
@quick
def test_ndcg_by_scikit_learn(case):
    found = of_rankings(["NDCG"], case.scores, case.targets, case.topk, batches=case.batches)
    labels = [[item in wanted for item in case.catalogue] for wanted in case.targets]
    scores = [row[1:] for row in case.scores]
    if len(case.catalogue) > 1:
        for k in case.topk:
            assert found[f"ndcg@{k}"] == pytest.approx(sk.ndcg_score(labels, scores, k=k), abs=TOLERANCE)


@given(case=cases(masked=False))
@quick
def test_map_of_whole_rankings_by_scikit_learn(case):
    n_items = len(case.scores[0])
    found = of_rankings(["MAP"], case.scores, case.targets, [n_items], batches=case.batches)
    labels = [[item in wanted for item in case.catalogue] for wanted in case.targets]
    expected = sk.label_ranking_average_precision_score(labels, [row[1:] for row in case.scores])
    assert found[f"map@{n_items}"] == pytest.approx(expected, abs=TOLERANCE)


@given(case=cases(masked=False))
@quick
def test_one_target_by_scikit_learn(case):
    targets = [{min(wanted)} for wanted in case.targets]
    n_items = len(case.scores[0])
    found = of_rankings(["Hit", "Recall", "MRR"], case.scores, targets, [*case.topk, n_items])
    wanted = [min(items) for items in targets]
    finite = np.maximum(case.scores, -1e3)
    for k in case.topk:
        if k < n_items:
            expected = sk.top_k_accuracy_score(wanted, finite, k=k, labels=range(n_items))
            assert found[f"hit@{k}"] == found[f"recall@{k}"] == pytest.approx(expected, abs=TOLERANCE)
    labels = [[item in items for item in range(n_items)] for items in targets]
    expected = sk.label_ranking_average_precision_score(labels, finite)
    assert found[f"mrr@{n_items}"] == pytest.approx(expected, abs=TOLERANCE)


@given(case=cases(masked=False))
@quick
def test_rankings_by_ir_measures(case):
    measures = pytest.importorskip("ir_measures")
    named = {"ndcg": measures.nDCG, "recall": measures.R, "precision": measures.P, "hit": measures.Success}
    found = of_rankings([*named, "MRR", "MAP"], case.scores, case.targets, case.topk)
    relevant = {f"u{user}": {f"i{item}": 1 for item in items} for user, items in enumerate(case.targets)}
    run = {
        f"u{user}": {f"i{item}": row[item] for item in case.catalogue} for user, row in enumerate(case.scores)
    }
    for k in case.topk:
        asked = [measure @ k for measure in named.values()]
        values = measures.calc_aggregate(asked, relevant, run)
        for name, measure in zip(named, asked):
            assert found[f"{name}@{k}"] == pytest.approx(values[measure], abs=TOLERANCE)
        # trec_eval divides by all targets where RecBole divides by at most k.
        fewer = {user: items for user, items in relevant.items() if len(items) <= k}
        if len(fewer) == len(relevant):
            measure = measures.AP @ k
            assert found[f"map@{k}"] == pytest.approx(
                measures.calc_aggregate([measure], relevant, run)[measure], abs=TOLERANCE
            )


def test_a_ranking_worked_out_by_hand():
    # Ranked 5, 4, 3, 2, 1. The first user wants the second, the fourth and the last; the second user the first.
    scores = [[NOT_A_CANDIDATE, 1.0, 2.0, 3.0, 4.0, 5.0]] * 2
    found = of_rankings(RANKED, scores, [{4, 2, 1}, {5}], [4])
    assert found["recall@4"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["precision@4"] == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert found["hit@4"] == 1
    assert found["mrr@4"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["map@4"] == pytest.approx(((1 / 2 + 2 / 4) / 3 + 1) / 2)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found["ndcg@4"] == pytest.approx(((1 / math.log2(3) + 1 / math.log2(5)) / ideal + 1) / 2)
    assert found["calibratedrecall@4"] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("metric", ["MRR", "MAP", "NDCG", "Hit", "Recall"])
def test_a_target_below_the_cutoff_does_not_count(metric):
    scores = [[NOT_A_CANDIDATE, 3.0, 2.0, 1.0]]
    found = of_rankings([metric], scores, [{3}], [2, 3])
    assert found[f"{metric.lower()}@2"] == 0
    assert found[f"{metric.lower()}@3"] > 0


def test_all_users_hit_at_the_top():
    scores = np.eye(8)[1:] + np.where(np.arange(8) == 0, NOT_A_CANDIDATE, 0)
    found = of_rankings(RANKED, scores.tolist(), [{user} for user in range(1, 8)], [1])
    assert found == {f"{name}@1": 1 for name in RANKED}


@given(case=cases(without_targets=True))
@example(case=SimpleNamespace(scores=[[-math.inf, 1.0, 0.0]] * 2, targets=[{1}, set()], topk=[1], batches=[2]))
@quick
def test_users_without_targets_are_left_out(case):
    metrics = [*RANKED, "RareHits"]
    found = of_rankings(metrics, case.scores, case.targets, case.topk, batches=case.batches)
    users = [user for user, wanted in enumerate(case.targets) if wanted]
    if users:
        kept = [case.scores[user] for user in users], [case.targets[user] for user in users]
        assert found == pytest.approx(of_rankings(metrics, *kept, case.topk), abs=TOLERANCE)
    else:
        assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("metric", ["NDCG", "GAUC", "ItemCoverage"])
def test_scores_that_are_no_numbers_are_refused(metric):
    scores = [[NOT_A_CANDIDATE, 0.1, math.nan, 0.3]]
    with pytest.raises(UserError, match="NaN"):
        of_rankings([metric], scores, [{1}], [1])


def test_infinite_scores_are_the_highest():
    scores = [[NOT_A_CANDIDATE, 0.1, math.inf, 0.3]]
    found = of_rankings([*RANKED, "GAUC"], scores, [{2}], [1])
    assert set(found.values()) == {1}


# GAUC -------------------------------------------------------------------------------------------------------------


@given(case=cases(tied=True))
@quick
def test_gauc(case):
    found = of_rankings(["GAUC"], case.scores, case.targets, [1], batches=case.batches)
    expected = grouped_auc(case.scores, case.targets)
    assert found["gauc"] == pytest.approx(expected, abs=TOLERANCE, nan_ok=True)


@given(case=cases(tied=True, without_targets=True))
@quick
def test_gauc_leaves_out_users_without_targets(case):
    found = of_rankings(["GAUC"], case.scores, case.targets, [1], batches=case.batches)
    assert found["gauc"] == pytest.approx(grouped_auc(case.scores, case.targets), abs=TOLERANCE, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n_items", "n_targets"), [(20_000, 900), (60_000, 3_000)])
def test_gauc_of_a_large_catalogue(n_items, n_targets, dtype):
    random = np.random.default_rng(0)
    scores = random.permuted(np.tile(np.arange(n_items, dtype=np.float64), (3, 1)), axis=1)
    scores[:, 0] = NOT_A_CANDIDATE
    targets = [set((1 + random.choice(n_items - 1, n_targets, replace=False)).tolist()) for _ in scores]
    # Targets a little higher than chance.
    for row, wanted in zip(scores, targets):
        row[list(wanted)] += n_items / 3 + 0.5
    found = of_rankings(["GAUC"], scores.tolist(), targets, [1], dtype=dtype)
    assert found["gauc"] == pytest.approx(grouped_auc(scores.tolist(), targets), abs=TOLERANCE)


@pytest.mark.parametrize("metric", ["NDCG", "MAP", "Recall", "RareHits", "GAUC", *BEYOND_ACCURACY])
def test_a_figure_has_the_decimal_places_that_are_asked_for(metric):
    scores = np.random.default_rng(1).random((7, 11))
    scores[:, 0] = NOT_A_CANDIDATE
    found = of_rankings(
        [metric], scores.tolist(), [{1, 5}] * 7, [3], {1: 2}, metric_decimal_place=4, dtype=torch.float32
    )
    for value in found.values():
        assert type(value) is float
        assert value == round(value, 4)
        assert len(repr(value)) <= len("0.1234")


# All recommended lists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BEYOND_ACCURACY)
@given(case=cases(masked=False), tail_ratio=st.sampled_from([0.1, 0.29, 0.5, 1, 2, 3]))
@quick
def test_beyond_accuracy_of_full_lists(name, case, tail_ratio):
    case.topk = sorted({min(k, len(case.catalogue)) for k in case.topk})
    found = of_rankings([name], case.scores, case.targets, case.topk, case.counts, case.batches, tail_ratio=tail_ratio)
    compare_beyond_accuracy(case, found, [name], tail_ratio)


@pytest.mark.parametrize("name", BEYOND_ACCURACY)
@given(case=cases(), tail_ratio=st.sampled_from([0.1, 0.5, 2]))
@quick
def test_beyond_accuracy_of_lists_that_run_out_of_candidates(name, case, tail_ratio):
    found = of_rankings([name], case.scores, case.targets, case.topk, case.counts, case.batches, tail_ratio=tail_ratio)
    compare_beyond_accuracy(case, found, [name], tail_ratio)


@given(case=cases())
@quick
def test_f1_of_the_means(case):
    found = of_rankings(["F1OfMeans"], case.scores, case.targets, case.topk, batches=case.batches)
    for k in case.topk:
        expected = f1_of_means(rankings(case, k), case.targets, k)
        assert found[f"f1ofmeans@{k}"] == pytest.approx(expected, abs=TOLERANCE)


@given(case=cases())
@quick
def test_rare_hits(case):
    found = of_rankings(["RareHits"], case.scores, case.targets, case.topk, case.counts, case.batches)
    for k in case.topk:
        expected = rare_hits(rankings(case, k), case.targets, case.catalogue, Counter(case.counts))
        assert found[f"rarehits@{k}"] == pytest.approx(expected, abs=TOLERANCE)


def every_item_once(n_items):
    """As many users as items, and each gets an item of its own."""
    scores = np.eye(n_items + 1)[1:]
    scores[:, 0] = NOT_A_CANDIDATE
    return scores.tolist(), [{item} for item in range(1, n_items + 1)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("itemcoverage", 1),
        ("giniindex", 0),
        ("shannonentropy", math.log(8)),
        ("averagepopularity", 3),
        ("tailpercentage", 1 / 8),
    ],
)
def test_every_item_recommended_once(name, expected):
    found = of_rankings([name], *every_item_once(8), [1], {item: 3 for item in range(1, 9)})
    assert found[f"{name}@1"] == pytest.approx(expected, abs=TOLERANCE)


def test_more_diverse_lists_have_more_entropy():
    one_for_all = np.tile(np.eye(9)[1], (8, 1))
    one_for_all[:, 0] = NOT_A_CANDIDATE
    two = one_for_all.copy()
    two[:4, 2] = 2
    entropies = [
        of_rankings(["ShannonEntropy"], scores, [{1}] * 8, [1])["shannonentropy@1"]
        for scores in (one_for_all.tolist(), two.tolist(), every_item_once(8)[0])
    ]
    assert entropies == sorted(entropies)


def test_the_gini_index_of_one_item_for_all():
    n_items = 8
    scores = np.tile(np.eye(n_items + 1)[1], (5, 1))
    scores[:, 0] = NOT_A_CANDIDATE
    found = of_rankings(["GiniIndex"], scores.tolist(), [{1}] * 5, [1])
    assert found["giniindex@1"] == pytest.approx(1 - 1 / n_items, abs=TOLERANCE)


# Values -----------------------------------------------------------------------------------------------------------


@st.composite
def predictions(draw):
    """Labels of both kinds, probabilities with ties, and the sizes of batches."""
    n = draw(st.integers(2, 25))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda labels: 0 < sum(labels) < n))
    values = draw(st.lists(st.one_of(st.sampled_from([0.25, 0.5]), st.floats(1e-4, 0.9999)), min_size=n, max_size=n))
    sizes, left = [], n
    while left:
        sizes.append(draw(st.integers(1, left)))
        left -= sizes[-1]
    return labels, values, sizes


@pytest.mark.parametrize("name", VALUES)
@given(case=predictions())
@quick
def test_values_of_both_labels(name, case):
    labels, values, sizes = case
    found = of_values([name], labels, values, sizes)
    assert found == {name: pytest.approx(VALUES[name](labels, values), abs=TOLERANCE)}


@pytest.mark.parametrize("name", ["rmse", "mae"])
@given(
    pairs=st.lists(st.tuples(st.integers(1, 5), st.floats(-3, 9)), min_size=2, max_size=30),
)
@quick
def test_values_of_ratings(name, pairs):
    labels, values = zip(*pairs)
    found = of_values([name], labels, list(values))
    assert found == {name: pytest.approx(VALUES[name](labels, np.array(values)), abs=TOLERANCE)}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_many_predictions_in_single_precision(name):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200_000)
    values = (1 / (1 + np.exp(-random.normal(labels, 2)))).astype(np.float32)
    found = of_values([name], labels.tolist(), values.tolist(), [150_000, 50_000], torch.float32)
    assert found == {name: pytest.approx(VALUES[name](labels, values.astype(np.float64)), abs=TOLERANCE)}


@given(case=predictions(), scale=st.sampled_from([1, -3, 1e4]))
@quick
def test_auc_of_scores_of_any_scale(case, scale):
    labels, values, sizes = case
    scores = [scale * value for value in values]
    expected = sk.roc_auc_score(labels, scores)
    assert of_values(["AUC"], labels, scores, sizes) == {"auc": pytest.approx(expected, abs=TOLERANCE)}


@pytest.mark.parametrize("label", [0, 1])
def test_auc_without_two_labels_is_not_a_number(label):
    assert math.isnan(of_values(["AUC"], [label] * 3, [0.1, 0.5, 0.7])["auc"])


@pytest.mark.parametrize("name", ["rmse", "mae", "logloss"])
def test_a_single_prediction(name):
    found = of_values([name], [1], [0.25])
    assert found == {name: pytest.approx({"rmse": 0.75, "mae": 0.75, "logloss": math.log(4)}[name])}


def test_the_log_loss_of_what_is_no_probability_is_refused():
    with pytest.raises(UserError, match="LogLoss needs probabilities"):
        of_values(["LogLoss"], [0, 1, 1], [-0.5, 3.0, 0.2])


@pytest.mark.parametrize("name", ["AUC", "LogLoss"])
def test_labels_other_than_0_and_1_are_refused(name):
    with pytest.raises(UserError, match=f"{name} needs labels of 0 and 1"):
        of_values([name], [1, 5, 3, 4], [0.1, 0.9, 0.5, 0.7])


@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_no_numbers_are_refused(name):
    with pytest.raises(UserError, match="NaN scores"):
        of_values([name], [0, 1, 1], [0.5, math.nan, 0.2])


# As trainers evaluate ---------------------------------------------------------------------------------------------

ALL_RANKED = [*RANKED, "GAUC"]


def scores_of_all(run):
    """The model's scores by predict, in double precision, shape (users, items), with the padding."""
    n_users, n_items = run.dataset.user_num, run.dataset.item_num
    pairs = {
        "user_id": torch.arange(n_users).repeat_interleave(n_items),
        "item_id": torch.arange(n_items).repeat(n_users),
    }
    run.model.eval()
    with torch.no_grad():
        return run.model.predict(Interaction(pairs)).view(n_users, n_items).double().numpy()


def items_of(*parts):
    """The set of items of each user in parts of the data."""
    items = defaultdict(set)
    for feature in (data.dataset.inter_feat for data in parts):
        for user, item in zip(feature["user_id"].tolist(), feature["item_id"].tolist()):
            items[user].add(item)
    return items


def expected_of_a_part(run, part, topk):
    """What the metrics of one part, valid or test, are to be when every other item is a candidate."""
    scores, rows = scores_of_all(run), []
    targets = items_of(run.valid_data if part == "valid" else run.test_data)
    known = items_of(run.train_data) if part == "valid" else items_of(run.train_data, run.valid_data)
    for user in targets:
        row = scores[user].copy()
        row[[0, *known[user]]] = NOT_A_CANDIDATE
        rows.append(row.tolist())
    case = SimpleNamespace(scores=rows, targets=list(targets.values()), topk=topk)
    expected = {"gauc": grouped_auc(rows, case.targets)}
    for k in topk:
        tops = rankings(case, k)
        for name, metric in RANKED.items():
            expected[f"{name}@{k}"] = np.mean([metric(top, wanted, k) for top, wanted in zip(tops, case.targets)])
    return expected


@pytest.mark.parametrize("model", ["BPR", "EASE"])
@pytest.mark.parametrize("eval_batch_size", [1, 100, 10**6])
def test_full_ranking_by_a_trainer(random_dataset, model, eval_batch_size):
    run = prepare(
        model,
        random_dataset,
        metrics=ALL_RANKED,
        topk=[1, 5],
        valid_metric="NDCG@5",
        eval_batch_size=eval_batch_size,
        metric_decimal_place=12,
        epochs=2,
    )
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    for part, data in (("valid", run.valid_data), ("test", run.test_data)):
        found = run.trainer.evaluate(data, load_best_model=False)
        assert found == pytest.approx(expected_of_a_part(run, part, [1, 5]), abs=TOLERANCE), part


@pytest.mark.parametrize("topk", [[3], [3, 20], [1, 3, 5]])
def test_a_trainer_ranks_equal_scores_in_the_order_of_their_tokens(random_dataset, topk):
    run = prepare("BPR", random_dataset, metrics=RANKED, topk=topk, valid_metric="NDCG@3", metric_decimal_place=12)
    run.model.full_sort_predict = lambda users: torch.zeros(len(users) * run.dataset.item_num)
    found = run.trainer.evaluate(run.test_data, load_best_model=False)
    tokens = run.dataset.field2id_token["item_id"]
    catalogue = sorted(range(1, run.dataset.item_num), key=lambda item: tokens[item])
    known, targets = items_of(run.train_data, run.valid_data), items_of(run.test_data)
    for k in topk:
        tops = {user: [item for item in catalogue if item not in known[user]][:k] for user in targets}
        for name, metric in RANKED.items():
            expected = np.mean([metric(tops[user], targets[user], k) for user in targets])
            assert found[f"{name}@{k}"] == pytest.approx(expected, abs=TOLERANCE)


def test_beyond_accuracy_by_a_trainer_counts_the_training_interactions_alone(random_dataset):
    run = prepare("BPR", random_dataset, metrics=["AveragePopularity"], topk=[3], valid_metric="AveragePopularity@3")
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    counts = Counter(run.train_data.dataset.inter_feat["item_id"].tolist())
    assert run.trainer.eval_collector.data_struct.get("data.count_items") == counts
    assert run.config["valid_metric_bigger"] is False


def test_users_of_a_part_are_those_with_targets(random_dataset):
    run = prepare("BPR", random_dataset)
    for data in (run.valid_data, run.test_data):
        users = data.dataset.inter_feat["user_id"].unique().tolist()
        assert sorted(data.uid_list.tolist()) == sorted(users)
        assert (data.uid2items_num[users] > 0).all()


def test_an_evaluation_that_was_broken_off_leaves_nothing_behind(random_dataset):
    run = prepare("BPR", random_dataset, eval_batch_size=100)
    expected = run.trainer.evaluate(run.test_data, load_best_model=False)
    predict, calls = run.model.full_sort_predict, []

    def interrupted(interaction):
        calls.append(interaction)
        if len(calls) == 5:
            raise KeyboardInterrupt
        # The users so far got other scores than they will have.
        return -predict(interaction)

    run.model.full_sort_predict = interrupted
    with pytest.raises(KeyboardInterrupt):
        run.trainer.evaluate(run.test_data, load_best_model=False)
    del run.model.full_sort_predict
    assert run.trainer.evaluate(run.test_data, load_best_model=False) == expected


def labeled_dataset(folder):
    """Users' ratings of 1 to 5 as the data set rated."""
    write_interactions(folder / "dataset", "rated", [])
    random = np.random.default_rng(0)
    lines = ["user_id:token\titem_id:token\trating:float"]
    for user in range(30):
        for item in random.choice(20, 10, replace=False):
            lines.append(f"u{user}\ti{item}\t{random.integers(1, 6)}")
    (folder / "dataset" / "rated" / "rated.inter").write_text("\n".join(lines) + "\n")
    return "rated"


LABELED = {
    "eval_args": {"mode": "labeled"},
    "load_col": {"inter": ["user_id", "item_id", "rating"]},
    "metric_decimal_place": 12,
    "epochs": 2,
}


def labels_and_values(run, data, field):
    feature = data.dataset.inter_feat
    with torch.no_grad():
        values = run.model.predict(feature)
    return feature[field].numpy(), values.double().numpy()


@pytest.mark.parametrize("eval_batch_size", [7, 4096])
def test_values_of_a_click_model_by_a_trainer(working_folder, eval_batch_size):
    run = prepare(
        "LR",
        labeled_dataset(working_folder),
        metrics=["AUC", "LogLoss", "RMSE", "MAE"],
        valid_metric="AUC",
        threshold={"rating": 3},
        train_neg_sample_args=None,
        eval_batch_size=eval_batch_size,
        **LABELED,
    )
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    for data in (run.valid_data, run.test_data):
        found = run.trainer.evaluate(data, load_best_model=False)
        labels, values = labels_and_values(run, data, "label")
        assert found == pytest.approx({name: VALUES[name](labels, values) for name in VALUES}, abs=TOLERANCE)


def test_ranking_labelled_interactions_is_refused_before_training(working_folder):
    with pytest.raises(UserError, match="labeled") as caught:
        Config("LR", labeled_dataset(working_folder), config_dict={**LABELED, "metrics": ["NDCG"], "state": "ERROR"})
    assert "\n" not in str(caught.value)


def test_labels_in_the_validation_and_a_sample_in_the_test(working_folder):
    options = {**LABELED, "eval_args": {"mode": {"valid": "labeled", "test": "uni5"}}}
    run = prepare(
        "LR",
        labeled_dataset(working_folder),
        metrics=["AUC"],
        valid_metric="AUC",
        threshold={"rating": 3},
        train_neg_sample_args=None,
        **options,
    )
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    found = run.trainer.evaluate(run.valid_data, load_best_model=False)
    labels, values = labels_and_values(run, run.valid_data, "label")
    assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, values), abs=TOLERANCE)
