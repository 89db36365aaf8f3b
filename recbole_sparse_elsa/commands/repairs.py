"""``sparse-elsa repairs``: all that is changed in RecBole, why, since when, until when, and whether it is needed."""

import argparse
from typing import Any

from recbole_sparse_elsa.output import markdown_table


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
        With ``kind``, ``name``, ``what``, ``why``, ``since``, ``until``, and ``active``: "yes", or "not needed here" if
        the probe does not find on this stack what the change is for. Such a change is not made, or does nothing that
        RecBole would not do itself.
    """
    import recbole  # noqa: F401  (which makes the changes)

    from recbole_sparse_elsa.plugin.patching import changes

    return [
        {
            "kind": change.kind,
            "name": change.name,
            "what": change.what,
            "why": change.why.split(". ")[0].removesuffix(".") + ".",
            "since": change.since,
            "until": change.until,
            "active": "yes" if change.is_needed() else "not needed here",
        }
        for change in changes()
    ]
