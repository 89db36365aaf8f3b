"""Result tables of a leaderboard, as Markdown and as LaTeX."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from recbole_sparse_elsa.leaderboard.latex import Cell, in_latex, latex_table
from recbole_sparse_elsa.leaderboard.read_results import (
    VERSIONS,
    columns_of_equal_size,
    paper_name,
    smaller_is_better,
)
from recbole_sparse_elsa.output import markdown_table

# What decides which interactions train and which are predicted.
_PROTOCOL_OPTIONS = ("eval_args", "val_interval", "user_inter_num_interval", "item_inter_num_interval", "rm_dup_inter")
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_|<>\[\]])")
# The levels of significance that are marked, each with its mark; Holm-corrected p-values of the paired t-test.
_MARKS = {0.01: "‡", 0.05: "†"}
_MARKS_IN_LATEX = {"": "", "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$"}


def in_markdown(text: str) -> str:
    """Text on one line, with what Markdown would take for markup escaped."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.split()))


@dataclass
class Value:
    """A figure in a table.

    Attributes
    ----------
    mean, sd : float
        The mean, and its standard deviation over seeds (NaN for none).
    rank : str
        Its rank in the table: best, second or neither.
    mark : str
        † or ‡ where it differs significantly, or "".
    digits : int
        Decimal places.
    place : int or None
        Its place among all values, 1 for the best; None where it is not shown.
    """

    mean: float
    sd: float = math.nan
    rank: str = ""
    mark: str = ""
    digits: int = 4
    place: int | None = None

    def __str__(self) -> str:
        return f"{self.mean:.{self.digits}f}" + (f" ± {self.sd:.4f}" if math.isfinite(self.sd) else "")

    def _after(self) -> str:
        return "" if self.place is None else f" ({self.place})"

    def markdown(self) -> str:
        """As Markdown: the best bold, the second underlined, then the mark and the place."""
        # <ins> is underlined, and unlike <u> it is let through by GitHub.
        ranked = {"best": "**{}**", "second": "<ins>{}</ins>", "": "{}"}[self.rank].format(self)
        return ranked + self.mark + self._after()

    def cell(self) -> Cell:
        """As LaTeX: the best bold, the second underlined, then the mark and the place."""
        text = str(self).replace(" ", "")
        ranked = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}[self.rank] % in_latex(text)
        return Cell(text + self.mark + self._after(), ranked + _MARKS_IN_LATEX[self.mark] + self._after())


@dataclass
class Table:
    """A table to be written as Markdown or LaTeX.

    Attributes
    ----------
    title : str
        What the table shows.
    headings : list of str
        One for each column, none twice.
    rows : list of list
        Text or `Value`, one for each column.
    notes : list of str
        Sentences that stand under the table, with every checksum and version.
    paper_notes : list of str
        What a paper says instead: in LaTeX these stand under the table, and all other notes are comments.
    keys : int
        How many columns, from the first, say what a row is about.
    """

    title: str
    headings: list[str]
    rows: list[list[Any]]
    notes: list[str]
    paper_notes: list[str]
    keys: int = 1

    def markdown(self) -> str:
        """The table with its title as a heading of the second level."""
        headings = [in_markdown(heading) for heading in self.headings]
        rows = [
            [cell.markdown() if isinstance(cell, Value) else in_markdown(cell) for cell in row] for row in self.rows
        ]
        table = markdown_table([dict(zip(headings, row)) for row in rows])
        notes = "\n".join(f"- {in_markdown(note)}" for note in self.notes)
        return f"## {in_markdown(self.title)}\n\n{table}\n\n{notes}\n"

    def latex(self) -> str:
        """The table for a paper, with comments; see `latex_table`."""
        rows = [[cell.cell() if isinstance(cell, Value) else Cell(cell) for cell in row] for row in self.rows]
        comments = [self.title, *(note for note in self.notes if note not in self.paper_notes)]
        table = latex_table(self.title, self.headings, rows, self.paper_notes, self.keys)
        return "".join(f"% {' '.join(line.split())}\n" for line in comments) + table


