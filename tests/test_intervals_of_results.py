"""Confidence intervals of a leaderboard: bootstrap over users, seeded, of figures and of paired differences."""

import csv
import math
import time

import numpy
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_tables import better_and_worse, cell, read, run_tables, write_results, write_users

from recbole_sparse_elsa.leaderboard import plots
from recbole_sparse_elsa.leaderboard.intervals import (
    N_RESAMPLES,
    SEED,
    confidence_intervals,
    interval_tables,
    intervals_of_results,
)
from recbole_sparse_elsa.leaderboard.read_results import read_results
from recbole_sparse_elsa.leaderboard.significance import compare_with_baseline


def users_of(values, names=None):
    return pandas.Series(values, index=names or [f"u{i:06}" for i in range(len(values))])


def test_intervals_are_those_of_scipy_applied_to_the_mean():
    generator = numpy.random.default_rng(0)
    samples = [generator.random(30), generator.random(30) ** 3]
    found = confidence_intervals([users_of(sample) for sample in samples])
    for sample, interval in zip(samples, found):
        expected = stats.bootstrap(
            (sample,),
            numpy.mean,
            method="percentile",
            n_resamples=N_RESAMPLES,
            random_state=numpy.random.default_rng(SEED),
        ).confidence_interval
        assert interval == pytest.approx(list(expected), rel=1e-12)
    assert numpy.array_equal(found, confidence_intervals([users_of(sample) for sample in samples]))


def test_of_many_users_the_interval_is_about_1_96_standard_errors_to_both_sides():
    values = numpy.random.default_rng(1).normal(0.3, 0.1, 2000)
    ((low, high),) = confidence_intervals([users_of(values)])
    error = values.std(ddof=1) / math.sqrt(2000)
    assert [(low - values.mean()) / error, (high - values.mean()) / error] == pytest.approx([-1.96, 1.96], abs=0.08)


def test_of_two_users_all_that_can_be_drawn_is_within_the_interval():
    # 0 and 1 each in a quarter of the draws, .5 in half of them.
    assert confidence_intervals([users_of([0.0, 1.0])]).tolist() == [[0, 1]]


def test_one_user_or_none_has_no_interval_and_constant_values_have_one_without_width():
    intervals = confidence_intervals([users_of([0.5]), users_of([]), users_of([0.25] * 7), users_of([0.0] * 7)])
    assert numpy.isnan(intervals[:2]).all()
    assert intervals[2:].tolist() == [pytest.approx([0.25, 0.25], rel=1e-12), [0, 0]]
    assert confidence_intervals([]).shape == (0, 2)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_intervals_of_metrics_within_0_and_1_are_within_0_and_1(values):
    ((low, high),) = confidence_intervals([users_of(values)])
    assert -1e-12 <= low <= high <= 1 + 1e-12


def test_samples_of_other_users_do_not_change_an_interval():
    values = list(numpy.random.default_rng(2).random(20))
    alone = confidence_intervals([users_of(values)])
    others = users_of(values[:15], [f"v{i}" for i in range(15)])
    together = confidence_intervals([others, users_of(values), users_of(values[::-1])])
    assert together[1].tolist() == alone[0].tolist()


def test_folds_and_then_seeds_of_a_user_are_averaged_and_each_user_counts_once():
    write_users({"Mtoy1": {"a#0": 0.5, "a#1": 0.75, "b#0": 0.5}, "Mtoy2": {"b#0": 0.25, "c#0": 1.0, "d#0": math.nan}})
    results, _ = read([cell("M", {"ndcg@100": 0.5}, seed=seed) for seed in (1, 2)])
    (row,) = intervals_of_results(results, ".", ["ndcg@100"]).to_dict("records")
    expected = confidence_intervals([users_of([0.625, 0.375, 1.0])])[0]
    assert (row["method"], row["users"], row["seeds"]) == ("M", 3, 2)
    assert row["mean"] == pytest.approx(2 / 3)
    assert [row["low"], row["high"]] == pytest.approx(list(expected))
    (table,) = interval_tables(pandas.DataFrame([row]), results)
    assert any(note.startswith("The mean over users is not the mean over seeds") for note in table.notes)


