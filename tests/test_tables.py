"""``sparse-elsa tables``: tables, plots and significance tests from a leaderboard's results.csv."""

import csv
import json
import math
import os
import re
import shutil
import sys

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.leaderboard import plots
from recbole_sparse_elsa.leaderboard.read_results import choose_metrics, mean_over_seeds, read_results
from recbole_sparse_elsa.leaderboard.significance import compare, compare_with_baseline, holm, read_users
from recbole_sparse_elsa.leaderboard.tables import in_latex, in_markdown, results_table, size_table
from recbole_sparse_elsa.leaderboard.user_metrics import write_user_metrics

VERSIONS = {
    **{"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "scipy": "1.17.1", "pandas": "3.1.1"},
    **{"recbole": "1.2.1", "recbole_sparse_elsa": "0.1.0"},
}
EVAL_ARGS = {"split": {"HU": {"test_users": 2}}, "mode": "full"}


def cell(label, values, size="", size_bytes="", seed=1, dataset="toy", model="EASE", phase="test", **config):
    """The rows of one cell: ``values`` maps metrics to numbers."""
    return [
        {
            **{"label": label, "model": model, "dataset": dataset, "seed": seed, "size": size, "phase": phase},
            **{"metric": metric, "value": value, "train_seconds": 1, "bytes_per_item": size_bytes},
            **{"data_checksum": "c0ffee", "config": json.dumps({"eval_args": EVAL_ARGS, **config})},
            **{"cell": re.sub(r"\W", "", f"{label}-{dataset}-{size}-{seed}"), **VERSIONS},
        }
        for metric, value in values.items()
    ]


def write_results(cells, file="results.csv"):
    rows = [row for cell_rows in cells for row in cell_rows]
    with open(file, "w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def read(cells):
    results = read_results(write_results(cells))
    return results, mean_over_seeds(results)


def sparse(label, k, value, seed=1, **config):
    """A cell of a pruned model."""
    config = {"pruning_schedule": "exponential", "restart": True, "embedding_size": 512, **config}
    return cell(label, {"ndcg@100": value}, f"k={k}", 8 * k, seed, model="SparseELSA", k=k, **config)


def write_users(values_of):
    """Per-user files as of version 0.1.0: from the name of a cell to a mapping of tokens, or of u#fold, to NDCG@100."""
    for name, values in values_of.items():
        os.makedirs(f"cells/{name}")
        users = pandas.DataFrame({"user": list(values), "ndcg@100": list(values.values())})
        if "#" in users["user"][0]:
            users["fold"] = users["user"].str.rpartition("#")[2].astype(int)
        users.to_parquet(f"cells/{name}/per_user.parquet", index=False)


# Tables


def test_a_table_has_the_mean_and_standard_deviation_over_seeds_with_the_best_bold_and_the_second_underlined():
    results, means = read(
        [
            cell("A", {"ndcg@10": 0.1, "giniindex@10": 0.9}, "k=4", 32, seed=1),
            cell("A", {"ndcg@10": 0.3, "giniindex@10": 0.7}, "k=4", 32, seed=2),
            cell("A", {"ndcg@10": 0.9, "giniindex@10": 0.9}, "k=4", 32, seed=2, phase="valid"),
            cell("B", {"ndcg@10": 0.4, "giniindex@10": 0.4}, seed=1),
            cell("B", {"ndcg@10": 0.5, "giniindex@10": 0.5}, seed=2),
            cell("C", {"ndcg@10": 0.15, "giniindex@10": 0.5}, "", 1234, seed=1),
            cell("C", {"ndcg@10": 0.25, "giniindex@10": 0.5}, "", 1234, seed=2),
        ]
    )
    assert re.sub(" +", " ", results_table(results, means, "toy").markdown()) == (
        "## toy: test data\n"
        "\n"
        "| method | size | bytes per item | NDCG@10 | GiniIndex@10 |\n"
        + re.search(r"\n(\|-.*\n)", results_table(results, means, "toy").markdown()).group(1)
        # Standard deviations of a sample: 0.2 / sqrt(2) and 0.1 / sqrt(2). A smaller Gini index is better.
        + "| A | k=4 | 32 | <ins>0.2000 ± 0.1414</ins> | 0.8000 ± 0.1414 |\n"
        "| B | – | – | **0.4500 ± 0.0707** | **0.4500 ± 0.0707** |\n"
        "| C | – | 1,234 | <ins>0.2000 ± 0.0707</ins> | <ins>0.5000 ± 0.0000</ins> |\n"
        "\n"
        "- Test data, mean ± standard deviation over 2 seeds (1, 2). Best bold, second underlined.\n"
        '- Protocol: eval\\_args {"split": {"HU": {"test\\_users": 2}}, "mode": "full"}.\n'
        "- Data checksum: c0ffee.\n"
        "- Versions: python 3.11.7, torch 2.13.0, numpy 2.4.6, scipy 1.17.1, pandas 3.1.1, recbole 1.2.1, "
        "recbole\\_sparse\\_elsa 0.1.0.\n"
    )


def test_latex_is_booktabs_with_everything_escaped():
    results, means = read(
        [
            cell(r"50% of_A & {B} #1 ~^\ $x$", {"ndcg@10": 0.5}, seed=1),
            cell(r"50% of_A & {B} #1 ~^\ $x$", {"ndcg@10": 0.5}, seed=2),
            cell("C", {"ndcg@10": 0.25}, seed=1),
            cell("C", {"ndcg@10": 0.25}, seed=2),
        ]
    )
    label = r"50\% of\_A \& \{B\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{} \$x\$"
    assert results_table(results, means, "toy").latex() == (
        r"""% toy: test data
% Protocol: eval_args {"split": {"HU": {"test_users": 2}}, "mode": "full"}.
% Data checksum: c0ffee.
% Versions: python 3.11.7, torch 2.13.0, numpy 2.4.6, scipy 1.17.1, pandas 3.1.1, recbole 1.2.1, VERSION.
\begin{table}[tbp]
\centering
\caption{toy: test data}
\fontsize{8}{9.5}\selectfont\setlength{\tabcolsep}{3pt}
\begin{tabular}{@{}lr@{}}
\toprule
method & NDCG@10 \\
\midrule
LABEL & \textbf{0.5000$\pm$0.0000} \\
C & \underline{0.2500$\pm$0.0000} \\
\bottomrule
\end{tabular}
\par\smallskip\raggedright
Test data, mean $\pm$ standard deviation over 2 seeds (1, 2). Best bold, second underlined.\par
Protocol: eval args split: HU: test users: 2, mode: full.\par
\end{table}
""".replace("LABEL", label).replace("VERSION", "recbole_sparse_elsa 0.1.0")
    )


@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"])))
def test_escaped_text_holds_no_markup(text):
    without_commands = re.sub(r"\\[a-z]+\{\}|\\[&%$#_{}]|\$\\pm\$", "", in_latex(text))
    assert not set(without_commands) & set("&%$#_{}~^\\<>|\"")
    assert not re.search(r"[`*_|<>\[\]]", re.sub(r"\\.", "", in_markdown(text)))
    assert re.sub(r"\\(.)", r"\1", in_markdown(text)) == " ".join(text.split())


def test_a_label_with_a_bar_stays_in_its_cell():
    results, means = read([cell("a|b", {"ndcg@10": 0.5}), cell("NA", {"ndcg@10": 0.1})])
    table = results_table(results, means, "toy").markdown()
    assert "a\\|b" in table and " NA " in table


def test_one_seed_has_no_standard_deviation_and_missing_or_infinite_values_no_rank():
    results, means = read(
        [
            cell("A", {"ndcg@10": 0.5}),
            cell("B", {"ndcg@10": "nan", "hit@10": 0.75}),
            cell("C", {"ndcg@10": "inf", "hit@10": ""}),
            cell("D", {"ndcg@10": 0.25}),
        ]
    )
    table = re.sub(" +", " ", results_table(results, means, "toy").markdown())
    assert "| A | – | – | **0.5000** | – |" in table
    assert "| B | – | – | nan | **0.7500** |" in table
    assert "| C | – | – | inf | – |" in table
    assert "| D | – | – | <ins>0.2500</ins> | – |" in table
    assert "- Test data, one seed (1). Best bold, second underlined.\n- nan, inf: a seed's value is not finite" in table


def test_values_that_print_alike_are_all_best():
    values = {"A": 0.5, "B": 0.500001, "C": 0.4}
    results, means = read([cell(label, {"mrr": value}) for label, value in values.items()])
    table = results_table(results, means, "toy").markdown()
    assert table.count("**0.5000**") == 2 and "<ins>0.4000</ins>" in table


def test_what_differs_between_rows_is_said_under_the_table():
    other_data = cell("C", {"mrr": 0.3}, "k=2", 16)
    other_data[0]["data_checksum"] = "decaf"
    results, means = read(
        [
            cell("A", {"mrr": 0.1}, seed=1),
            cell("A", {"mrr": 0.1}, seed=2),
            cell("B", {"mrr": 0.2}, seed=2, eval_args={"mode": "uni100"}),
            other_data,
        ]
    )
    notes = results_table(results, means, "toy").notes
    assert "Not every seed has finished; there are only: B 2; C, k=2 1." in notes
    assert "Data checksum differs between rows: c0ffee (A, B); decaf (C, k=2)." in notes
    (protocol,) = (note for note in notes if "Protocol" in note)
    assert re.fullmatch(r"Protocol differs between rows: .*HU.* \(A, C, k=2\); .*uni100.* \(B\)\.", protocol)


def test_the_size_table_compares_methods_at_equal_bytes_per_item():
    results, means = read(
        [
            cell("EASE", {"ndcg@100": 0.9}, "", 40000),
            cell("BPR", {"ndcg@100": 0.05}),
            # A method may end with slightly fewer non-zeros than it may have.
            *(cell("SAE", {"ndcg@100": v}, f"k={k}", b) for k, v, b in ((4, 0.1, 31), (16, 0.2, 128))),
            *(sparse("Sparse ELSA", k, v) for k, v in ((16, 0.3), (8, 0.25), (4, 0.2))),
            *(cell("ELSA", {"ndcg@100": v}, f"embedding_size={d}", 4 * d) for d, v in ((32, 0.2), (8, 0.2))),
            cell("Same size", {"ndcg@100": 0.5}, "", 64),
        ]
    )
    table = size_table(results, means, "toy", "ndcg@100")
    assert table.headings == ["method", "other size", "128 B", "64 B", "31–32 B"]
    rows = {row[0]: [cell if isinstance(cell, str) else cell.markdown() for cell in row[1:]] for row in table.rows}
    assert rows == {
        "EASE (40,000 B)": ["0.9000", "–", "–", "–"],
        "BPR": ["0.0500", "–", "–", "–"],
        "SAE": ["–", "<ins>0.2000</ins>", "–", "<ins>0.1000</ins>"],
        "Sparse ELSA": ["–", "**0.3000**", "<ins>0.2500</ins>", "**0.2000**"],
        "ELSA": ["–", "<ins>0.2000</ins>", "–", "**0.2000**"],
        "Same size": ["–", "–", "**0.5000**", "–"],
    }


def test_sizes_of_unknown_bytes_are_compared_by_their_names():
    results, means = read([cell(m, {"mrr": 0.5}, f"k={k}") for m in "AB" for k in (2, 4)])
    assert size_table(results, means, "toy", "mrr").headings == ["method", "k=2", "k=4"]


def test_without_several_sizes_there_is_no_size_table():
    results, means = read([cell("A", {"mrr": 0.5}, "", 8), cell("B", {"mrr": 0.5}, "", 8)])
    assert size_table(results, means, "toy", "mrr") is None


# Significance


def test_holm_on_a_worked_example():
    # Sorted .005, .01, .03, .04 become .005 * 4, .01 * 3, .03 * 2 and, as its predecessor is larger, .06 again.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, math.nan, 0.6]) == pytest.approx([1, math.nan, 1], nan_ok=True)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values):
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[i] * (len(p_values) - step) > level:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected


def test_p_values_are_those_of_the_paired_tests():
    generator = numpy.random.default_rng(0)
    method, baseline = generator.random(40), generator.random(40)
    t_test_p, wilcoxon_p = compare(method - baseline)
    assert t_test_p == pytest.approx(stats.ttest_rel(method, baseline).pvalue)
    assert wilcoxon_p == pytest.approx(stats.wilcoxon(method, baseline).pvalue)
    # By hand: mean 2, standard deviation 1 over 3 users, t = 2 sqrt(3); and all 3 ranks positive, 2 of 2**3 outcomes.
    t_test_p, wilcoxon_p = compare([1, 2, 3])
    assert t_test_p == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), df=2))
    assert wilcoxon_p == pytest.approx(2 / 8)