def markdown_page(title: str, tables: Iterable[Table]) -> str:
    """A Markdown file of tables."""
    return "\n".join([f"# {title}\n", *(table.markdown() for table in tables)])


def latex_page(tables: Iterable[Table]) -> str:
    """Tables for a LaTeX document."""
    needs = (
        "% Needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}.\n"
        "% What is a table fits one column of ACM's two; what is a table* fits the text of acmart and of llncs.\n"
    )
    return "\n".join([needs, *(table.latex() for table in tables)])


def rank(values: Sequence[Value], smaller: bool = False) -> None:
    """Mark the best of some values and the second best; values that print alike share their rank.

    Parameters
    ----------
    values : list of Value
        Their ``rank`` is set. A mean that is not finite has no rank.
    smaller : bool
        Whether smaller is better.
    """
    printed = {f"{value.mean:.4f}" for value in values if math.isfinite(value.mean)}
    best = sorted(printed, key=float, reverse=not smaller)[:2]
    for value in values:
        value.rank = dict(zip(best, ("best", "second"))).get(f"{value.mean:.4f}", "")


def results_table(
    results: pandas.DataFrame, means: pandas.DataFrame, dataset: str, comparisons: pandas.DataFrame | None = None
) -> Table:
    """All methods and sizes on one data set: size, bytes per item and every metric.

    Parameters
    ----------
    results, means : pandas.DataFrame
        As from `read_results` and `mean_over_seeds`.
    dataset : str
        Name of the data set.
    comparisons : pandas.DataFrame, optional
        As from ``significance.compare_with_baseline``: what differs significantly from the baseline is marked.
    """
    means = means[means["dataset"] == dataset]
    metrics = list(means["metric"].unique())
    marks = _marks(comparisons, dataset)
    rows: list[list[Any]] = []
    columns: dict[str, list[Value]] = {metric: [] for metric in metrics}
    for (label, size), group in means.groupby(["label", "size"], sort=False):
        size_bytes = group["bytes_per_item"].iloc[0]
        row: list[Any] = [label, size or "–", f"{size_bytes:,.0f}" if math.isfinite(size_bytes) else "–"]
        for metric in metrics:
            found = group[group["metric"] == metric]
            mark = marks.get((metric, group["name"].iloc[0]), "")
            row.append(Value(found["mean"].item(), found["sd"].item(), mark=mark) if len(found) else "–")
            columns[metric] += row[-1:] if len(found) else []
        rows.append(row)
    for metric, values in columns.items():
        rank(values, smaller_is_better(metric))
    headings = ["method", "size", "bytes per item", *map(paper_name, metrics)]
    notes = _notes(results, means, dataset) + _explained_marks(comparisons, results, dataset, metrics)
    every_note, paper_notes = how_measured(results[results["dataset"] == dataset])
    return Table(f"{dataset}: test data", headings, rows, notes + every_note, notes + paper_notes, keys=2)


