"""``sparse-elsa configs``: the files of options that the package ships, listed or copied.

Commands take them by their names, such as configs/ml-1m.yaml, wherever there is no file of that name. The versions that
the package is tested with (constraints.txt), its citation and its changelog are listed and copied with them.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import OptionError, OutputError, reason_of
from recbole_sparse_elsa.options import shipped_folder

_BESIDE = {
    "constraints.txt": "The versions that the package is tested with, for pip install -c.",
    "CITATION.cff": "How to cite the package and the papers.",
    "CHANGELOG.md": "What changed in each version.",
}


def add_subcommand(subparsers: Any) -> None:
    """Add ``configs``."""
    parser = subparsers.add_parser(
        "configs",
        help=str(__doc__).split("``: ")[1].splitlines()[0],
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a file or folder, such as configs/leaderboard (default: all)"
    )
    parser.add_argument("--output", metavar="DIR", help="copy the files to this folder, under their names")
    parser.add_argument("--overwrite", action="store_true", help="replace files of the folder that are others")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """List the files, or copy them.

    Raises
    ------
    OptionError
        There is no file of a name, or the folder has another file of that name, or cannot be written (OutputError).
    """
    files = _chosen(options.names)
    if options.output is None:
        for name in files:
            print(f"{name}\n    {_first_sentence(name)}")
        return
    with output.reserve_folder(options.output):
        if not options.overwrite:
            _require_no_others(files, options.output)
        for name in files:
            target = os.path.join(options.output, *name.split("/"))
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
            except OSError as error:
                raise OutputError(f"output: {target} cannot be written: {reason_of(error)}") from None
            output.write_text(target, _text(name))
    print(f"Written: {len(files)} files to {options.output}")


def _chosen(names: list[str]) -> list[str]:
    shipped = [
        os.path.relpath(os.path.join(folder, file), shipped_folder()).replace(os.sep, "/")
        for folder, _, files in os.walk(os.path.join(shipped_folder(), "configs"))
        for file in files
    ]
    every = [*sorted(shipped, key=lambda name: (name.count("/"), name)), *_BESIDE]
    chosen = set()
    for name in names:
        wanted = os.path.normpath(name).replace(os.sep, "/")
        found = [file for file in every if file == wanted or file.startswith(f"{wanted}/")]
        if not found:
            raise OptionError(f"NAME is {name}, but no file or folder is called so; see sparse-elsa configs")
        chosen.update(found)
    return [name for name in every if name in chosen or not names]


def _require_no_others(files: list[str], folder: str) -> None:
    for name in files:
        target = os.path.join(folder, *name.split("/"))
        if not os.path.lexists(target):
            continue
        try:
            with open(target, encoding="utf-8") as opened:
                is_the_same = opened.read() == _text(name)
        except (OSError, UnicodeDecodeError):
            is_the_same = False
        if not is_the_same:
            raise OutputError(f"output: {target} is there already, and is another file; give --overwrite to replace it")


def _text(name: str) -> str:
    with open(os.path.join(shipped_folder(), *name.split("/")), encoding="utf-8") as file:
        return file.read()


def _first_sentence(name: str) -> str:
    if name in _BESIDE:
        return _BESIDE[name]
    comment = []
    for line in _text(name).splitlines():
        if not line.startswith("#") or line.startswith("#     "):  # the command that uses the file
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment).partition(". ")[0].rstrip(".") + "." if comment else ""
