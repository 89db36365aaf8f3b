"""Published figures beside measured ones of the same data set, split and protocol.

The package has files of its own in ``published/``; anyone's own have the same columns. A measured row is ranked among
published ones only if its results say that it was evaluated as they were: on the fixed split that they share, with all
items ranked, the same items masked, and as many users.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pandas

from recbole_sparse_elsa.errors import OptionError, reason_of
from recbole_sparse_elsa.leaderboard.read_results import paper_name, smaller_is_better
from recbole_sparse_elsa.leaderboard.tables import Table, Value, how_measured, rank
from recbole_sparse_elsa.options import require_regular_file, shown

_REQUIRED = ("dataset", "method", "metric", "value", "masked", "source")
_OPTIONAL = ("bytes_per_item", "masked_interactions", "test_interactions", "test_users", "note")
_MASKS = ("train", "train_valid")
# Of these a value above 1 is a percentage, which would rank first.
_UP_TO_ONE = {
    *("recall", "calibratedrecall", "precision", "f1", "f1ofmeans", "ndcg", "hit", "mrr", "map", "auc", "gauc"),
}
# How `describe_protocol` names a fixed file.
_FIXED_FILE = re.compile(r"\.(train|valid|test)\.inter \(([\d,]+) lines")


@dataclass(frozen=True)
class PublishedValue:
    """A row of a file of published figures.

    Attributes
    ----------
    dataset, method, metric : str
        What it is about; the metric is written as in papers.
    value : str
        The figure, with the decimal places that were published.
    bytes_per_item : float
        Of what the method keeps of each item; NaN where that is not known.
    masked : str
        Which of a user's items were not ranked in the test: those of the publisher's training data (train), or those
        of the training and the validation data (train_valid).
    masked_interactions, test_interactions, test_users : int or None
        How many interactions those data and the test data have, and how many users were evaluated, where known.
    source : str
        Where it was published.
    note : str
        What a reader has to know of it.
    """

    dataset: str
    method: str
    metric: str
    value: str
    bytes_per_item: float
    masked: str
    masked_interactions: int | None
    test_interactions: int | None
    test_users: int | None
    source: str
    note: str


def read_published(file: str | os.PathLike[str]) -> list[PublishedValue]:
    """Read a CSV file of published figures.

    Parameters
    ----------
    file : str or os.PathLike
        Has the columns dataset, method, metric, value, masked and source, and may have bytes_per_item,
        masked_interactions, test_interactions, test_users and note.

    Raises
    ------
    OptionError
        The file cannot be read, or a row of it, which is named by its line, is not allowed.
    """
    rows: list[PublishedValue] = []
    lines: dict[tuple[str, str, str, str], int] = {}
    try:
        require_regular_file(file)
        with open(file, encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            _require_columns(file, reader.fieldnames or [])
            for row in reader:
                place = f"{file}, line {reader.line_num}"
                rows.append(_published_value(place, row))
                key = (rows[-1].dataset, rows[-1].method, rows[-1].metric, rows[-1].source)
                if key in lines:
                    raise OptionError(f"{place}: line {lines[key]} has a value of {', '.join(key)} already")
                lines[key] = reader.line_num
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {reason_of(error)}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{file} cannot be read as a CSV file in UTF-8: {error}") from None
    if not rows:
        raise OptionError(f"{file} has no rows of published figures")
    return rows


def _require_columns(file: str | os.PathLike[str], columns: Sequence[str]) -> None:
    allowed = f"allowed are {', '.join(_REQUIRED)} (required), {', '.join(_OPTIONAL)}"
    for column in columns:
        if column not in (*_REQUIRED, *_OPTIONAL):
            raise OptionError(f"{file} has the unknown column {shown(column)}; {allowed}")
        if columns.count(column) > 1:
            raise OptionError(f"{file} has the column {column} twice")
    for column in _REQUIRED:
        if column not in columns:
            raise OptionError(f"{file} has no column {column}; {allowed}")


def _published_value(place: str, row: Mapping[Any, Any]) -> PublishedValue:
    if None in row:
        raise OptionError(f"{place} has more fields than the first line")
    if None in row.values():
        raise OptionError(f"{place} has fewer fields than the first line")
    text = {column: row.get(column, "").strip() for column in (*_REQUIRED, *_OPTIONAL)}
    for column in _REQUIRED:
        if not text[column]:
            raise OptionError(f"{place}: {column} is empty, but must be given")
    name = text["metric"].partition("@")[0].lower()
    value = _number(place, text, "value", at_least=-math.inf)
    if name in _UP_TO_ONE and not 0 <= value <= 1:
        raise OptionError(f"{place}: value is {text['value']}, but {text['metric']} must be within 0 and 1")
    if text["masked"] not in _MASKS:
        raise OptionError(f"{place}: masked is {shown(text['masked'])}, but must be {' or '.join(_MASKS)}")
    counts = {column: _whole_number(place, text, column) for column in _OPTIONAL[1:4]}
    return PublishedValue(
        dataset=text["dataset"],
        method=text["method"],
        metric=paper_name(text["metric"]),
        value=text["value"],
        bytes_per_item=_number(place, text, "bytes_per_item", at_least=0) if text["bytes_per_item"] else math.nan,
        masked=text["masked"],
        masked_interactions=counts["masked_interactions"],
        test_interactions=counts["test_interactions"],
        test_users=counts["test_users"],
        source=text["source"],
        note=text["note"],
    )


def _number(place: str, text: Mapping[str, str], column: str, at_least: float) -> float:
    # Decimal places are counted, so a number has the plain form.
    if re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", text[column], re.ASCII) and float(text[column]) >= at_least:
        return float(text[column])
    bound = "" if at_least == -math.inf else f" of at least {at_least}"
    raise OptionError(f"{place}: {column} is {shown(text[column])}, but must be a number{bound} such as 0.123")


def _whole_number(place: str, text: Mapping[str, str], column: str) -> int | None:
    if not text[column]:
        return None
    if re.fullmatch(r"\d{1,18}", text[column], re.ASCII):
        return int(text[column])
    raise OptionError(f"{place}: {column} is {shown(text[column])}, but must be a whole number")


def read_shipped() -> list[PublishedValue]:
    """The published figures that the package has."""
    folder = resources.files("recbole_sparse_elsa.leaderboard") / "published"
    rows: list[PublishedValue] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".csv"):
            with resources.as_file(entry) as file:
                rows += read_published(file)
    return rows


def choose_published(
    names: Sequence[str], datasets: Sequence[str], file: str | os.PathLike[str] | None = None
) -> dict[str, list[PublishedValue]]:
    """The published figures to stand beside the measured ones of each data set.

    Parameters
    ----------
    names : list of str
        Data sets of the published figures, such as "gowalla-ngcf"; "DATASET=gowalla-ngcf" where the measured data set
        is called otherwise.
    datasets : list of str
        The measured data sets.
    file : str or os.PathLike, optional
        A file of one's own (see `read_published`), beside those of the package.

    Returns
    -------
    dict
        From measured data sets to rows of those names.

    Raises
    ------
    OptionError
        There is no such data set, measured or published, one is named twice, or the file is refused.
    """
    rows = read_shipped() + (read_published(file) if file is not None else [])
    there = list(dict.fromkeys(row.dataset for row in rows))
    chosen: dict[str, list[PublishedValue]] = {}
    for name in names:
        # The name of a data set may have the sign too.
        pairs = [(name, name)] + [(name[:i], name[i + 1 :]) for i, sign in enumerate(name) if sign == "="]
        fitting = [(dataset, published) for dataset, published in pairs if published in there]
        if not fitting:
            raise OptionError(f"published is {name!r}, but there are published figures of {', '.join(there)}")
        found = [(dataset, published) for dataset, published in fitting if dataset in datasets]
        if not found:
            raise OptionError(
                f"published is {name!r}, but the results are of {', '.join(datasets)}; for one that is called "
                f"otherwise, give DATASET={fitting[0][1]}"
            )
        dataset, published = found[0]
        if dataset in chosen:
            raise OptionError(f"published names the data set {dataset!r} twice")
        chosen[dataset] = [row for row in rows if row.dataset == published]
    if file is not None and not names:
        raise OptionError(f"published_file is {file}, but published names no data set of it: {', '.join(there)}")
    return chosen


def published_table(
    results: pandas.DataFrame, means: pandas.DataFrame, dataset: str, published: Sequence[PublishedValue]
) -> Table:
    """Published and measured figures of one data set, ranked together for each metric, the best first.

    Parameters
    ----------
    results, means : pandas.DataFrame
        As from `read_results` and `mean_over_seeds`.
    dataset : str
        The measured data set.
    published : list of PublishedValue
        What was published of it.
    """
    results, means = results[results["dataset"] == dataset], means[means["dataset"] == dataset]
    reasons = _reasons_not_to_rank(results, published)
    spelled = {paper_name(metric).lower(): metric for metric in means["metric"].unique()}
    metrics = [
        metric for metric in dict.fromkeys(row.metric for row in published) if metric.lower() in spelled
    ] or list(dict.fromkeys(row.metric for row in published))
    rows: list[tuple[str, str, dict[str, Value]]] = []
    for name, group in means.groupby("name", sort=False):
        if name in reasons:
            continue
        values = {
            metric: Value(row.mean, row.sd)
            for metric in metrics
            for row in group[group["metric"] == spelled.get(metric.lower())].itertuples()
        }
        if values:
            rows.append((str(name), _bytes_in_words(group["bytes_per_item"].iloc[0]), values))
    for method, source in dict.fromkeys((row.method, row.source) for row in published):
        of_method = [row for row in published if (row.method, row.source) == (method, source) and row.metric in metrics]
        values = {row.metric: Value(float(row.value), digits=_decimal_places(row.value)) for row in of_method}
        if values:
            sizes = {row.bytes_per_item for row in of_method if math.isfinite(row.bytes_per_item)}
            size = " or ".join(map(_bytes_in_words, sorted(sizes))) or "–"
            rows.append((f"{method} (published)", size, values))
    for metric in metrics:
        smaller = smaller_is_better(metric)
        column = [values[metric] for *_, values in rows if metric in values]
        rank(column, smaller)
        places = _places(column, smaller)
        for value in column:
            value.place = places.get(_printed(value))
    rows.sort(key=lambda row: [_place(row[-1].get(metric)) for metric in metrics])
    cells = [[method, size, *(values.get(metric, "–") for metric in metrics)] for method, size, values in rows]
    headings = ["method", "bytes per item", *metrics]
    notes = _notes(published, metrics, reasons, results)
    ranked = results[~results["name"].isin(reasons)]
    every_note, paper_notes = how_measured(ranked) if len(ranked) else ([], [])
    title = f"{dataset}: measured and published"
    return Table(title, headings, cells, notes + every_note, notes + paper_notes)


def _reasons_not_to_rank(results: pandas.DataFrame, published: Sequence[PublishedValue]) -> dict[str, str]:
    """Why results, by their names, must not be ranked among published ones; those that may be are not there."""
    reasons: dict[str, str] = {}
    for name, group in results.groupby("name", sort=False):
        for cell in group.drop_duplicates("cell").to_dict("records"):
            reason = next(filter(None, (_difference(cell, row) for row in published)), "")
            if reason:
                reasons[str(name)] = reason
                break
    return reasons


def _difference(cell: Mapping[str, Any], published: PublishedValue) -> str:
    """In what the evaluation of a cell differs from that of a published figure, or "" where it does not."""
    config, protocol = cell["config"], cell.get("protocol", "")
    if not config.get("benchmark_filename"):
        return "its data were not split by the publisher's files"
    mode = (config.get("eval_args") or {}).get("mode")
    mode = mode.get("test") if isinstance(mode, dict) else mode
    if mode != "full":
        return f"it does not rank all items (mode {mode})"
    lines = {kind: int(count.replace(",", "")) for kind, count in _FIXED_FILE.findall(protocol)}
    if not {"train", "test"} <= lines.keys():
        return "its results do not say which files it was evaluated on"
    mask = config.get("test_mask") or "train_valid"
    masked = lines["train"] + (lines.get("valid", 0) if mask == "train_valid" else 0)
    if published.masked_interactions is None:
        if mask != published.masked and not (published.masked == "train" and "valid" not in lines):
            published_mask = _masks_in_words(published.masked)
            return f"in the test it masks {_masks_in_words(mask)} items, the published ones {published_mask} items"
    elif masked != published.masked_interactions:
        # The mask can be set where the files are the same.
        can_be_set = published.masked == "train" and lines["train"] == published.masked_interactions
        remedy = "; test_mask: train masks those" if can_be_set else ""
        return (
            f"in the test it masks {masked:,} interactions ({_masks_in_words(mask)}), the published ones "
            f"{published.masked_interactions:,} ({_masks_in_words(published.masked)}){remedy}"
        )
    if published.test_interactions is not None and lines["test"] != published.test_interactions:
        return f"its test data have {lines['test']:,} interactions, the published ones {published.test_interactions:,}"
    users = cell.get("users", "")
    if published.test_users is not None and users != str(published.test_users):
        return f"it evaluates {int(users):,} users, the published ones {published.test_users:,}" if users else (
            "its results do not say how many users were evaluated"
        )
    return ""


def _masks_in_words(mask: str) -> str:
    return {"train": "training", "train_valid": "training and validation"}.get(mask, mask)


def _bytes_in_words(size: float) -> str:
    return f"{size:,.0f}" if math.isfinite(size) else "–"


def _decimal_places(number: str) -> int:
    return len(number.partition(".")[2])


def _printed(value: Value) -> str:
    """A value as far as it is ranked: to the 4 decimal places of the tables."""
    return f"{value.mean:.4f}" if math.isfinite(value.mean) else ""


def _places(values: Sequence[Value], smaller: bool) -> dict[str, int]:
    """The place of each value as it is printed: one more than there are better ones."""
    printed = sorted(filter(None, map(_printed, values)), key=float, reverse=not smaller)
    return {text: 1 + printed.index(text) for text in printed}


def _place(value: Value | None) -> float:
    return math.inf if value is None or value.place is None else value.place


def _notes(
    published: Sequence[PublishedValue], metrics: Sequence[str], reasons: Mapping[str, str], results: pandas.DataFrame
) -> list[str]:
    shown_rows = [row for row in published if row.metric in metrics]
    by_source: dict[str, dict[str, None]] = {}
    for row in shown_rows:
        by_source.setdefault(row.source, {})[row.method] = None
    seeds = results.loc[~results["name"].isin(reasons), "seed"].unique()
    over = {0: "nothing that may be ranked here", 1: "one seed"}.get(
        len(seeds), f"{len(seeds)} seeds, mean ± standard deviation"
    )
    notes = [
        f"Measured: {over}. Published: figures of the data set {published[0].dataset} as their sources give them; "
        "whoever published them tuned them, on what data is theirs to say. In brackets: the rank among "
        "all, of values to 4 decimal places; equal ones share it. Best bold, second underlined.",
        "Bytes per item, of published figures only where a source tells them.",
    ]
    notes += [f"Source of {', '.join(methods)}: {source}." for source, methods in by_source.items()]
    said: dict[str, dict[str, None]] = {}
    for row in shown_rows:
        if row.note:
            said.setdefault(row.note, {})[row.method] = None
    notes += [f"{', '.join(methods)}: {note}." for note, methods in said.items()]
    grouped: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        grouped.setdefault(reason, []).append(name)
    notes += [f"Not ranked among published figures: {'; '.join(names)}; {reason}." for reason, names in grouped.items()]
    measured = {paper_name(metric).lower() for metric in results["metric"].unique()}
    if not any(metric.lower() in measured for metric in metrics):
        notes.append(f"No measured row has one of the published metrics: {', '.join(metrics)}.")
    return notes