def size_table(
    results: pandas.DataFrame,
    means: pandas.DataFrame,
    dataset: str,
    metric: str,
    comparisons: pandas.DataFrame | None = None,
) -> Table | None:
    """One metric at equal numbers of bytes per item (method page, section 3): a row a method, a column a size.

    A method whose only size is no column's has its value in the column "other size".

    Parameters
    ----------
    results, means, dataset, comparisons
        As for `results_table`.
    metric : str
        Name of the metric.

    Returns
    -------
    Table or None
        None if no method has several sizes.
    """
    means = means[(means["dataset"] == dataset) & (means["metric"] == metric)]
    heading_of = columns_of_equal_size(means)
    if not heading_of:
        return None
    marks = _marks(comparisons, dataset)
    columns = list(dict.fromkeys(heading_of.values()))
    rows: list[list[Any]] = []
    values: dict[str, list[Value]] = {column: [] for column in [*columns, ""]}
    for method, group in means.groupby("method", sort=False):
        method = str(method)
        name, cells = method, dict[str, Value]()
        row: Any
        for row in group.itertuples():
            column = heading_of.get((method, row.size), "")
            if not column and math.isfinite(row.bytes_per_item):
                name = f"{method} ({row.bytes_per_item:,.0f} B)"
            cells[column] = Value(row.mean, row.sd, mark=marks.get((metric, row.name), ""))
            values[column].append(cells[column])
        rows.append([name, *(cells.get(column, "–") for column in ("", *columns))])
    for column in columns:
        rank(values[column], smaller_is_better(metric))
    headings = ["method", "other size", *columns]
    if not values[""]:
        headings, rows = ["method", *columns], [[row[0], *row[2:]] for row in rows]
    notes = [
        "Columns: bytes per item, as the paper counts them (4 a value and, where most values are 0, 4 more for its "
        "place), or all bytes with a value_dtype below float32. Ranks are of one column; those of other sizes have "
        "none."
    ]
    notes += _notes(results, means, dataset) + _explained_marks(comparisons, results, dataset, [metric])
    title = f"{dataset}: {paper_name(metric)} by size"
    every_note, paper_notes = how_measured(results[results["dataset"] == dataset])
    return Table(title, headings, rows, notes + every_note, notes + paper_notes)


def _marks(comparisons: pandas.DataFrame | None, dataset: str) -> dict[tuple[str, str], str]:
    """The mark of each metric and name that differs significantly on a data set."""
    if comparisons is None:
        return {}
    marks: dict[tuple[str, str], str] = {}
    row: Any
    for row in comparisons[comparisons["dataset"] == dataset].itertuples():
        reached = [mark for level, mark in _MARKS.items() if row.t_test_holm_p < level]
        if reached:
            marks[row.metric, row.method] = reached[0]
    return marks


def _explained_marks(
    comparisons: pandas.DataFrame | None, results: pandas.DataFrame, dataset: str, metrics: Sequence[str]
) -> list[str]:
    if comparisons is None:
        return []
    compared = comparisons[(comparisons["dataset"] == dataset) & comparisons["metric"].isin(metrics)]
    if compared.empty:
        return []
    baseline = compared["baseline"].iloc[0]
    if compared["baseline"].nunique() > 1:
        baseline = f"{results.loc[results['name'] == baseline, 'label'].iloc[0]} of equal size"
    tested = ", ".join(map(paper_name, compared["metric"].unique()))
    others = " Other metrics were not tested." if len(metrics) > compared["metric"].nunique() else ""
    return [
        f"Marks: {tested} differs from {baseline} with p < .05 (†) or p < .01 (‡) in the paired t-test over users, "
        f"two-sided, Holm-corrected over all methods and sizes of one data set and metric.{others}"
    ]


def _notes(results: pandas.DataFrame, means: pandas.DataFrame, dataset: str) -> list[str]:
    results = results[results["dataset"] == dataset]
    seeds = tuple(sorted(results["seed"].unique()))
    if len(seeds) == 1:
        notes = [f"Test data, one seed ({seeds[0]}). Best bold, second underlined."]
    else:
        over = f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"
        notes = [f"Test data, mean ± standard deviation over {over}. Best bold, second underlined."]
    fewer = means[means["seeds"] != seeds].drop_duplicates("name")
    if len(fewer):
        named = "; ".join(f"{row.name} {', '.join(map(str, row.seeds))}" for row in fewer.itertuples())
        notes.append(f"Not every seed has finished; there are only: {named}.")
    if not means["mean"].map(math.isfinite).all():
        notes.append("nan, inf: a seed's value is not finite; such a mean has no rank.")
    return notes


def how_measured(results: pandas.DataFrame) -> tuple[list[str], list[str]]:
    """Notes on how some results came about: with checksums and versions, and as a paper has them."""
    return [*_recipes(results), *provenance(results)], provenance_in_words(results)


