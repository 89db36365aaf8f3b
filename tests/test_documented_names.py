"""Every name that the documentation gives exists."""

import ast
import importlib
import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
PAGES = {path.relative_to(TOP).as_posix(): path for path in [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]}


def resolve(name):
    """What a dotted name stands for: a module, or what a module has under the rest of the name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if not ".".join(parts[:length]).startswith(error.name):
                raise
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(name)


def names_in_backticks(text):
    return sorted(set(re.findall(r"`(recbole_sparse_elsa(?:\.\w+)+)(?:\([^`]*\))?`", text)))


def paths_in_backticks(text):
    # A name that stands for many has a placeholder.
    return sorted(set(re.findall(r"`((?:recbole_sparse_elsa|configs|docs|tests)/[^`*<…\s]*)`", text)))


def code_blocks(text):
    """Blocks of code that are Python."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        try:
            yield ast.parse(block)
        except SyntaxError:
            pass


def imported_names(text):
    for block in code_blocks(text):
        for node in ast.walk(block):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("recbole_sparse_elsa"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name.startswith("recbole_sparse_elsa"))


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_documented_name_exists(page):
    text = PAGES[page].read_text(encoding="utf-8")
    missing = []
    for name in names_in_backticks(text):
        try:
            resolve(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert not missing
    assert not [path for path in paths_in_backticks(text) if not (TOP / path).exists()]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_name_that_an_example_imports_exists(page):
    for name in imported_names(PAGES[page].read_text(encoding="utf-8")):
        resolve(name)


def test_the_readme_has_examples():
    assert set(imported_names(PAGES["README.md"].read_text(encoding="utf-8"))) >= {
        "recbole_sparse_elsa",
        "recbole_sparse_elsa.index.SparseIndex",
        "recbole_sparse_elsa.segments.homepage",
    }


def test_every_public_name_of_the_package_exists():
    package = importlib.import_module("recbole_sparse_elsa")
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