def test_equal_and_too_few_users():
    assert compare([0, 0, 0]) == (1, 1)
    assert all(map(math.isnan, compare([0.5])))
    t_test_p, _ = compare([0.25, 0.25, 0.25])
    assert t_test_p == 0


def better_and_worse():
    generator = numpy.random.default_rng(1)
    base = generator.random(60)
    shifts = {"Baseline": 0, "Better": 0.1, "Worse": -0.1, "Same": 0}
    values = {name: base + shift + generator.normal(0, 0.02, 60) for name, shift in shifts.items()}
    write_users({f"{name}toy1": {f"u{i}": value for i, value in enumerate(v)} for name, v in values.items()})
    write_results([cell(name, {"ndcg@100": v.mean(), "mrr": 0.5}) for name, v in values.items()])
    return values


def test_a_clearly_better_method_is_said_to_be_better_with_a_small_p():
    values = better_and_worse()
    comparisons = compare_with_baseline(read_results("results.csv"), ".", "Baseline", ["ndcg@100"]).set_index("method")
    assert list(comparisons["better"][["Better", "Worse"]]) == ["method", "baseline"]
    for name in ("Better", "Worse"):
        row, difference = comparisons.loc[name], values[name] - values["Baseline"]
        assert row["difference"] == pytest.approx(difference.mean())
        assert row["t_test_p"] == pytest.approx(stats.ttest_rel(values[name], values["Baseline"]).pvalue)
        assert max(row["t_test_holm_p"], row["wilcoxon_holm_p"]) < 1e-9
    assert min(comparisons.loc["Same", ["t_test_p", "wilcoxon_p"]]) > 0.01
    assert list(comparisons["t_test_holm_p"]) == holm(list(comparisons["t_test_p"]))
    assert set(comparisons["users"]) == {60}


