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
import textwrap
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
# Characters.
_LONGEST_NAME, _LONGEST_LINE = 28, 60
# Labels of ticks that are nearer than this share of the axis would overlap.
_NEAREST = 0.085
_STYLE: dict[str, Any] = {
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


def _new_axes(legend: Sequence[str] = (), height: float = _HEIGHT) -> Axes:
    """Empty axes, with room for a legend of these names under them, two in a line."""
    from matplotlib.figure import Figure

    n_lines = max((len(textwrap.wrap(name, _LONGEST_NAME)) for name in legend), default=0)
    height += _LINE * n_lines * math.ceil(len(legend) / 2)
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
    axes = _new_axes([*map(str, sized["method"].unique()), *(_unsized(name) for name in unsized["name"])])
    drawn = []
    for index, (method, group) in enumerate(sized.groupby("method", sort=False)):
        group = group.sort_values("bytes_per_item")
        drawn.append((str(method), _draw(axes, index, group["bytes_per_item"], group, str(method))))
    row: Any
    for index, row in enumerate(unsized.itertuples()):
        colour, dashes = _COLOURS[-1 - index % len(_COLOURS)], _DASHES[index % len(_DASHES)]
        drawn.append((_unsized(row.name), axes.axhline(row.mean, color=colour, linestyle=dashes)))
    axes.set_xscale("log")
    # Where labels would overlap, sizes that several methods have are labelled before others.
    n_methods = sized.groupby("bytes_per_item")["method"].nunique()
    ticks = _apart(sorted(n_methods.index, key=lambda size: (-n_methods[size], -size)))
    axes.set_xticks(ticks, labels=[f"{size:,.0f}" for size in ticks])
    axes.minorticks_off()
    if len(n_methods) == 1:
        axes.set_xlim(ticks[0] / 2, ticks[0] * 2)
    return _finished(axes, drawn, dataset, metric, "bytes per item", means)


def _unsized(name: object) -> str:
    return f"{name} (size not known)"


def _apart(sizes: Sequence[float]) -> list[float]:
    """Sizes without those whose labels would overlap with those of earlier ones."""
    length = max(math.log(max(sizes) / min(sizes)), math.log(2))
    kept: list[float] = []
    for size in sizes:
        # From 1,000 on labels are twice as wide.
        if all(abs(math.log(size / other)) > _NEAREST * (1 + (max(size, other) >= 1000)) * length for other in kept):
            kept.append(size)
    return sorted(kept)


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
    axes = _new_axes(list(names.values()))
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
    axes.set_title(textwrap.fill(dataset, _LONGEST_LINE - 15), parse_math=False)
    axes.grid(alpha=0.3)
    # A legend under the axes hides no point, however many lines there are.
    figure: Any = axes.figure
    names, lines = [textwrap.fill(name, _LONGEST_NAME) for name, _ in drawn], [line for _, line in drawn]
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
    other = rows["baseline"].iloc[0] if rows["baseline"].nunique() == 1 else "the baseline of equal size"
    named = [(row.method, row.difference, row.difference_low, row.difference_high) for row in rows.itertuples()]
    axes = _intervals(named, dataset, f"{paper_name(metric)}, difference from {other} with {LEVEL:.0%} interval")
    if axes is not None:
        axes.axvline(0, color="black", linewidth=0.6)
    return axes


def _intervals(named: Sequence[tuple[str, float, float, float]], dataset: str, what: str) -> Axes | None:
    named = [row for row in named if math.isfinite(row[1])]
    if not named:
        return None
    labels = [textwrap.fill(name, _LONGEST_NAME) for name, *_ in named]
    n_lines = max(1, max(label.count("\n") + 1 for label in labels) * 0.8)
    axes = _new_axes(height=0.8 + _LINE * n_lines * len(named))
    for place, (_, mean, low, high) in enumerate(named):
        # The ends need not lie on both sides of the mean.
        axes.hlines(place, low, high, color=_COLOURS[0])
        axes.plot(mean, place, "o", color=_COLOURS[0])
    axes.set_yticks(range(len(named)), labels=labels)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(named) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=4)
    figure: Any = axes.figure
    # Of the whole figure, since beside long names the axes are too short for it.
    figure.supxlabel(textwrap.fill(what, _LONGEST_LINE), fontsize=_STYLE["font.size"], parse_math=False)
    figure.suptitle(textwrap.fill(dataset, _LONGEST_LINE - 15), fontsize=_STYLE["axes.titlesize"], parse_math=False)
    axes.grid(alpha=0.3, axis="x")
    return axes
