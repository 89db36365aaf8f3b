"""The pruning schedules, against the paper's formula worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_sparse_elsa.core import SCHEDULES, PruningSchedule
from recbole_sparse_elsa.errors import OptionError


def ks(*args, epochs, **kwargs):
    schedule = PruningSchedule.create(*args, **kwargs)
    return [schedule.k_at(epoch) for epoch in range(epochs)]


def test_exponential_halves_in_stage_epochs():
    # i = 1, 2, 3, …: 64 / 2^1.5 = 22.6, 64 / 2^2 = 16, 64 / 2^2.5 = 11.3, 64 / 2^3 = 8
    assert ks("exponential", 64, 8, stage_epochs=2, epochs=7) == [64, 22, 16, 11, 8, 8, 8]


def test_exponential_of_the_paper_takes_seven_halvings_after_its_first():
    schedule = PruningSchedule.create("exponential", 4096, 16, stage_epochs=5)
    assert schedule.first_final_epoch == 35
    assert schedule.k_at(5) == 1024


def test_exponential_stops_at_a_target_that_the_formula_jumps_over():
    # The formula alone goes 100, 25, 12: below 20.
    assert ks("exponential", 100, 20, stage_epochs=1, epochs=4) == [100, 25, 20, 20]


def test_linear_takes_equal_steps_in_as_many_epochs_as_exponential():
    assert ks("linear", 64, 8, stage_epochs=2, epochs=6) == [64, 50, 36, 22, 8, 8]


def test_stepwise_holds_each_stage_and_adds_the_target():
    assert ks("stepwise", 64, 8, stage_epochs=2, stepwise_k=[32, 16], epochs=6) == [32, 32, 16, 16, 8, 8]
    assert ks("stepwise", 64, 8, stage_epochs=2, stepwise_k=[32, 8], epochs=4) == [32, 32, 8, 8]


def test_constant_is_at_the_target_from_the_first_epoch():
    assert ks("constant", 64, 8, epochs=2) == [8, 8]


def test_a_sparse_start_takes_the_place_of_the_whole_width():
    assert ks("exponential", 4096, 8, stage_epochs=2, start_k=64, epochs=7) == [64, 22, 16, 11, 8, 8, 8]
    assert ks("linear", 4096, 8, stage_epochs=2, start_k=64, epochs=6) == [64, 50, 36, 22, 8, 8]
    assert ks("exponential", 4096, 8, start_k=8, epochs=2) == [8, 8]


@given(
    name=st.sampled_from(SCHEDULES),
    embedding_size=st.integers(1, 5000),
    stage_epochs=st.integers(1, 12),
    data=st.data(),
)
def test_no_schedule_rises_or_passes_below_its_target(name, embedding_size, stage_epochs, data):
    k = data.draw(st.integers(1, embedding_size))
    start_k = data.draw(st.one_of(st.none(), st.integers(k, embedding_size)))
    highest = start_k or embedding_size
    stages = data.draw(st.lists(st.integers(k, highest), min_size=1, max_size=5))
    schedule = PruningSchedule.create(name, embedding_size, k, stage_epochs, sorted(stages, reverse=True), start_k)
    values = [schedule.k_at(epoch) for epoch in range(schedule.first_final_epoch + 3)]
    assert values == sorted(values, reverse=True)
    assert all(k <= value <= highest for value in values)
    assert values[-3:] == [k, k, k] and k not in values[:-3]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("exponential", 64, 0), r"k is 0, but must be a whole number of at least 1"),
        (("exponential", 64, 65), r"k is 65, but must lie in \[1, embedding_size\], and embedding_size is 64"),
        (("exponential", 64, 2.5), r"k is 2.5, but must be a whole number"),
        (("exponential", 0, 1), r"embedding_size is 0, but must be a whole number of at least 1"),
        (("exponential", 64, 8, 0), r"stage_epochs is 0, but must be a whole number of at least 1"),
        (("cubic", 64, 8), r"pruning_schedule is 'cubic', but must be one of exponential, linear, stepwise, constant"),
        (("stepwise", 64, 8), r"stepwise_k is None, but the stepwise schedule needs a list"),
        (("stepwise", 64, 8, 1, [16, 32]), r"stepwise_k is \[16, 32\], but its values must not rise"),
        (("stepwise", 64, 8, 1, [128, 32]), r"its first value must be at most embedding_size, which is 64"),
        (("stepwise", 64, 33, 1, [32, 16]), r"its first value must be at least k, the target, which is 33"),
        (("stepwise", 64, 8, 1, [32, 4]), r"none of its values may be below k, the target, which is 8"),
        (("stepwise", 64, 8, 1, [32, 8], 16), r"its first value must be at most start_k, which is 16"),
        (
            ("exponential", 64, 8, 1, None, 65),
            r"start_k is 65, but must be .* in \[k, embedding_size\], that is 8 to 64",
        ),
        (("exponential", 64, 8, 1, None, 7), r"start_k is 7, but must be"),
        (("exponential", 64, 8, 1, None, 16.0), r"start_k is 16.0, but must be a whole number"),
        (("stepwise", 64, 8, 1, [32, "x"]), r"all of its values must be whole numbers"),
    ],
)
def test_refuses_what_cannot_be_meant_in_one_line(arguments, message):
    with pytest.raises(OptionError, match=message) as error:
        PruningSchedule.create(*arguments)
    assert "\n" not in str(error.value)