def test_folds_and_seeds_of_a_user_are_averaged_and_users_paired_by_token():
    # Seed 1 has users a and b, seed 2 has b and c, seed 3 is the method's alone.
    write_users(
        {
            "Mtoy1": {"a#0": 0.5, "a#1": 0.75, "b#0": 0.5, "b#1": 0.5},
            "Mtoy2": {"c#1": 1.0, "c#0": 0.5, "b#0": 0.25, "b#1": 0.25},
            "Mtoy3": {"a#0": 99.0},
            "Btoy1": {"b#0": 0.0, "b#1": 0.5, "a#1": 0.25, "a#0": 0.25},
            "Btoy2": {"b#0": 0.125, "b#1": 0.125, "c#0": 0.25, "c#1": 0.25},
        }
    )
    cells = [cell("M", {"ndcg@100": 0.5}, seed=seed) for seed in (1, 2, 3)]
    write_results([*cells, *(cell("B", {"ndcg@100": 0.2}, seed=seed) for seed in (1, 2))])
    row = compare_with_baseline(read_results("results.csv"), ".", "B", ["ndcg@100"]).iloc[0]
    # a: .625 - .25; b: (.5 + .25) / 2 - (.25 + .125) / 2; c: .75 - .25.
    differences = [0.375, 0.1875, 0.5]
    assert (row["users"], row["seeds"]) == (3, 2)
    assert row["method_mean"] == pytest.approx((0.625 + 0.375 + 0.75) / 3)
    assert row["difference"] == pytest.approx(sum(differences) / 3)
    assert row["t_test_p"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert row["wilcoxon_p"] == pytest.approx(2 / 8)


def write_new_users(cell, users, folds, values):
    os.makedirs(f"cells/{cell}")
    per_user = pandas.DataFrame({"user": users, "fold": folds, "ndcg@100": values})
    with open(f"cells/{cell}/per_user.parquet", "wb") as file:
        write_user_metrics(per_user, file)


def test_files_of_this_version_and_of_0_1_0_are_paired_by_token():
    write_new_users("Mtoy1", ["a", "a", "b"], [0, 1, 0], [0.5, 0.75, 0.5])
    write_users({"Btoy1": {"b#0": 0.0, "a#0": 0.25, "a#1": 0.25}})
    assert read_users(".", "Mtoy1", "ndcg@100").to_dict() == {"a": 0.625, "b": 0.5}
    assert read_users(".", "Btoy1", "ndcg@100").to_dict() == {"a": 0.25, "b": 0.0}


def test_a_token_that_ends_like_a_fold_of_0_1_0_is_not_cut():
    write_new_users("Mtoy1", ["a#3", "a", "a#3", "a"], [0, 0, 1, 1], [0.25, 0.5, 0.75, 1.0])
    assert read_users(".", "Mtoy1", "ndcg@100").to_dict() == {"a": 0.75, "a#3": 0.5}
    write_users({"Btoy1": {"a#3#0": 0.25, "a#3#1": 0.5}})
    assert read_users(".", "Btoy1", "ndcg@100").to_dict() == {"a#3": 0.375}


def test_users_with_a_value_that_is_not_finite_are_left_out():
    write_users(
        {
            "Mtoy1": {"a#0": 0.5, "b#0": math.nan, "b#1": 0.5, "c#0": 0.5, "d#0": 0.25},
            "Btoy1": {"a#0": 0.25, "b#0": 0.5, "b#1": 0.5, "c#0": math.inf, "d#0": 0.25},
        }
    )
    write_results([cell(label, {"ndcg@100": 0.5}) for label in "MB"])
    row = compare_with_baseline(read_results("results.csv"), ".", "B", ["ndcg@100"]).iloc[0]
    assert (row["users"], row["difference"]) == (2, 0.125)


def test_a_baseline_with_several_sizes_is_compared_at_equal_size():
    ks = (8, 4)
    write_users({f"{label}toyk{k}1": {"a": k, "b": 1.0} for label in "MB" for k in ks} | {"EASEtoy1": {"a": 1.0}})
    write_results(
        [*(sparse(label, k, 0.5) for label in "MB" for k in ks), cell("EASE", {"ndcg@100": 0.5}, "", 40000)]
    )
    comparisons = compare_with_baseline(read_results("results.csv"), ".", "B", ["ndcg@100"])
    assert list(zip(comparisons["method"], comparisons["baseline"])) == [("M, k=8", "B, k=8"), ("M, k=4", "B, k=4")]
    main(["tables", "results.csv", "--output", "out", "--baseline", "B"])
    assert "Not compared, since the baseline has no result of that size: EASE." in open("out/significance.md").read()


def test_of_a_metric_where_smaller_is_better_the_smaller_one_is_better():
    for label, value in (("M", 0.5), ("B", 0.75)):
        os.makedirs(f"cells/{label}toy1")
        users = pandas.DataFrame({"user": ["a", "b"], "rmse": [value, value + 0.01]})
        users.to_parquet(f"cells/{label}toy1/per_user.parquet")
    write_results([cell(label, {"rmse": 0.5}) for label in "MB"])
    row = compare_with_baseline(read_results("results.csv"), ".", "B", ["rmse"]).iloc[0]
    assert (row["better"], row["difference"]) == ("method", -0.25)


# Plots


def lines_of(axes):
    return {container.get_label(): container[0].get_xydata().tolist() for container in axes.containers}


def test_accuracy_by_size_has_a_line_a_method():
    _, means = read(
        [
            *(sparse("Sparse $ELSA", k, v, seed) for k, v in ((4, 0.25), (8, 0.5)) for seed in (1, 2)),
            cell("_EASE", {"ndcg@100": 0.5}, "", 40000),
            cell("BPR", {"ndcg@100": 0.5}),
            cell("Failed", {"ndcg@100": "nan"}, "", 8),
        ]
    )
    axes = plots.accuracy_by_size(means, "toy", "ndcg@100")
    assert axes.get_xscale() == "log"
    assert lines_of(axes) == {"Sparse $ELSA": [[32, 0.25], [64, 0.5]], "_EASE": [[40000, 0.5]]}
    # A method whose bytes are not known is a horizontal line.
    assert [line.get_linestyle() for line in axes.get_lines()] == ["-", "None", "--"]
    assert axes.get_lines()[2].get_ydata() == [0.5, 0.5]
    (legend,) = axes.figure.legends
    names = ["Sparse $ELSA", "_EASE", "BPR (size not known)"]
    assert [text.get_text() for text in legend.get_texts()] == names
    # Ticks are the sizes that were measured, bars are there since there are two seeds.
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["32", "64", "40,000"]
    assert len(axes.get_xticks(minor=True)) == 0
    assert axes.get_ylabel() == "NDCG@100 (mean ± s.d. over seeds)"
    assert plots.schedule_ablation(means, "toy", "ndcg@100") is None
    assert plots.width_ablation(means, "toy", "ndcg@100") is None


def test_with_one_seed_there_are_no_error_bars():
    _, means = read([sparse("A", k, 0.5) for k in (4, 8)])
    axes = plots.accuracy_by_size(means, "toy", "ndcg@100")
    assert not any(container.has_yerr for container in axes.containers) and axes.get_ylabel() == "NDCG@100"
    _, means = read([sparse("A", k, 0.5, seed) for k in (4, 8) for seed in (1, 2)])
    assert all(container.has_yerr for container in plots.accuracy_by_size(means, "toy", "ndcg@100").containers)


def test_the_sizes_of_most_methods_are_ticks_where_labels_would_overlap():
    sizes = {"A": (16, 32, 64, 128, 256), "B": (16, 32, 64, 125, 256), "C": (16, 32, 64, 128, 250)}
    _, means = read([cell(m, {"mrr": 0.5}, f"{s} B", s) for m, of_method in sizes.items() for s in of_method])
    axes = plots.accuracy_by_size(means, "toy", "mrr")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["16", "32", "64", "128", "256"]


def test_the_schedule_ablation_has_a_line_a_schedule():
    schedules = [(name, restart) for name in ("exponential", "linear", "stepwise") for restart in (True, False)]
    _, means = read(
        [
            sparse(f"{name} {restart}", k, 0.5, pruning_schedule=name, restart=restart)
            for name, restart in [*schedules, ("constant", True)]
            for k in (16, 8)
        ]
        # Another width without a second schedule, and a model that does not prune.
        + [sparse("wide", 8, 0.5, embedding_size=1024), cell("EASE", {"ndcg@100": 0.5}, "", 40000, k=8)]
    )
    axes = plots.schedule_ablation(means, "toy", "ndcg@100")
    names = [f"{name} with restarting" if restart else name for name, restart in schedules]
    assert lines_of(axes) == {name: [[0, 0.5], [1, 0.5]] for name in [*names, "constant"]}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["16", "8"]


def test_schedules_at_one_k_are_drawn_side_by_side():
    _, means = read([sparse(name, 16, 0.5, pruning_schedule=name) for name in ("exponential", "linear", "constant")])
    axes = plots.schedule_ablation(means, "toy", "ndcg@100")
    assert [xy[0][0] for xy in lines_of(axes).values()] == [-1, 0, 1]


def test_the_width_ablation_has_a_line_a_width():
    cells = [
        sparse(f"d{d}", k, k / d, embedding_size=d, restart=restart)
        for d, restart in ((512, True), (1024, True), (2048, False))
        for k in (16, 8)
    ]
    _, means = read(cells)
    expected = {"d = 1,024": [[0, 16 / 1024], [1, 8 / 1024]], "d = 512": [[0, 16 / 512], [1, 8 / 512]]}
    assert lines_of(plots.width_ablation(means, "toy", "ndcg@100")) == expected
    assert plots.width_ablation(means, "toy", "mrr") is None


def test_a_label_pruned_from_several_widths_counts_as_a_method_a_width():
    pruned = {"k": 1, "pruning_schedule": "linear"}
    cells = [cell("S", {"mrr": 0.5}, f"embedding_size={d}", 8, embedding_size=d, **pruned) for d in (64, 32)]
    results, _ = read(cells)
    assert list(results["method"]) == ["S, d = 64", "S, d = 32"]


def test_a_width_that_the_data_decided_is_no_width_of_an_ablation():
    cells = [sparse(f"d{d}", 8, 0.5, embedding_size=d) for d in ("auto", 512, 256)]
    results, means = read(cells)
    assert set(results["method"]) == {"dauto", "d512", "d256"}
    assert set(lines_of(plots.width_ablation(means, "toy", "ndcg@100"))) == {"d = 512", "d = 256"}


# The command


def run_tables(*arguments, output="out"):
    main(["tables", "results.csv", "--output", output, *arguments])
    return {name: open(f"{output}/{name}", "rb").read() for name in sorted(os.listdir(output))}


def test_the_report_is_made_again_from_the_csv_alone(capsys):
    better_and_worse()
    rows = [sparse(f"Sparse ELSA, {d}", k, k / 100, embedding_size=d) for d in (64, 32) for k in (8, 4)]
    with open("results.csv", "a", newline="", encoding="utf-8") as opened:
        csv.DictWriter(opened, list(rows[0][0])).writerows(row for cell_rows in rows for row in cell_rows)
    plots_there = [
        f"{name}-toy-ndcg@100.{ending}"
        for name in ("accuracy_by_size", "width_ablation")
        for ending in ("pdf", "svg", "png")
    ]
    first = run_tables()
    assert list(first) == sorted([*plots_there, "tables.md", "tables.tex"])
    pdf, svg, png = (first[name] for name in plots_there[:3])
    assert png.startswith(b"\x89PNG") and b"<svg" in svg and pdf.startswith(b"%PDF")
    # Text is text, in PDF in fonts of type 42; and the page is as wide as a column.
    assert "NDCG@100" in re.sub("<[^>]*>", "", svg.decode()) and b"/Subtype /Type3" not in pdf and b"/FontFile2" in pdf
    assert 3.3 * 72 < float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf).group(1)) <= 241.1
    printed = capsys.readouterr().out
    assert first["tables.md"].decode() in printed
    written = ", ".join(os.path.join("out", name) for name in ["tables.md", "tables.tex", *plots_there])
    assert printed.endswith(f"Written: {written}\n")
    shutil.rmtree("cells")
    assert run_tables("--metric", "NDCG@100", output="again") == first


