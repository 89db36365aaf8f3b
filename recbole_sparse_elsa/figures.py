"""Plots by matplotlib (extra ``plot``), written as PNG and SVG."""

import os

from recbole_sparse_elsa.report import write_file


def matplotlib_is_installed() -> bool:
    """Whether plots can be drawn; where they cannot, one line says how to get them."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        print('No plot: matplotlib is not installed; run: pip install "recbole_sparse_elsa[plot]"')
        return False
    return True


def new_axes():
    """Empty axes (matplotlib.axes.Axes) in a figure of its own."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8, 5), layout="constrained").subplots()


def save_figure(figure, file, footer) -> list[str]:
    """Write ``file``.png and ``file``.svg with a small footer, and return these names.

    The same figures make the same files: they hold neither a date nor random ids.
    """
    from matplotlib import rc_context

    figure.text(0.5, -0.02, footer, ha="center", va="top", fontsize=6, wrap=True, parse_math=False)
    with rc_context({"svg.hashsalt": os.path.basename(file)}):
        for ending, options in ((".png", {"dpi": 150}), (".svg", {"metadata": {"Date": None}})):
            write_file(
                f"{file}{ending}",
                lambda opened: figure.savefig(opened, format=ending[1:], bbox_inches="tight", **options),
            )
    return [f"{file}.png", f"{file}.svg"]