def _recipes(results: pandas.DataFrame) -> list[str]:
    """How each model of this package was made, without what its data were; results of version 0.1.0 do not say."""
    if "recipe" not in results:
        return []
    said: dict[str, dict[str, None]] = {}
    for name, recipe in zip(results["name"], results["recipe"]):
        if recipe:
            said.setdefault(name, {})[recipe.partition(" (")[0]] = None
    return [f"{name}: {' / '.join(recipes)}." for name, recipes in said.items()]


def provenance(results: pandas.DataFrame) -> list[str]:
    """Sentences on protocol, data and versions of some results; where these differ between rows, they say so."""
    notes = []
    protocols = _protocols(results)
    checksums, versions = results["data_checksum"], results[list(VERSIONS)].agg(_version_line, axis=1)
    for name, said in (("Protocol", protocols), ("Data checksum", checksums), ("Versions", versions)):
        if said.nunique() == 1:
            notes.append(f"{name}: {said.iloc[0]}.")
            continue
        # Figures of different protocols or data do not belong into one table, and whoever reads it has to know.
        groups = results["name"].groupby(said, sort=False)
        each = "; ".join(f"{text} ({', '.join(names.unique())})" for text, names in groups)
        notes.append(f"{name} differs between rows: {each}.")
    return notes + _users(results)


def provenance_in_words(results: pandas.DataFrame) -> list[str]:
    """Sentences for a paper on the protocol of some results, and on differences in data or software between them."""
    notes = []
    protocols = _protocols(results).map(_in_words)
    groups = [(text, ", ".join(names.unique())) for text, names in results["name"].groupby(protocols, sort=False)]
    if len(groups) == 1:
        notes.append(f"Protocol: {groups[0][0]}.")
    else:
        notes.append(f"Protocol differs between rows: {'; '.join(f'{text} ({names})' for text, names in groups)}.")
    if results["data_checksum"].nunique() > 1:
        same_data = results["name"].groupby(results["data_checksum"], sort=False)
        notes.append(f"The data differ between rows: {'; '.join(', '.join(names.unique()) for _, names in same_data)}.")
    if results[list(VERSIONS)].drop_duplicates().shape[0] > 1:
        notes.append("Versions of software differ between rows.")
    return notes + _users(results)


def _users(results: pandas.DataFrame) -> list[str]:
    users = sorted({int(number) for number in results.get("users", []) if number})
    if not users:
        return []
    shown = f"{users[0]:,}" if len(users) == 1 else f"{users[0]:,} to {users[-1]:,}"
    return [f"Users evaluated on test data, with held-out users for each fold: {shown}."]


def _in_words(protocol: str) -> str:
    """A protocol without the marks of mappings and without checksums."""
    without_checksums = re.sub(r",? ?SHA-256 [0-9a-f]+…?", "", protocol)
    return " ".join(re.sub(r"[{}\"']", "", without_checksums).replace("_", " ").split())


def _protocols(results: pandas.DataFrame) -> pandas.Series:
    """The protocol of each row as it was used; of results of version 0.1.0, which do not say, as it was asked for."""
    asked_for = results["config"].map(_protocol)
    if "protocol" not in results:
        return asked_for
    return results["protocol"].where(results["protocol"] != "", asked_for)


def _protocol(config: Mapping[str, Any]) -> str:
    given = {name: config[name] for name in _PROTOCOL_OPTIONS if config.get(name) is not None}
    if config.get("benchmark_filename"):
        # With fixed files RecBole neither splits nor filters, whatever was asked for.
        mode = (config.get("eval_args") or {}).get("mode")
        given = {"benchmark_filename": config["benchmark_filename"], "mode": mode}
    return "; ".join(f"{name} {json.dumps(value)}" for name, value in given.items()) or "RecBole's defaults"


def _version_line(row: pandas.Series) -> str:
    return ", ".join(f"{name} {version}" for name, version in row.items())