def test_with_a_baseline_and_the_metrics_of_users_there_are_significance_tables(capsys):
    better_and_worse()
    first = run_tables("--baseline", "Baseline")
    assert {"significance.csv", "significance.md", "significance.tex"} < set(first)
    text = first["significance.md"].decode()
    assert "# Significance of differences from Baseline" in text and "Data checksum: c0ffee." in text
    rows = list(csv.DictReader(open("out/significance.csv", encoding="utf-8")))
    assert [(row["method"], row["better"]) for row in rows][:2] == [("Better", "method"), ("Worse", "baseline")]
    (line,) = (line for line in text.splitlines() if line.startswith("|") and "Better" in line)
    assert f"{float(rows[0]['t_test_holm_p']):.2g}" in line
    environments = re.findall(r"\\((?:begin|end)\{\w+\*?\})", first["significance.tex"].decode())
    # In two parts, of which the second fits a column.
    assert environments == [
        *("begin{table*}", "begin{tabular}", "end{tabular}", "end{table*}"),
        *("begin{table}", "begin{tabular}", "end{tabular}", "end{table}"),
    ]

    capsys.readouterr()
    shutil.rmtree("cells/Worsetoy1")
    without = run_tables("--baseline", "Baseline", output="without")
    assert not [name for name in without if name.startswith("significance")]
    assert re.search(r"No significance tests: \S*Worsetoy1\S* was not found\n", capsys.readouterr().out)
    os.mkdir("cells/Worsetoy1")
    open("cells/Worsetoy1/per_user.parquet", "w").close()
    run_tables("--baseline", "Baseline", output="without")
    assert re.search(r"No significance tests: \S*Worsetoy1\S* cannot be read: ", capsys.readouterr().out)
    # But for the marks of significance the other tables are the same.
    unmarked = re.sub("[†‡ -]+|Marks: .*\n", "", first["tables.md"].decode())
    assert unmarked == re.sub("[ -]+", "", without["tables.md"].decode())