def test_differences_are_paired_so_that_a_shift_of_every_user_has_no_width():
    base = numpy.random.default_rng(3).random(50)
    values = {"Mtoy1": base + 0.125, "Btoy1": base}
    write_users({name: {f"u{i}": v for i, v in enumerate(of_users)} for name, of_users in values.items()})
    write_results([cell(name, {"ndcg@100": 0.5}) for name in "MB"])
    (row,) = compare_with_baseline(read_results("results.csv"), ".", "B", ["ndcg@100"]).to_dict("records")
    assert [row["difference_low"], row["difference_high"]] == pytest.approx([0.125, 0.125])


def test_the_report_has_the_intervals_of_figures_and_of_differences_in_tables_and_plots():
    values = better_and_worse()
    written = run_tables("--baseline", "Baseline")
    rows = {row["method"]: row for row in csv.DictReader(open("out/intervals.csv", encoding="utf-8"))}
    assert list(rows) == list(values)
    for name, row in rows.items():
        low, high = confidence_intervals([users_of(values[name])])[0]
        # Users are drawn in the order of their tokens: u0, u1, u10, ...
        assert float(row["low"]) == pytest.approx(low, abs=0.01) and float(row["high"]) == pytest.approx(high, abs=0.01)
        assert float(row["low"]) < float(row["mean"]) < float(row["high"])
        assert (row["level"], row["resamples"], row["resampling_seed"]) == ("0.95", "9999", "2020")
        shown = f"[{float(row['low']):.4f}, {float(row['high']):.4f}]"
        assert shown.replace("[", "\\[").replace("]", "\\]") in written["intervals.md"].decode()
        assert shown in written["intervals.tex"].decode()
    (difference, *_) = csv.DictReader(open("out/significance.csv", encoding="utf-8"))
    shown = f"[{float(difference['difference_low']):+.4f}, {float(difference['difference_high']):+.4f}]"
    assert shown in written["significance.tex"].decode()
    assert {"intervals-toy-ndcg@100.pdf", "differences-toy-ndcg@100.svg"} <= set(written)
    assert "percentile bootstrap over users" in written["intervals.md"].decode()


def test_plots_of_intervals_have_a_mean_and_a_line_for_each_method():
    rows = [("A $x", 0.5, 0.25, 0.625), ("one user", 0.25, math.nan, math.nan), ("no user", math.nan, 0, 1)]
    intervals = pandas.DataFrame(rows, columns=["method", "mean", "low", "high"])
    intervals = intervals.assign(dataset="toy", metric="ndcg@10")
    axes = plots.intervals_of_figures(intervals, "toy", "ndcg@10")
    assert [line.get_xydata().tolist() for line in axes.get_lines()] == [[[0.5, 0]], [[0.25, 1]]]
    assert axes.collections[0].get_segments()[0].tolist() == [[0.25, 0], [0.625, 0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A $x", "one user"]
    assert plots.intervals_of_figures(intervals, "other", "ndcg@10") is None


def test_without_the_metrics_of_users_a_line_says_why_there_are_no_intervals(capsys):
    write_results([cell("A", {"ndcg@100": 0.5})])
    assert "intervals.md" not in run_tables()
    assert "No intervals: " in capsys.readouterr().out


@pytest.mark.slow
def test_of_100_000_users_and_40_methods_the_intervals_take_minutes_at_most_and_little_memory():
    generator = numpy.random.default_rng(0)
    names = [f"u{i}" for i in range(100_000)]
    samples = [pandas.Series(generator.random(100_000), index=names) for _ in range(40)]
    start = time.perf_counter()
    intervals = confidence_intervals(samples)
    assert time.perf_counter() - start < 300
    assert (intervals[:, 1] - intervals[:, 0] < 0.01).all()
