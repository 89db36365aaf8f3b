"""Negatives as repaired."""

import numpy as np
import pytest
from conftest import QUIET, check_one_line, make_config, prepare
from recbole.quick_start import run_recbole

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.plugin.repairs.sampling import draw_candidates

pytestmark = pytest.mark.usefixtures("root_logger")
WEIGHTS = np.array([0.0, 1, 1, 1, 1, 1])


def test_candidates_are_different_items_that_are_not_known():
    for seed in range(50):
        drawn = draw_candidates(WEIGHTS, {2, 4}, 2, (seed,)).tolist()
        assert len(set(drawn)) == 2 and set(drawn) <= {1, 3, 5}
    assert draw_candidates(WEIGHTS, {2, 4}, 9, (0,)).tolist() == [1, 3, 5]
    assert draw_candidates(WEIGHTS, {1, 2, 3, 4, 5}, 9, (0,)).tolist() == []


def test_the_same_seed_gives_the_same_candidates_and_leaves_numpy_as_it_is():
    state = np.random.get_state()[1].tolist()
    assert draw_candidates(WEIGHTS, {1}, 3, (7, 1, 2)).tolist() == draw_candidates(WEIGHTS, {1}, 3, (7, 1, 2)).tolist()
    assert len({tuple(draw_candidates(WEIGHTS, {1}, 3, (7, 1, user))) for user in range(40)}) > 1
    assert np.random.get_state()[1].tolist() == state


def test_an_item_of_three_times_the_weight_is_drawn_three_times_as_often():
    drawn = [draw_candidates(np.array([0, 3.0, 1]), set(), 1, (seed,))[0] for seed in range(4000)]
    assert np.mean(np.array(drawn) == 1) == pytest.approx(0.75, abs=0.03)


def test_traditional_models_get_no_negatives_and_others_do(checkerboard):
    for model, has_negatives in (("EASE", False), ("BPR", True)):
        run = prepare(model, checkerboard)
        assert ("neg_item_id" in next(iter(run.train_data)) or "label" in next(iter(run.train_data))) == has_negatives


@pytest.mark.parametrize("mode", ["uni0", "pop", "labeled"])
def test_a_mode_that_cannot_be_ranked_is_refused_before_any_data(checkerboard, mode):
    with pytest.raises(OptionError) as caught:
        make_config(checkerboard, eval_args={"mode": mode})
    check_one_line(caught, mode)


def test_a_run_on_a_sample_can_be_repeated(checkerboard):
    options = {**QUIET, "eval_args": {"mode": "uni20"}}
    results = [run_recbole(model="EASE", dataset=checkerboard, config_dict=options, saved=False) for _ in range(2)]
    assert results[0] == results[1]