def test_what_has_no_values_of_users_or_no_baseline_is_said_in_a_line(capsys):
    better_and_worse()
    run_tables("--baseline", "Baseline", "--metric", "mrr")
    assert re.search("No significance tests: .*per_user.parquet has no mrr\n", capsys.readouterr().out)
    write_results([cell("Baseline", {"mrr": 0.5}), cell("A", {"mrr": 0.5}, dataset="other")])
    run_tables("--baseline", "Baseline")
    printed = capsys.readouterr().out
    assert "No significance tests on other: nothing there can be compared with Baseline\n" in printed


def test_without_metrics_asked_for_the_valid_metric_of_each_run_is_tested_and_shown(capsys):
    write_users({"Atoy1": {"a": 0.5, "b": 0.25}, "Btoy1": {"a": 0.25, "b": 0.5}})
    for name in "AB":
        file = f"cells/{name}toy1/per_user.parquet"
        pandas.read_parquet(file).rename(columns={"ndcg@100": "recall@20"}).to_parquet(file)
    metrics = {"mrr": 0.5, "ndcg@100": 0.5, "recall@20": 0.375}
    write_results([cell(name, metrics, valid_metric="Recall@20") for name in "AB"])
    written = run_tables("--baseline", "B")
    (row,) = csv.DictReader(open("out/significance.csv", encoding="utf-8"))
    assert (row["metric"], row["method"]) == ("recall@20", "A")
    assert "intervals-toy-recall@20.pdf" in written
    # Runs that were chosen by several metrics: each of them that there is.
    chosen = ["Recall@20", "MRR", "NDCG@5", "Recall@20"]
    results, _ = read([cell(str(i), metrics, valid_metric=metric) for i, metric in enumerate(chosen)])
    assert choose_metrics(results) == ["recall@20", "mrr"]
    results, _ = read([cell("A", metrics, valid_metric="NDCG@5")])
    assert choose_metrics(results) == ["ndcg@100"]


