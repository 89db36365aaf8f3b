"""Tables for papers fit the columns and the text of ACM's and Springer's styles, compiled where these are installed."""

import re
import shutil
import subprocess
import sys

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tables import cell, read, sparse, write_results, write_users

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.leaderboard.latex import Cell, latex_table, width_of
from recbole_sparse_elsa.leaderboard.tables import results_table

# The widths that the tables keep to, as the classes have them: \columnwidth of sigconf, \textwidth of llncs.
COLUMN, TEXT = 241.1, 347.1
LONG_NAME = "a-data-set_with-a-rather-long-name"
STYLES = {"acmart": r"\documentclass[sigconf]{acmart}", "llncs": r"\documentclass[runningheads]{llncs}"}


def is_installed(style):
    """Whether pdflatex is there with a class and what it loads."""
    if shutil.which("pdflatex") is None:
        return False
    hello = STYLES[style] + r"\usepackage{booktabs}\usepackage[T1]{fontenc}\begin{document}Hello\end{document}"
    return "Output written" in compiled("hello", hello)


def compiled(name, text):
    with open(f"{name}.tex", "w", encoding="utf-8") as opened:
        opened.write(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
    subprocess.run(command, capture_output=True, timeout=100)
    with open(f"{name}.log", encoding="utf-8", errors="replace") as opened:
        return opened.read().replace("\n", "")  # TeX breaks lines after 79 characters


def floats(latex):
    """The environment, the numbers of columns, and the lines of each table."""
    return re.findall(r"\\begin\{(table\*?)\}(.*?)\\end\{\1\}", latex, re.DOTALL)


@pytest.fixture(scope="module")
def many_results(tmp_path_factory):
    """What is hard to fit: many metrics, sizes and seeds, long labels and ones without a space, large numbers."""
    generator = numpy.random.default_rng(0)
    metrics = [f"{name}@{k}" for name in ("calibratedrecall", "recall", "ndcg", "averagepopularity") for k in (20, 100)]
    protocol = "fixed files toy.train.inter (810,128 lines, SHA-256 0123456789ab…); all items are ranked"
    cells = []
    labels = ["EASE", "Sparse ELSA, d = 4,096, with restarting", "A_label_without_a_space_" * 4, "Łódź & co 100%"]
    for seed in (2020, 2021):
        for label in labels:
            for k in (128, 64, 32, 16):
                values = {metric: v for metric, v in zip(metrics, generator.random(len(metrics)))}
                values["averagepopularity@20"] *= 12345
                cells.append(cell(label, values, f"k={k}", 8 * k, seed, LONG_NAME))
                for row in cells[-1]:
                    row.update(protocol=protocol, data_checksum="0123456789abcdef" * 4, users="6022")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("many"))
        patch.setitem(sys.modules, "matplotlib", None)
        write_results(cells)
        for cell_rows in cells:
            users = {f"u{i}": value for i, value in enumerate(generator.random(40))}
            write_users({cell_rows[0]["cell"]: users})
        published = ["--published", f"{LONG_NAME}=gowalla-ngcf"]
        main(["tables", "results.csv", "--output", "out", "--baseline", "EASE", *published])
        names = ("tables", "significance", "intervals")
        return {name: open(f"out/{name}.tex", encoding="utf-8").read() for name in names}


@pytest.mark.parametrize("style", STYLES)
def test_tables_compile_in_the_styles_of_acm_and_springer_without_an_overfull_box(style, many_results):
    if not is_installed(style):
        pytest.skip(f"pdflatex with {style} is not installed")
    for name, latex in many_results.items():
        with open(f"{name}.tex", "w", encoding="utf-8") as opened:
            opened.write(latex)
    inputs = "".join(rf"\input{{{name}}}" for name in many_results)
    log = compiled(
        "paper",
        rf"{STYLES[style]}\usepackage{{booktabs}}\usepackage[T1]{{fontenc}}\extrafloats{{100}}\begin{{document}}"
        r"\title{T}\author{A}\maketitle Text.\clearpage "
        r"\typeout{WIDTHS \the\columnwidth, \the\textwidth.}" + inputs + r"\clearpage\end{document}",
    )
    assert "Output written" in log
    column, text = map(float, re.search(r"WIDTHS ([\d.]+)pt, ([\d.]+)pt", log).groups())
    assert column >= COLUMN and text >= TEXT
    assert log.count(r"Overfull \hbox") == 0, re.findall(r"Overfull \\hbox.{100}", log)
    assert "Float too large" not in log


def test_every_table_is_as_wide_as_a_column_or_the_text_allow_by_the_widths_of_its_letters(many_results):
    for name, latex in many_results.items():
        assert floats(latex), name
        for environment, table in floats(latex):
            for line in re.search(r"\\midrule\n(.*)\\bottomrule", table, re.DOTALL).group(1).splitlines():
                room = {"table": COLUMN, "table*": TEXT}[environment]
                assert sum(map(width_of_cell, line.removesuffix(r" \\").split(" & "))) - 6 <= room


def width_of_cell(latex):
    """Points of a cell with the space between columns, of letters in bold."""
    box = re.match(r"\\parbox\[t\]\{(\d+)pt\}", latex)
    if box:
        return float(box.group(1)) + 6
    text = re.sub(r"\$\^\{\\d?dagger\}\$", "†", latex.removeprefix("{}").replace(r"$\pm$", "±").replace("--", "–"))
    text = re.sub(r"\\(textbf|underline)\{([^}]*)\}", r"\2", text)
    return width_of(re.sub(r"\\([&%$#_{}])", r"\1", text)) + 6


