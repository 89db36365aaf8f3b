"""``sparse-elsa repairs``: all that is changed in RecBole, why, since when, until when, and whether it is needed."""

import argparse
from typing import Any

from recbole_sparse_elsa.output import markdown_table
from recbole_sparse_elsa.plugin.patching import Change, changes


def add_subcommand(subparsers: Any) -> None:
    """Add ``repairs``."""
    parser = subparsers.add_parser(
        "repairs", help=str(__doc__).split("``: ")[1], description=__doc__, allow_abbrev=False
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the rows of `repairs` as a table."""
    print(markdown_table(repairs()))


def repairs() -> list[dict[str, str]]:
    """What `recbole_sparse_elsa.plugin.patching.changes` has, in the order in which the changes are made.

    Returns
    -------
    list of dict
        With ``kind``, ``name``, ``what``, ``why``, ``since``, ``until``, and ``active``: "yes"; "not needed here" if
        the probe does not find on this stack what the change is for, which then is not made, or does nothing that
        RecBole would not do itself; or "not known" if the probe fails, as it may on a stack that nobody has tried.
    """
    import recbole  # noqa: F401  (which makes the changes)

    return [
        {
            "kind": change.kind,
            "name": change.name,
            "what": change.what,
            "why": change.why.split(". ")[0].removesuffix(".") + ".",
            "since": change.since,
            "until": change.until,
            "active": _active(change),
        }
        for change in changes()
    ]


def _active(change: Change) -> str:
    try:
        return "yes" if change.is_needed() else "not needed here"
    except Exception as error:  # of any library; one probe that fails is no reason not to print the others
        return f"not known ({type(error).__name__})"
