"""The paper's three figures, from the results of a leaderboard.

Which of them there are follows from the results alone. Accuracy against bytes per item shows every method whose bytes
are known. The ablations show models with an option ``pruning_schedule``: that of schedules where a model has been run
on a data set with several of them (``pruning_schedule`` with ``restart``) at the same width d (``embedding_size``),
that of widths where it has been run with several widths under the same schedule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas

from recbole_sparse_elsa.leaderboard.read_results import pruned_width
from recbole_sparse_elsa.output import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "os^vDPX"


def accuracy_by_size(means: pandas.DataFrame, dataset: str, metric: str) -> Axes | None:
    """Accuracy against bytes per item, on a logarithmic axis: a line a method, a single point where it has one size.

    Parameters
    ----------
    means : pandas.DataFrame
        As from ``read_results.mean_over_seeds``.
    dataset, metric : str
        Names of the data set and the metric.

    Returns
    -------
    matplotlib.axes.Axes or None
        None if no method has both a number of bytes and a finite value.
    """
    means = _finite(means, dataset, metric)
    means = means[means["bytes_per_item"] > 0]
    if means.empty:
        return None
    axes = new_axes()
    for index, (method, group) in enumerate(means.groupby("method", sort=False)):
        group = group.sort_values("bytes_per_item")
        _draw(axes, index, group["bytes_per_item"], group, str(method))
    axes.set_xscale("log")
    return _finished(axes, dataset, metric, "bytes per item")


@dataclass(frozen=True)
class _Pruning:
    """What tells one line of an ablation from another."""

    model: str
    schedule: str
    width: int
    label: str


def schedule_ablation(means: pandas.DataFrame, dataset: str, metric: str) -> Axes | None:
    """Accuracy of each pruning schedule at each target k; parameters and result as for `accuracy_by_size`."""
    return _ablation(means, dataset, metric, fixed=("model", "width"), shown=("schedule", "width", "label"))


def width_ablation(means: pandas.DataFrame, dataset: str, metric: str) -> Axes | None:
    """Accuracy of each width d at each target k; parameters and result as for `accuracy_by_size`."""
    return _ablation(means, dataset, metric, fixed=("model", "schedule"), shown=("width", "schedule", "label"))


def _ablation(
    means: pandas.DataFrame, dataset: str, metric: str, fixed: tuple[str, ...], shown: tuple[str, ...]
) -> Axes | None:
    """Lines that agree in what is fixed, where they differ in what is shown first.

    The legend names this first and, of the rest, what is needed to tell the lines apart.
    """
    lines: dict[_Pruning, list[dict[str, float]]] = {}
    row: Any
    for row in _finite(means, dataset, metric).itertuples():
        width = pruned_width(row.config)
        if width and row.config.get("k"):
            line = _Pruning(row.model, _schedule(row.config), width, row.label)
            lines.setdefault(line, []).append({"k": row.config["k"], "mean": row.mean, "sd": row.sd})
    varied: dict[tuple[Any, ...], set[Any]] = {}
    for line in lines:
        varied.setdefault(tuple(getattr(line, name) for name in fixed), set()).add(getattr(line, shown[0]))
    lines = {
        line: points for line, points in lines.items() if len(varied[tuple(getattr(line, name) for name in fixed)]) > 1
    }
    if not lines:
        return None
    if shown[0] == "width":
        lines = dict(sorted(lines.items(), key=lambda item: -item[0].width))
    names = _names(list(lines), shown)
    ks = sorted({point["k"] for points in lines.values() for point in points}, reverse=True)
    axes = new_axes()
    for index, (line, points) in enumerate(lines.items()):
        points = pandas.DataFrame(points).sort_values("k", ascending=False)
        # Of a single k there are points only, which are drawn side by side so that their bars can be told apart.
        shift = index - (len(lines) - 1) / 2 if len(ks) == 1 else 0
        _draw(axes, index, points["k"].map(ks.index) + shift, points, names[line])
    axes.set_xticks(range(len(ks)), labels=[str(k) for k in ks])
    return _finished(axes, dataset, metric, "k (non-zeros per item embedding)")


def _names(lines: Sequence[_Pruning], shown: Sequence[str]) -> dict[_Pruning, str]:
    for n_parts in range(1, len(shown) + 1):
        # A part that all lines have in common says nothing.
        parts = [part for part in shown[:n_parts] if len({getattr(line, part) for line in lines}) > 1]
        names = {line: ", ".join(_said(line, part) for part in parts) for line in lines}
        if len(set(names.values())) == len(lines):
            break
    return names


def _said(line: _Pruning, part: str) -> str:
    return f"d = {line.width:,}" if part == "width" else getattr(line, part)


def _schedule(config: Mapping[str, Any]) -> str:
    # Constant has nothing to restart: it prunes before the first epoch only.
    restarts = config.get("restart") and config["pruning_schedule"] != "constant"
    return config["pruning_schedule"] + (" with restarting" if restarts else "")


def _finite(means: pandas.DataFrame, dataset: str, metric: str) -> pandas.DataFrame:
    return means[(means["dataset"] == dataset) & (means["metric"] == metric) & means["mean"].map(math.isfinite)]


def _draw(axes: Axes, index: int, places: pandas.Series, points: pandas.DataFrame, name: str) -> None:
    """One line, with its standard deviations where there are any."""
    sd = points["sd"] if points["sd"].notna().any() else None
    style: dict[str, Any] = {"color": f"C{index % 10}", "marker": _MARKERS[index % len(_MARKERS)]}
    axes.errorbar(places, points["mean"], sd, linestyle="-" if len(points) > 1 else "", label=name, **style)


def _finished(axes: Axes, dataset: str, metric: str, size: str) -> Axes:
    axes.set_xlabel(size)
    axes.set_ylabel(metric)
    axes.set_title(dataset, parse_math=False)
    axes.grid(alpha=0.3, which="both")
    lines: Any = axes.containers
    names = [line.get_label() for line in lines]
    # A legend beside the axes hides no point, however many lines there are.
    legend = axes.figure.legend(lines, names, loc="outside right upper", fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)
    return axes