def test_notes_are_words_and_checksums_options_and_versions_are_comments(many_results):
    assert "measured and published" in many_results["tables"]
    for latex in many_results.values():
        shown = [line for line in latex.splitlines() if not line.startswith("%")]
        assert not [line for line in shown if re.search(r"[0-9a-f]{12}|textquotedbl|torch", line)]
        assert "Protocol: fixed files toy.train.inter (810,128 lines); all items are ranked.\\par" in shown
        assert f"% Data checksum: {'0123456789abcdef' * 4}." in latex.splitlines()
        assert [line for line in latex.splitlines() if line.startswith("% Versions: python 3.11.7")]


def test_metrics_are_named_as_in_papers_in_tables():
    results, means = read([cell("A", {"ndcg@10": 0.5, "recall@20": 0.5, "mrr": 0.5, "giniindex@10": 0.5, "own@3": 1})])
    table = results_table(results, means, "toy")
    assert table.headings[3:] == ["NDCG@10", "Recall@20", "MRR", "GiniIndex@10", "own@3"]


def test_what_differs_significantly_from_the_baseline_is_marked_in_the_main_table():
    generator = numpy.random.default_rng(1)
    base = generator.random(400)
    noise = generator.normal(0, 0.1, 400)
    noise -= noise.mean()
    shifts = {"B": 0, "Clear": 0.1, "Slight": 0.0125, "None": 0.0001}
    values = {name: base + shift + (noise if shift else 0) for name, shift in shifts.items()}
    write_users({f"{name}toy1": {f"u{i}": v for i, v in enumerate(of_users)} for name, of_users in values.items()})
    write_results([cell(name, {"ndcg@100": v.mean(), "mrr": 0.5}) for name, v in values.items()])
    main(["tables", "results.csv", "--output", "out", "--baseline", "B"])
    page = open("out/tables.md", encoding="utf-8").read()
    marks = dict(re.findall(r"\|\s+(\w+) \|\s+– \|\s+– \|\s+[\W_a-z]*?[\d.]+(?:\*\*|</ins>)?([†‡]?) \|", page))
    # t of the paired test is shift / (.1 / 20): 20, 2.5 (p = .013, after Holm .026) and .02.
    assert marks == {"B": "", "Clear": "‡", "Slight": "†", "None": ""}
    assert "NDCG@100 differs from B with p \\< .05 (†)" in page and "Other metrics were not tested." in page
    latex = open("out/tables.tex", encoding="utf-8").read()
    assert latex.count(r"$^{\ddagger}$") == 1 and latex.count(r"$^{\dagger}$") == 1


def test_columns_that_say_nothing_or_the_same_in_every_row_are_no_columns_of_a_paper():
    rows = [[Cell("A"), Cell("–"), Cell("943"), Cell("0.5")], [Cell("B"), Cell("–"), Cell("943"), Cell("0.4")]]
    latex = latex_table("T", ["method", "size", "users", "value"], rows, ["Note."])
    assert "method & value" in latex
    assert latex.endswith("Note.\\par\nIn every row: users 943.\\par\n\\end{table}\n")
    assert "method & users & value" in latex_table("T", ["method", "size", "users", "value"], rows[:1], [])


def test_a_table_of_too_many_rows_for_a_page_is_cut_into_parts_with_the_notes_under_the_last():
    rows = [[Cell(f"method {i}"), Cell(str(i))] for i in range(90)]
    latex = latex_table("T", ["method", "value"], rows, ["Note."])
    assert [table.count(" & ") - 1 for _, table in floats(latex)] == [40, 40, 10]
    assert re.findall(r"part \d of \d", latex) == ["part 1 of 3", "part 2 of 3", "part 3 of 3"]
    assert latex.count("Note.") == 1 and latex.index("Note.") > latex.index("part 3")


def test_long_notes_leave_fewer_rows_on_their_page():
    rows = [[Cell(f"method {i}"), Cell(str(i))] for i in range(30)]
    latex = latex_table("T", ["method", "value"], rows, ["A note of some more words. " * 40])
    assert [table.count(" & ") - 1 for _, table in floats(latex)] == [8, 22]


@settings(max_examples=60)
@given(
    st.lists(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60), min_size=1, max_size=5),
    st.integers(1, 12),
)
def test_every_row_has_all_its_columns_in_some_part(names, n_columns):
    rows = [[Cell(name), *(Cell(f"{i}.{j}") for j in range(n_columns))] for i, name in enumerate(names)]
    latex = latex_table("T", ["method", *(f"metric@{j}" for j in range(n_columns))], rows, [])
    for i in range(len(names)):
        for j in range(n_columns):
            assert len(names) > 1 or f"{i}.{j}" in latex
            assert len(re.findall(rf"& {i}\.{j}( |\\)", latex)) == 1


def test_the_tables_of_pruned_models_by_size_fit_too():
    cells = [sparse(label, k, 0.5) for label in ("A", "B") for k in (256, 128, 64, 32, 16, 8, 4, 2, 1)]
    write_results(cells)
    main(["tables", "results.csv", "--output", "out"])
    latex = open("out/tables.tex", encoding="utf-8").read()
    by_size = [table.split(r"\midrule")[0] for _, table in floats(latex) if "by size" in table]
    assert [heading.count(" B ") + heading.count(r"\\B}") for heading in by_size] == [9]
