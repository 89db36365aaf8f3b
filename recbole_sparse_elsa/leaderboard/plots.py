"""The paper's three figures and plots of intervals, from the results of a leaderboard.

Which of them there are follows from the results alone. Accuracy against bytes per item shows every method whose bytes
are known. The ablations show models with an option ``pruning_schedule``: that of schedules where a model has been run
on a data set with several of them (``pruning_schedule`` with ``restart``) at the same width d (``embedding_size``),
that of widths where it has been run with several widths under the same schedule. Every figure fits one column of a
paper, and its colours can be told apart by the colour-blind (Okabe and Ito, https://jfly.uni-koeln.de/color/, 2008).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pandas

from recbole_sparse_elsa.leaderboard.intervals import LEVEL
from recbole_sparse_elsa.leaderboard.read_results import paper_name, pruned_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^vDPX*"
_DASHES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
# Inches: a column of ACM's two, which Springer's text has room for too.
_WIDTH, _HEIGHT = 3.33, 2.3
_LINE = 0.14
# Labels of ticks that are nearer than this share of the axis would overlap.
_NEAREST = 0.085
_STYLE = {
    **{"font.size": 7, "axes.titlesize": 8, "axes.linewidth": 0.6, "lines.linewidth": 1.1, "lines.markersize": 3.5},
    **{"grid.linewidth": 0.4, "legend.fontsize": 6.5, "legend.frameon": False},
}
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _styled(draw: Callable[_P, _R]) -> Callable[_P, _R]:
    """Draw with the sizes of a figure in a column."""

    @functools.wraps(draw)
    def styled(*arguments: _P.args, **options: _P.kwargs) -> _R:
        from matplotlib import rc_context

        with rc_context(_STYLE):
            return draw(*arguments, **options)

    return styled


def _new_axes(n_legend: int = 0, height: float = _HEIGHT) -> Axes:
    """Empty axes, with room for a legend of some names under them."""
    from matplotlib.figure import Figure

    height += _LINE * math.ceil(n_legend / 2)
    return Figure(figsize=(_WIDTH, height), layout="constrained").subplots()


@_styled
def accuracy_by_size(means: pandas.DataFrame, dataset: str, metric: str) -> Axes | None:
    """Accuracy against bytes per item, on a logarithmic axis: a line a method, a single point where it has one size.

    A method whose bytes are not known is a horizontal line.

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
    sized, unsized = means[means["bytes_per_item"] > 0], means[means["bytes_per_item"].isna()]
    if sized.empty:
        return None
    axes = _new_axes(sized["method"].nunique() + len(unsized))
    drawn = []
    for index, (method, group) in enumerate(sized.groupby("method", sort=False)):
        group = group.sort_values("bytes_per_item")
        drawn.append((str(method), _draw(axes, index, group["bytes_per_item"], group, str(method))))
    row: Any
    for index, row in enumerate(unsized.itertuples()):
        colour, dashes = _COLOURS[-1 - index % len(_COLOURS)], _DASHES[index % len(_DASHES)]
        drawn.append((f"{row.name} (size not known)", axes.axhline(row.mean, color=colour, linestyle=dashes)))
    axes.set_xscale("log")
    ticks = _apart(sorted(sized["bytes_per_item"].unique()))
    axes.set_xticks(ticks, labels=[f"{size:,.0f}" for size in ticks])
    axes.minorticks_off()
    return _finished(axes, drawn, dataset, metric, "bytes per item", means)


def _apart(sizes: Sequence[float]) -> list[float]:
    """Sizes, from the smallest, without those whose labels would overlap with the one before."""
    kept = [sizes[0]]
    for size in sizes[1:]:
        # A label has 5 characters and more from 1,000 on.
        if math.log(size / kept[-1]) > _NEAREST * (1 + (size >= 1000)) * math.log(max(sizes[-1] / sizes[0], 2)):
            kept.append(size)
    return kept


@dataclass(frozen=True)
class _Pruning:
    """What tells one line of an ablation from another."""

    model: str
    schedule: str
    width: int
    label: str


@_styled
def schedule_ablation(means: pandas.DataFrame, dataset: str, metric: str) -> Axes | None:
    """Accuracy of each pruning schedule at each target k; parameters and result as for `accuracy_by_size`."""
    return _ablation(means, dataset, metric, fixed=("model", "width"), shown=("schedule", "width", "label"))


