"""What is the same, only faster."""

import logging
import types
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix, eye, hstack
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from recbole_sparse_elsa.machine.memory import available_memory
from recbole_sparse_elsa.plugin.full_sort import defines_full_sort_predict
from recbole_sparse_elsa.plugin.patching import replaces


def _fits_on_the_whole_catalogue(init: Callable[..., Any]) -> bool:
    from recbole.model.abstract_recommender import GeneralRecommender
    from recbole.model.general_recommender import slimelastic

    n_items, widths = 3, []

    class ElasticNet:
        sparse_coef_ = csr_matrix((1, n_items))

        def __init__(self, **options):
            pass

        def fit(self, X, y):
            widths.append(X.shape[1])

    # No two of these items share a user.
    dataset = types.SimpleNamespace(inter_matrix=lambda form: eye(n_items, format=form))
    config = {"hide_item": True, "alpha": 1.0, "l1_ratio": 0.5, "positive_only": True}
    model = slimelastic.SLIMElastic.__new__(slimelastic.SLIMElastic)
    with (
        mock.patch.object(GeneralRecommender, "__init__", lambda self, *args: torch.nn.Module.__init__(self)),
        mock.patch.object(slimelastic, "ElasticNet", ElasticNet),
    ):
        init(model, config, dataset)
    return widths == [n_items] * n_items


@replaces(
    "recbole.model.general_recommender.slimelastic.SLIMElastic.__init__",
    parameters="self config dataset",
    kind="speed",
    until="RecBole leaves out the items that cannot get a weight",
    probe=_fits_on_the_whole_catalogue,
)
def fit_slim_on_related_items(original: Callable[..., Any]) -> Callable[..., Any]:
    """Fit each item's regression of SLIMElastic on the items alone that can get a weight: minutes instead of hours.

    RecBole fits it on the whole catalogue, and converts the matrix of all interactions again for each item. Where
    weights are not negative, as by default, the correlation of an item with what is left to explain is at most the
    number of users that it shares with the target; if that is within the L1 penalty, its weight stays 0. What is
    minimised is the same.
    """
    from recbole.model.general_recommender import slimelastic
    from recbole.model.general_recommender.slimelastic import SLIMElastic

    def init(self, config, dataset):
        if not (config["positive_only"] and config["hide_item"]):
            original(self, config, dataset)
            return
        super(SLIMElastic, self).__init__(config, dataset)
        for option in ("hide_item", "alpha", "l1_ratio", "positive_only"):
            setattr(self, option, config[option])
        self.dummy_param = torch.nn.Parameter(torch.zeros(1))
        self.interaction_matrix = dataset.inter_matrix(form="csr").astype(np.float32)
        self.item_similarity = _slim_weights(slimelastic.ElasticNet, self.interaction_matrix, config)
        self.other_parameter_name = ["interaction_matrix", "item_similarity"]

    return init


def _slim_weights(elastic_net: Callable[..., Any], interactions: csr_matrix, config: Any) -> csc_matrix:
    """Of SLIM: float32 CSC matrix of items x items, in whose column the weights stand that predict an item."""
    n_users, n_items = interactions.shape
    regression = elastic_net(
        alpha=config["alpha"],
        l1_ratio=config["l1_ratio"],
        positive=True,
        fit_intercept=False,
        copy_X=False,
        selection="random",
        max_iter=100,
        tol=1e-4,
    )
    by_item = interactions.tocsc()
    shared_users = (by_item.T @ by_item).tocsc()
    l1_penalty = n_users * config["alpha"] * config["l1_ratio"]
    columns = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        for item in tqdm(range(n_items), desc="SLIMElastic", unit="item", disable=not config["show_progress"]):
            column = shared_users[:, [item]]
            others = column.indices[(column.data > l1_penalty) & (column.indices != item)]
            weights = np.zeros(0, dtype=np.float32)
            if len(others):
                regression.fit(by_item[:, others], by_item[:, [item]].toarray().ravel())
                weights = regression.coef_
            columns.append(csc_matrix((weights, (others, np.zeros_like(others))), shape=(n_items, 1)))
    similarity = hstack(columns, format="csc", dtype=np.float32)
    similarity.eliminate_zeros()
    return similarity


# Models whose memory per score is a multiple of the embedding size, and one that ranks alike all users of a batch.
_KEEP_RECBOLE_BATCHES = ("ENMF", "GCMC", "Random")
_MAX_SCORES = 2**24
_BYTES_PER_SCORE = 24  # the scores, RecBole's mask of the positives, and the model's own temporaries


def _users_per_batch(n_users: int, n_items: int, device: torch.device) -> int:
    budget = min(_MAX_SCORES, available_memory(device) // 8 // _BYTES_PER_SCORE)
    return max(1, min(budget // n_items, n_users))


def _evaluates_one_user_at_a_time(init_batch_size_and_step: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(config={"eval_batch_size": 4096}, is_sequential=False)
    stub._dataset.item_num = 5000
    init_batch_size_and_step(stub)
    return stub.step == 1


@replaces(
    "recbole.data.dataloader.FullSortEvalDataLoader._init_batch_size_and_step",
    parameters="self",
    kind="speed",
    until="RecBole's default depends on the number of items",
    probe=_evaluates_one_user_at_a_time,
)
def evaluate_many_users_at_a_time(original: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluate many users at a time, unless the user set eval_batch_size.

    RecBole's default, 4096 scores, is two users of ml-100k and one user from 4097 items on, which makes evaluation
    several times as slow (issues #1556, #1878, #1843). The figures are the same.
    """

    def init_batch_size_and_step(self):
        original(self)
        config = self.config
        set_by_user = (
            "eval_batch_size" in config.external_config_dict
            or config["eval_batch_size"] != config.internal_config_dict["eval_batch_size"]
        )
        keep = config["model"] in _KEEP_RECBOLE_BATCHES or not defines_full_sort_predict(config.model_class)
        if self.is_sequential or set_by_user or keep:
            return
        n_items = self._dataset.item_num
        self.step = _users_per_batch(self.sample_size, n_items, config["device"])
        self.set_batch_size(self.step * n_items)
        if self.sample_size:
            logging.getLogger().info(f"Evaluating {self.step} users at a time, as eval_batch_size is not set")

    return init_batch_size_and_step
