"""RecBole's figures, metrics and case study."""

import copy

import numpy as np
import pytest
import torch
from conftest import QUIET, check_one_line, prepare, write_interactions
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import BPR
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_trainer
from recbole.utils.case_study import full_sort_scores, full_sort_topk

from recbole_sparse_elsa.errors import DatasetError, TrainingError

pytestmark = pytest.mark.usefixtures("root_logger")
# EASE on ml-100k with all of RecBole's defaults (seed 2020), as RecBole 1.2.1 gave on the stack of its time.
EASE_ON_ML_100K = {"recall@10": 0.2805, "mrr@10": 0.5277, "ndcg@10": 0.3295, "hit@10": 0.8197, "precision@10": 0.2206}


def test_ease_gives_the_known_figures_whatever_the_batches():
    results = []
    for options in ({}, {"eval_batch_size": 4096}):
        result = run_recbole(model="EASE", dataset="ml-100k", config_dict={**QUIET, **options}, saved=False)
        results.append(dict(result["test_result"]))
    assert results[0] == results[1]
    assert results[0] == pytest.approx(EASE_ON_ML_100K, abs=1e-9)


@pytest.mark.parametrize("model", ["EASE", "PrunedEASE"])
def test_a_model_of_one_epoch_is_validated_whatever_the_eval_step(checkerboard, model):
    results = [
        run_recbole(model=model, dataset=checkerboard, config_dict={**QUIET, "eval_step": eval_step})
        for eval_step in (1, 5)
    ]
    assert results[0] == results[1]
    assert results[1]["best_valid_score"] > 0


def test_figures_are_plain_floats(checkerboard):
    result = run_recbole(model="Pop", dataset=checkerboard, config_dict=QUIET, saved=False)
    for figures in (result["best_valid_result"], result["test_result"]):
        assert {type(value) for value in figures.values()} == {float}
        assert "np." not in repr(figures)


def test_figures_beyond_accuracy(checkerboard):
    metrics = ["ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage", "ShannonEntropy", "Recall"]
    run = prepare("Pop", checkerboard, metrics=metrics, topk=[5], valid_metric="Recall@5", tail_ratio=0.1)
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    found = run.trainer.evaluate(run.test_data, load_best_model=False)
    again = run.trainer.evaluate(run.test_data, load_best_model=False)
    assert found == again

    # Pop has equal scores, of which the item whose token comes first is ranked first.
    scores = full_sort_scores(run.test_data.uid_list, run.model, run.test_data).numpy()
    tokens = run.dataset.field2id_token["item_id"].astype(str)
    recommended = torch.tensor(np.array([np.lexsort((tokens, -row))[:5] for row in scores]))
    counts = np.bincount(run.train_data.dataset.inter_feat["item_id"], minlength=41)
    times_recommended = np.sort(np.bincount(recommended.flatten(), minlength=41)[1:])  # without the padding
    gini = sum((2 * rank - 40 - 1) * times for rank, times in enumerate(times_recommended, 1))
    assert found["itemcoverage@5"] == pytest.approx(len(np.unique(recommended)) / 40, abs=1e-4)
    assert found["averagepopularity@5"] == pytest.approx(counts[recommended].mean(), abs=1e-4)
    assert found["giniindex@5"] == pytest.approx(gini / 40 / recommended.numel(), abs=1e-4)


def test_figures_beyond_accuracy_of_a_loaded_model(checkerboard, tmp_path):
    metrics = ["ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage", "Recall"]
    options = {**QUIET, "metrics": metrics, "topk": [5], "valid_metric": "Recall@5", "epochs": 1}
    result = run_recbole(model="BPR", dataset=checkerboard, config_dict={**options, "checkpoint_dir": str(tmp_path)})
    config, model, *_, test_data = load_data_and_model(str(next(tmp_path.glob("*.pth"))))
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]

    # Of a copy nobody knows the data.
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, copy.deepcopy(model))
    with pytest.raises(TrainingError, match=r"ItemCoverage.*data_collect\(train_data\)"):
        trainer.evaluate(test_data, load_best_model=False)


def test_a_case_study_lists_what_the_evaluation_lists(checkerboard):
    """Of equal scores, as Pop has many, the item whose token comes first."""
    run = prepare("Pop", checkerboard)
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    users = run.test_data.uid_list[:20]
    scores = full_sort_scores(users, run.model, run.test_data).numpy()
    tokens = run.dataset.field2id_token["item_id"].astype(str)
    for k in (1, 5, 12):
        values, items = full_sort_topk(users, run.model, run.test_data, k)
        assert items.tolist() == [np.lexsort((tokens, -row))[:k].tolist() for row in scores]
        np.testing.assert_array_equal(values, np.take_along_axis(scores, items.numpy(), axis=1))


class _NoSuchOperation(BPR):
    def full_sort_predict(self, interaction):
        raise NotImplementedError("Could not run 'aten::topk' with arguments from the 'SparseCsrCPU' backend")


class _PredictOnly(BPR):
    full_sort_predict = GeneralRecommender.full_sort_predict


def with_class(run, model_class):
    run.model.__class__ = model_class
    return run


def test_a_missing_operation_is_not_taken_for_a_missing_method(checkerboard):
    run = with_class(prepare("BPR", checkerboard), _NoSuchOperation)
    with pytest.raises(RuntimeError, match="_NoSuchOperation.full_sort_predict .*aten::topk") as caught:
        run.trainer.evaluate(run.test_data, load_best_model=False)
    assert isinstance(caught.value.__cause__, NotImplementedError)
    with pytest.raises(RuntimeError, match="aten::topk"):
        full_sort_scores([1], run.model, run.test_data)
    assert "full_sort_predict" not in vars(run.model)


def test_a_model_without_full_sort_predict_is_still_evaluated(checkerboard):
    run = prepare("BPR", checkerboard)
    expected = run.trainer.evaluate(run.test_data, load_best_model=False)
    with_class(run, _PredictOnly)
    assert run.trainer.evaluate(run.test_data, load_best_model=False) == expected


def test_case_study_of_a_user_without_test_interactions(working_folder):
    pairs = [(user, item) for user in range(10) for item in range(12) if item % 10 != user] + [("lonely", 1)]
    write_interactions(working_folder / "dataset", "few", pairs)
    run = prepare("BPR", "few")
    lonely = run.dataset.token2id("user_id", "lonely")
    scores = full_sort_scores(run.test_data.uid_list.numpy(), run.model, run.test_data)
    assert scores.shape == (10, run.dataset.item_num)
    with pytest.raises(DatasetError) as caught:
        full_sort_topk([run.test_data.uid_list[0], lonely, 10**6], run.model, run.test_data, 3)
    check_one_line(caught, f"users {lonely}, 1000000 ")