def test_without_matplotlib_the_tables_are_written_and_a_line_says_how_to_get_plots(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_results([cell("A", {"ndcg@10": 0.5}, "", 8)])
    assert list(run_tables()) == ["tables.md", "tables.tex"]
    line = 'No plot: matplotlib is not installed; run: pip install "recbole_sparse_elsa[plot]"\n'
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    "rows, arguments, error",
    [
        (None, [], "results.csv was not found"),
        ([], [], "results.csv is no result of sparse-elsa leaderboard: it has no column label, model, "),
        ([cell("A", {"mrr": 0.5}, phase="valid")], [], "results.csv has no test results"),
        ([cell("A", {"mrr": "high"})], [], "results.csv has 'high' in column value, which cannot be read"),
        ([cell("A", {"mrr": 0.5}, seed="one")], [], "results.csv has 'one' in column seed, which cannot be read"),
        ([cell("A", {"mrr": 0.5})] * 2, [], "results.csv has two rows of test results for .*'label': 'A'"),
        ([cell(name, {"mrr": 1}) for name in "AB"], ["--baseline", "C"], "baseline is 'C', but the results have A, B"),
        ([cell("A", {"mrr": 1, "hit@5": 1})], ["--metric", "x"], "metric is 'x', but the results have mrr, hit@5"),
        ([cell("A", {"mrr": 0.5})], ["--output", "results.csv"], "output: results.csv cannot be made a folder"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(rows, arguments, error):
    if rows == []:
        open("results.csv", "w", encoding="utf-8").write("name,value\na,1\n")
    elif rows is not None:
        write_results(rows)
    before = os.listdir()
    with pytest.raises(SystemExit) as refused:
        main(["tables", "results.csv", "--output", "out", *arguments])
    assert re.match(f"(Option|Output)Error: {error}", refused.value.code)
    assert "\n" not in refused.value.code
    assert os.listdir() == before
