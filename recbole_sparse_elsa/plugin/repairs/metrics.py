"""Metrics: which items a list has, what each metric counts, and scores of which no metric can be computed."""

import types
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from unittest import mock

import numpy as np
import torch

from recbole_sparse_elsa.errors import OptionError, TrainingError
from recbole_sparse_elsa.plugin.patching import adjusts, overlay, replaces, source_of

# Rankings


# The internal ids of the items in the order of their tokens, of the data set that is being evaluated.
_order_of_tokens: ContextVar[torch.Tensor | None] = ContextVar("order of tokens", default=None)


def best_items(scores: torch.Tensor, k: int, dim: int = -1) -> tuple[torch.Tensor, torch.Tensor]:
    """The k items with the highest scores, of equal ones those whose tokens come first in the order of their letters.

    The order of tokens neither depends on the order of the file nor on how many items are asked for. Outside of an
    evaluation, where tokens are not known, internal ids take their place.

    Parameters
    ----------
    scores : torch.Tensor
        Floats, shape ``(n_users, n_items)``, -inf where an item is no candidate; item 0 is the padding.
    k : int
        At most ``n_items``.
    dim : int
        The last dimension, as in torch.topk, for which this stands in.

    Returns
    -------
    values, items : torch.Tensor
        Shape ``(n_users, k)`` each. Where a user has fewer than k candidates, the last are -inf and the padding, 0.
    """
    n_items = scores.shape[-1]
    order = _order_of_tokens.get()
    if order is None or len(order) != n_items:
        order = torch.arange(n_items)
    order = order.to(scores.device)
    values, items = torch.topk(scores, min(k + 1, n_items), dim=-1)
    if k < n_items:
        # Only here topk has a choice. The padding, of which a list is filled up, need not be chosen.
        tied = (values[:, k - 1] == values[:, k]) & (values[:, k] > -torch.inf)
        values, items = values[:, :k], items[:, :k]
        if tied.any():
            some, last = scores[tied][:, order], values[tied, -1:]
            equal = some == last
            free = k - (some > last).sum(-1, keepdim=True)
            chosen = (some > last) | (equal & (equal.cumsum(-1) <= free))
            items[tied] = order[chosen.nonzero()[:, 1].view(-1, k)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(n_items, device=order.device)
    items = order[rank[items].sort(dim=-1).values]
    values, by_value = scores.gather(-1, items).sort(dim=-1, descending=True, stable=True)
    items = items.gather(-1, by_value)
    return values, items.masked_fill(values == -torch.inf, 0)


def _knows_no_tokens(evaluate: Callable[..., Any]) -> bool:
    return "field2id_token" not in source_of(evaluate)


@replaces(
    "recbole.trainer.Trainer.evaluate",
    parameters="self eval_data load_best_model model_file show_progress",
    kind="repair",
    until="RecBole's collector ranks equal scores in one order",
    probe=_knows_no_tokens,
)
def tell_the_collector_the_order_of_tokens(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let equal scores be ranked in the order of the items' tokens, see `best_items`.

    Internal ids follow the order of the lines of a file, on which no figure should depend.
    """

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        if not eval_data or eval_data._dataset.iid_field is None:
            return original(self, eval_data, load_best_model, model_file, show_progress)
        tokens = eval_data._dataset.field2id_token[eval_data._dataset.iid_field]
        if getattr(self, "_sorted_tokens", None) is not tokens:  # each validation has the same ones
            self._sorted_tokens = tokens
            self._token_order = _tokens_in_order(eval_data._dataset)
        token = _order_of_tokens.set(self._token_order)
        try:
            return original(self, eval_data, load_best_model, model_file, show_progress)
        finally:
            _order_of_tokens.reset(token)

    return evaluate


def _leaves_open_which_of_equal_scores_is_taken() -> bool:
    firsts = {torch.topk(torch.zeros(100), k).indices[0].item() for k in (1, 2, 3, 5, 20)}
    return len(firsts) > 1


@adjusts(
    "recbole.evaluator.collector.torch",
    kind="repair",
    until="RecBole's collector ranks equal scores in one order, and candidates only",
    probe=_leaves_open_which_of_equal_scores_is_taken,
)
def rank_equal_scores_in_one_order() -> None:
    """Rank equal scores in one order, and nothing but candidates, by `best_items`.

    torch.topk leaves open which of equal scores it takes, and takes others when more are asked for: NDCG@10 depends on
    whether 20 is in topk, too. Lists of users with fewer than k candidates were filled up with items that the user
    knows, which count as recommended in the metrics beyond accuracy.
    """
    overlay("recbole.evaluator.collector.torch", topk=best_items)


def _leaves_the_order_of_a_case_study_open(full_sort_topk: Callable[..., Any]) -> bool:
    return "best_items" not in source_of(full_sort_topk)


@replaces(
    "recbole.utils.case_study.full_sort_topk",
    parameters="uid_series model test_data k device",
    kind="repair",
    until="RecBole's case study ranks equal scores in one order",
    probe=_leaves_the_order_of_a_case_study_open,
)
def rank_equal_scores_of_a_case_study_alike(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a case study list the items that the evaluation lists, see `best_items`.

    torch.topk leaves open which of equal scores it takes.
    """

    def full_sort_topk(uid_series, model, test_data, k, device=None):
        from recbole.utils import case_study

        scores = case_study.full_sort_scores(uid_series, model, test_data, device)
        token = _order_of_tokens.set(_tokens_in_order(test_data.dataset))
        try:
            return best_items(scores, k)
        finally:
            _order_of_tokens.reset(token)

    return full_sort_topk


def _tokens_in_order(dataset: Any) -> torch.Tensor:
    """The internal ids of the items in the order of their tokens: int64, ``(n_items,)``."""
    tokens = np.asarray(dataset.field2id_token[dataset.iid_field]).astype(str)
    return torch.from_numpy(np.argsort(tokens, kind="stable"))


def _takes_nan_for_the_highest_score(eval_batch_collect: Callable[..., Any]) -> bool:
    stub = mock.MagicMock()
    stub.register.need = lambda key: False
    try:
        eval_batch_collect(stub, torch.tensor([[torch.nan]]), None, None, None)
    except TrainingError:
        return False
    return True


@replaces(
    "recbole.evaluator.Collector.eval_batch_collect",
    parameters="self scores_tensor interaction positive_u positive_i",
    kind="repair",
    until="RecBole refuses scores that are NaN",
    probe=_takes_nan_for_the_highest_score,
)
def refuse_scores_that_are_no_numbers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse to evaluate scores that are NaN.

    RecBole ranks them first, before every number.
    """

    def eval_batch_collect(self, scores_tensor, interaction, positive_u, positive_i):
        if torch.isnan(scores_tensor).any():
            raise TrainingError(
                f"{self.config['model']} gives NaN scores, which cannot be ranked: the training has diverged, or the "
                "model divides by 0"
            )
        original(self, scores_tensor, interaction, positive_u, positive_i)

    return eval_batch_collect


def _keeps_users_without_targets(used_info: Callable[..., Any]) -> bool:
    found = types.SimpleNamespace(get=lambda name: torch.tensor([[1, 1], [0, 0]]))
    return len(used_info(types.SimpleNamespace(topk=[1]), found)[0]) == 2


@replaces(
    "recbole.evaluator.base_metric.TopkMetric.used_info",
    parameters="self dataobject",
    kind="repair",
    until="RecBole leaves out users without targets in all metrics, not only in GAUC",
    probe=_keeps_users_without_targets,
)
def average_over_users_with_targets(original: Callable[..., Any]) -> Callable[..., Any]:
    """Leave users without targets out of the averages, as GAUC does.

    Their recall is 0 / 0, and with it the average; in the other metrics they count as failures.
    """

    def used_info(self, dataobject):
        is_hit, n_targets = original(self, dataobject)
        return is_hit[n_targets > 0], n_targets[n_targets > 0]

    return used_info


def _rounds_in_single_precision(metric_info: Callable[..., Any]) -> bool:
    value = metric_info(None, *(np.array(numbers, dtype=np.float32) for numbers in ([[1]], [3], [1])))
    return value.dtype == np.float32


@replaces(
    "recbole.evaluator.metrics.GAUC.metric_info",
    parameters="self pos_rank_sum user_len_list pos_len_list",
    kind="repair",
    until="RecBole computes GAUC in double precision",
    probe=_rounds_in_single_precision,
)
def compute_gauc_in_double_precision(original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute and round GAUC in double precision.

    In single precision it cannot be rounded: 0.9068 is given as 0.9067999720573425.
    """

    def metric_info(self, pos_rank_sum, user_len_list, pos_len_list):
        return original(self, *(np.float64(numbers) for numbers in (pos_rank_sum, user_len_list, pos_len_list)))

    return metric_info


# Beyond accuracy: in lists of recommended items 0 stands for none, see best_items


def _counts_the_padding_as_an_item(get_coverage: Callable[..., Any]) -> bool:
    return get_coverage(None, np.array([[1, 2]]), 3) != 1


@replaces(
    "recbole.evaluator.metrics.ItemCoverage.get_coverage",
    parameters="self item_matrix num_items",
    kind="repair",
    until="RecBole leaves out the padding",
    probe=_counts_the_padding_as_an_item,
)
def cover_items_but_the_padding(original: Callable[..., Any]) -> Callable[..., Any]:
    """Divide ItemCoverage by the number of items, without the padding.

    With it, the coverage of a catalogue that is recommended as a whole is less than 1.
    """

    def get_coverage(self, item_matrix, num_items):
        return len(np.unique(item_matrix[item_matrix > 0])) / (num_items - 1)

    return get_coverage


def _finds_equal_items_unequal(get_gini: Callable[..., Any]) -> bool:
    return get_gini(None, np.array([[1, 2]]), 3) != 0


@replaces(
    "recbole.evaluator.metrics.GiniIndex.get_gini",
    parameters="self item_matrix num_items",
    kind="repair",
    until="RecBole leaves out the padding",
    probe=_finds_equal_items_unequal,
)
def leave_the_padding_out_of_the_gini_index(original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute the Gini index over the items, without the padding.

    With it, the index of items that are recommended equally often is not 0.
    """

    def get_gini(self, item_matrix, num_items):
        items = item_matrix[item_matrix > 0]
        # RecBole's own formula for a rectangle of items, which needs their number alone.
        return original(self, items.reshape(1, -1), num_items - 1)

    return get_gini


def _is_divided_by_the_number_of_items(get_entropy: Callable[..., Any]) -> bool:
    return abs(get_entropy(None, np.array([[1, 2]])) - np.log(2)) > 1e-9


@replaces(
    "recbole.evaluator.metrics.ShannonEntropy.get_entropy",
    parameters="self item_matrix",
    kind="repair",
    until="RecBole merges its pull request #2165",
    probe=_is_divided_by_the_number_of_items,
)
def sum_up_shannon_entropy(original: Callable[..., Any]) -> Callable[..., Any]:
    """Compute Shannon entropy as RecBole's documentation defines it.

    RecBole divides it by the number of different items that are recommended, so that more diverse lists mostly get a
    lower value, and the order of models is turned round.
    """

    def get_entropy(self, item_matrix):
        times = np.array(list(Counter(item_matrix[item_matrix > 0].tolist()).values()))
        share = times / times.sum()
        return -np.sum(share * np.log(share))

    return get_entropy


def _mean_of_lists(of_item: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The mean of an item's value over the first 1 to K items of each list: float64, shape ``(n_users, K)``."""
    is_item = items > 0
    return np.cumsum(of_item[items] * is_item, axis=1) / np.maximum(np.cumsum(is_item, axis=1), 1)


def _interactions_of_items(dataobject: Any) -> np.ndarray:
    """Number of training interactions by internal item id: int64, shape ``(n_items,)``, 0 for the padding."""
    counts = dataobject.get("data.count_items")
    return np.array([counts.get(item, 0) for item in range(dataobject.get("data.num_items"))])


def _found(**others: Any) -> types.SimpleNamespace:
    found = {"rec.items": torch.tensor([[1, 0]]), "data.count_items": {1: 4}, "data.num_items": 3, **others}
    return types.SimpleNamespace(get=found.__getitem__)


def _counts_what_fills_a_list_up(calculate_metric: Callable[..., Any]) -> bool:
    from recbole.evaluator.metrics import AveragePopularity

    metric = AveragePopularity({"topk": [2], "metric_decimal_place": 4})
    return calculate_metric(metric, _found())["averagepopularity@2"] != 4


@replaces(
    "recbole.evaluator.metrics.AveragePopularity.calculate_metric",
    parameters="self dataobject",
    kind="repair",
    until="RecBole's collector ranks candidates only",
    probe=_counts_what_fills_a_list_up,
)
def average_the_popularity_of_recommended_items(original: Callable[..., Any]) -> Callable[..., Any]:
    """Average the popularity of the items that are recommended, of which there may be fewer than k.

    What a list is filled up with would count.
    """
    _need_the_number_of_items("AveragePopularity")

    def calculate_metric(self, dataobject):
        items = dataobject.get("rec.items").numpy()
        return self.topk_result("averagepopularity", _mean_of_lists(_interactions_of_items(dataobject), items))

    return calculate_metric


def _need_the_number_of_items(name: str) -> None:
    from recbole.evaluator import metrics

    needs = getattr(metrics, name).metric_need  # the very list that RecBole's register holds
    if "data.num_items" not in needs:
        needs.append("data.num_items")


def _leaves_out_items_without_interactions(calculate_metric: Callable[..., Any]) -> bool:
    from recbole.evaluator.metrics import TailPercentage

    metric = TailPercentage({"topk": [1], "metric_decimal_place": 4, "tail_ratio": 0.5})
    found = _found(**{"rec.items": torch.tensor([[2]])})
    return calculate_metric(metric, found)["tailpercentage@1"] != 1


@replaces(
    "recbole.evaluator.metrics.TailPercentage.calculate_metric",
    parameters="self dataobject",
    kind="repair",
    until="RecBole counts items without training interactions among the rare ones",
    probe=_leaves_out_items_without_interactions,
)
def count_unseen_items_among_the_tail(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the tail of TailPercentage be the rarest items of the catalogue, those without a training interaction first.

    RecBole's counter does not have these, so they never are in the tail, and the tail is a part of the others.
    """
    _need_the_number_of_items("TailPercentage")

    def calculate_metric(self, dataobject):
        items, counts = dataobject.get("rec.items").numpy(), _interactions_of_items(dataobject)
        if self.tail > 1:
            in_tail = counts <= self.tail
        else:
            n_items = len(counts) - 1
            # 0.29 of 100 items are 29, although 0.29 * 100 is a little less.
            n_tail = max(int(round(n_items * self.tail, 6)), 1)
            in_tail = np.zeros(len(counts), dtype=bool)
            in_tail[1 + np.argsort(counts[1:], kind="stable")[:n_tail]] = True
        return self.topk_result("tailpercentage", _mean_of_lists(in_tail, items))

    return calculate_metric


# Values


def _takes_one_prediction_for_a_number(used_info: Callable[..., Any]) -> bool:
    return used_info(None, types.SimpleNamespace(get=lambda name: torch.tensor([0.5])))[0].ndim == 0


@replaces(
    "recbole.evaluator.base_metric.LossMetric.used_info",
    parameters="self dataobject",
    kind="repair",
    until="RecBole keeps one prediction a list",
    probe=_takes_one_prediction_for_a_number,
)
def keep_one_prediction_a_list(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the metrics of values also take a single prediction.

    RecBole makes a number of it, and fails.
    """

    def used_info(self, dataobject):
        values, labels = original(self, dataobject)
        return values.reshape(-1), labels.reshape(-1)

    return used_info


def _takes_ratings_for_labels(metric_info: Callable[..., Any]) -> bool:
    try:
        metric_info(None, np.array([0.5, 0.25]), np.array([1.0, 5.0]))
    except OptionError:
        return False
    return True


@replaces(
    "recbole.evaluator.metrics.AUC.metric_info",
    "recbole.evaluator.metrics.LogLoss.metric_info",
    parameters="self preds trues",
    kind="repair",
    until="RecBole refuses labels other than 0 and 1",
    probe=_takes_ratings_for_labels,
)
def refuse_labels_that_are_ratings(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse AUC and LogLoss of labels other than 0 and 1.

    For AUC, RecBole takes a rating of 1 for the only positive one.
    """

    def metric_info(self, preds, trues):
        others = set(np.unique(trues).tolist()) - {0, 1}
        if others:
            raise OptionError(
                f"{type(self).__name__} needs labels of 0 and 1, but there is {min(others):g}: make labels of ratings "
                "by threshold, or use RMSE or MAE"
            )
        return original(self, preds, trues)

    return metric_info


def _cuts_to_probabilities(metric_info: Callable[..., Any]) -> bool:
    try:
        metric_info(None, np.array([2.0]), np.array([1.0]))
    except OptionError:
        return False
    return True


@replaces(
    "recbole.evaluator.metrics.LogLoss.metric_info",
    parameters="self preds trues",
    kind="repair",
    until="RecBole refuses what is no probability",
    probe=_cuts_to_probabilities,
)
def refuse_log_loss_of_what_is_no_probability(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse LogLoss of a model whose scores are no probabilities.

    RecBole cuts them to the interval from 0 to 1, in which most become one of its bounds.
    """

    def metric_info(self, preds, trues):
        if len(preds) and not (preds.min() >= 0 and preds.max() <= 1):
            raise OptionError(
                f"LogLoss needs probabilities, but scores reach from {preds.min():g} to {preds.max():g}: this model "
                "does not predict any; use AUC"
            )
        return original(self, preds, trues)

    return metric_info


# The trainer


def _keeps_what_was_collected_before(evaluate: Callable[..., Any]) -> bool:
    from recbole.evaluator.collector import DataStruct

    stub = mock.MagicMock()
    stub.eval_collector.data_struct = DataStruct()
    stub.eval_collector.data_struct.set("rec.topk", torch.zeros(1))
    evaluate(stub, mock.MagicMock(), load_best_model=False)
    return "rec.topk" in stub.eval_collector.data_struct


@replaces(
    "recbole.trainer.Trainer.evaluate",
    parameters="self eval_data load_best_model model_file show_progress",
    kind="repair",
    until="RecBole's collector starts empty",
    probe=_keeps_what_was_collected_before,
)
def start_an_evaluation_without_leftovers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Start each evaluation without what one that was broken off has left.

    The users that it had come through would be counted again, with the scores of then.
    """

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        collected = self.eval_collector.data_struct
        for name in ("rec.topk", "rec.meanrank", "rec.score", "rec.items", "data.label"):
            if name in collected:
                del collected[name]
        return original(self, eval_data, load_best_model, model_file, show_progress)

    return evaluate