@_styled
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
    axes = _new_axes(len(lines))
    drawn = []
    for index, (line, points) in enumerate(lines.items()):
        points = pandas.DataFrame(points).sort_values("k", ascending=False)
        # Of a single k there are points only, which are drawn side by side so that their bars can be told apart.
        shift = index - (len(lines) - 1) / 2 if len(ks) == 1 else 0
        places = points["k"].map(ks.index) + shift
        drawn.append((names[line], _draw(axes, index, places, points, names[line])))
    axes.set_xticks(range(len(ks)), labels=[str(k) for k in ks])
    shown_points = pandas.concat(map(pandas.DataFrame, lines.values()))
    return _finished(axes, drawn, dataset, metric, "k (non-zeros per item embedding)", shown_points)


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


def _draw(axes: Axes, index: int, places: pandas.Series, points: pandas.DataFrame, name: str) -> Any:
    """One line, with its standard deviations where there are any."""
    sd = points["sd"] if points["sd"].notna().any() else None
    style: dict[str, Any] = {
        "label": name,
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        # Lines of the same colour differ in their dashes.
        "linestyle": (["-", *_DASHES][index // len(_COLOURS) % 5] if len(points) > 1 else ""),
    }
    return axes.errorbar(places, points["mean"], sd, **style)


def _finished(
    axes: Axes, drawn: Sequence[tuple[str, Any]], dataset: str, metric: str, size: str, points: pandas.DataFrame
) -> Axes:
    axes.set_xlabel(size)
    # Bars, where there are any, are told of here: a figure in a paper has no footer.
    axes.set_ylabel(paper_name(metric) + (" (mean ± s.d. over seeds)" if points["sd"].notna().any() else ""))
    axes.set_title(dataset, parse_math=False)
    axes.grid(alpha=0.3)
    # A legend under the axes hides no point, however many lines there are.
    figure: Any = axes.figure
    names, lines = zip(*drawn)
    legend = figure.legend(lines, names, loc="outside lower center", ncols=2)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return axes


@_styled
def intervals_of_figures(intervals: pandas.DataFrame, dataset: str, metric: str) -> Axes | None:
    """The mean over users and the interval of every method and size, one under the other.

    Parameters
    ----------
    intervals : pandas.DataFrame
        As from ``intervals.intervals_of_results``.
    dataset, metric : str
        Names of the data set and the metric.

    Returns
    -------
    matplotlib.axes.Axes or None
        None if there is no finite mean.
    """
    rows = intervals[(intervals["dataset"] == dataset) & (intervals["metric"] == metric)]
    named = [(row.method, row.mean, row.low, row.high) for row in rows.itertuples()]
    return _intervals(named, dataset, f"{paper_name(metric)}, mean over users with {LEVEL:.0%} interval")


@_styled
def intervals_of_differences(comparisons: pandas.DataFrame, dataset: str, metric: str) -> Axes | None:
    """The difference from the baseline and its interval of every method and size; a line marks 0.

    Parameters
    ----------
    comparisons : pandas.DataFrame
        As from ``significance.compare_with_baseline``.
    dataset, metric, return
        As for `intervals_of_figures`.
    """
    rows = comparisons[(comparisons["dataset"] == dataset) & (comparisons["metric"] == metric)]
    several = rows["baseline"].nunique() > 1
    named = [
        (
            f"{row.method} – {row.baseline}" if several else row.method,
            *(row.difference, row.difference_low, row.difference_high),
        )
        for row in rows.itertuples()
    ]
    other = "" if several or rows.empty else f" from {rows['baseline'].iloc[0]}"
    axes = _intervals(named, dataset, f"{paper_name(metric)}, difference{other} with {LEVEL:.0%} interval")
    if axes is not None:
        axes.axvline(0, color="black", linewidth=0.6)
    return axes


def _intervals(named: Sequence[tuple[str, float, float, float]], dataset: str, what: str) -> Axes | None:
    named = [row for row in named if math.isfinite(row[1])]
    if not named:
        return None
    axes = _new_axes(height=0.7 + _LINE * len(named))
    for place, (_, mean, low, high) in enumerate(named):
        # The ends need not lie on both sides of the mean.
        axes.hlines(place, low, high, color=_COLOURS[0])
        axes.plot(mean, place, "o", color=_COLOURS[0])
    axes.set_yticks(range(len(named)), labels=[name for name, *_ in named])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(named) - 0.5, -0.5)
    axes.set_xlabel(what, parse_math=False)
    axes.set_title(dataset, parse_math=False)
    axes.grid(alpha=0.3, axis="x")
    return axes
