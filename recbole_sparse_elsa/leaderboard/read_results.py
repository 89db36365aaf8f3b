"""Reads a leaderboard's results.csv, and takes the mean of the test results over seeds."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas
from recbole.evaluator.register import metrics_dict, smaller_metrics

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import require_regular_file

VERSIONS = ("python", "torch", "numpy", "scipy", "pandas", "recbole", "recbole_sparse_elsa")
_COLUMNS = (
    *("label", "model", "dataset", "seed", "size", "phase", "metric", "value", "bytes_per_item", "cell"),
    *("data_checksum", "config", *VERSIONS),
)
_KEY = ["dataset", "label", "size", "metric", "seed"]
# Sizes of different methods that differ by less than this share are compared with each other as equal.
_EQUAL_WITHIN = 0.05


def read_results(file: str | os.PathLike[str]) -> pandas.DataFrame:
    """The test results of a leaderboard's CSV file, a row per cell and metric.

    Parameters
    ----------
    file : str or os.PathLike
        A CSV file as ``sparse-elsa leaderboard`` writes it.

    Returns
    -------
    pandas.DataFrame
        The rows of phase test that have a value, in the file's order, with the file's columns. ``seed`` is a whole
        number, ``value`` and ``bytes_per_item`` are float64 (the latter NaN where unknown), ``config`` is a dict, all
        else is text. Two more columns are text: ``method`` is the label, with its width where a label was pruned from
        several widths, and ``name`` is the label with the size.

    Raises
    ------
    OptionError
        The file cannot be read, lacks a column or a test result, has a value that is no number, or two rows for one
        metric of one cell.
    """
    try:
        require_regular_file(file)
        # Everything is text at first, so that a label such as "NA" or "1.0" stays what it is.
        rows = pandas.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise OptionError(f"{file} was not found") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"{file} cannot be read as a CSV file: {' '.join(str(error).split())}") from None
    missing = [column for column in _COLUMNS if column not in rows]
    if missing:
        raise OptionError(f"{file} is no result of sparse-elsa leaderboard: it has no column {', '.join(missing)}")
    rows = rows[(rows["phase"] == "test") & (rows["value"] != "")].reset_index(drop=True)
    if rows.empty:
        raise OptionError(f"{file} has no test results: no row of phase test has a value")
    for column, convert in (("seed", int), ("value", float), ("bytes_per_item", _float_or_nan), ("config", _config)):
        rows[column] = _converted(file, rows[column], convert)
    if "users" in rows:
        rows["users"] = _converted(file, rows["users"], _users)
    twice = rows[rows.duplicated(_KEY)]
    if len(twice):
        raise OptionError(f"{file} has two rows of test results for {dict(twice[_KEY].iloc[0])}")
    widths = rows["config"].map(pruned_width)
    several = widths.groupby(rows["label"]).transform("nunique") > 1
    rows["method"] = rows["label"].where(~several | widths.isna(), rows["label"] + ", d = " + widths.map(_whole_number))
    rows["name"] = rows["label"].where(rows["size"] == "", rows["label"] + ", " + rows["size"])
    return rows


def _converted(
    file: str | os.PathLike[str], texts: pandas.Series, convert: Callable[[str], Any]
) -> pandas.Series:
    results = {}
    for text in texts.unique():
        try:
            results[text] = convert(text)
        except ValueError:
            raise OptionError(f"{file} has {text!r:.80} in column {texts.name}, which cannot be read") from None
    return texts.map(results)


def _float_or_nan(text: str) -> float:
    return float(text) if text else math.nan


def _config(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except RecursionError:
        raise ValueError from None
    if not isinstance(config, dict) or not isinstance(config.get("eval_args") or {}, dict):
        raise ValueError
    return config


def _users(text: str) -> str:
    return text and str(int(text))


def pruned_width(config: Mapping[str, Any]) -> int | None:
    """The ``embedding_size`` of a model that is pruned: a number, or None where the data decided (auto)."""
    width = config.get("embedding_size") if config.get("pruning_schedule") else None
    return width if isinstance(width, int) else None


def _whole_number(number: float) -> str:
    return "" if pandas.isna(number) else f"{number:.0f}"


def choose_metrics(results: pandas.DataFrame, metrics: Sequence[str] | None = None) -> list[str]:
    """The metrics asked for, as the results spell them; by default the ``valid_metric`` of each run.

    Where the results do not have it, that is NDCG@100, or else their first metric.

    Raises
    ------
    OptionError
        The results have no such metric.
    """
    there = list(results["metric"].unique())
    if metrics is None:
        chosen_by = [str(config.get("valid_metric", "")).lower() for config in results["config"]]
        chosen = [metric for metric in dict.fromkeys(chosen_by) if metric in map(str.lower, there)]
        default = next((metric for metric in there if metric.lower() == "ndcg@100"), there[0])
        metrics = chosen or [default]
    found: list[str] = []
    for metric in dict.fromkeys(metrics):
        spelled = [name for name in there if name.lower() == metric.lower()]
        if not spelled:
            raise OptionError(f"metric is {metric!r}, but the results have {', '.join(there)}")
        found += [name for name in spelled if name not in found]
    return found


def paper_name(metric: str) -> str:
    """A metric as papers write it, such as ``NDCG@10`` for ``ndcg@10``."""
    name, at, k = metric.partition("@")
    known = metrics_dict.get(name.lower())
    return (known.__name__ if known else name) + at + k


def smaller_is_better(metric: str) -> bool:
    """Whether RecBole counts a smaller value of a metric such as ``giniindex@10`` as better."""
    return metric.split("@")[0].lower() in smaller_metrics


def mean_over_seeds(results: pandas.DataFrame) -> pandas.DataFrame:
    """Mean and standard deviation over seeds.

    Parameters
    ----------
    results : pandas.DataFrame
        As from `read_results`.

    Returns
    -------
    pandas.DataFrame
        A row per data set, label, size and metric, in the order of the results, with columns ``dataset``, ``label``,
        ``size``, ``metric``, ``model``, ``method``, ``name``, ``config`` (of the first seed), ``mean``, ``sd`` (of a
        sample, NaN with one seed), ``seeds`` (a tuple) and ``bytes_per_item`` (mean). A mean with a value that is not
        finite is not finite.
    """
    kept = ["dataset", "label", "size", "metric", "model", "method", "name", "config"]
    groups = []
    for _, group in results.groupby(["dataset", "label", "size", "metric"], sort=False):
        values = group["value"].to_numpy()
        finite = len(values) > 1 and all(map(math.isfinite, values))
        groups.append(
            {
                **group.iloc[0][kept],
                "mean": values.sum() / len(values),
                "sd": values.std(ddof=1) if finite else math.nan,
                "seeds": tuple(sorted(group["seed"])),
                "bytes_per_item": group["bytes_per_item"].mean(),
            }
        )
    return pandas.DataFrame(groups)


def columns_of_equal_size(means: pandas.DataFrame) -> dict[tuple[str, str], str]:
    """Which sizes of different methods are compared with each other.

    Columns go from the largest size to the smallest. Sizes within 5 % of a column's largest belong to it: a method may
    end with slightly fewer non-zeros than it may have. There is a column only where a method with several sizes has one
    of them. Sizes of unknown bytes share a column where their names agree.

    Parameters
    ----------
    means : pandas.DataFrame
        One data set and metric of `mean_over_seeds`.

    Returns
    -------
    dict
        From (method, size) to the column's heading, in the order of the columns, without sizes that belong to none.
    """
    sizes = list(means[["method", "size", "bytes_per_item"]].itertuples(index=False, name=None))
    n_sizes = means["method"].value_counts()
    known = [size for size in sizes if math.isfinite(size[2])]
    columns: list[list[tuple[str, str, float]]] = []
    for method, size, size_bytes in sorted(known, key=lambda size: -size[2]):
        fits = columns and size_bytes >= (1 - _EQUAL_WITHIN) * columns[-1][0][2]
        if fits and method not in {other for other, *_ in columns[-1]}:
            columns[-1].append((method, size, size_bytes))
        else:
            columns.append([(method, size, size_bytes)])
    headings: dict[tuple[str, str], str] = {}
    for column in columns:
        if all(n_sizes[method] == 1 for method, *_ in column):
            continue
        largest, smallest = (f"{size_bytes:,.0f}" for size_bytes in (column[0][2], column[-1][2]))
        heading = f"{largest} B" if largest == smallest else f"{smallest}–{largest} B"
        if heading in headings.values():
            heading = f"{heading} ({column[0][1]})"
        headings.update({(method, size): heading for method, size, _ in column})
    for method, size, size_bytes in sizes:
        if n_sizes[method] > 1 and not math.isfinite(size_bytes):
            headings[method, size] = size
    return headings
