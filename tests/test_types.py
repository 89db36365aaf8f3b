"""Types: every public function says them, and a checker finds them consistent."""

import ast
import importlib.util
import os
import subprocess
import sys

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = os.path.join(TOP, "recbole_sparse_elsa")


def python_files():
    return [
        os.path.join(folder, file) for folder, _, files in os.walk(PACKAGE) for file in files if file.endswith(".py")
    ]


def public_functions(tree):
    """The functions of a module, and the methods of its classes, whose names do not begin with an underscore."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        elif isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            yield node


def lacks_types(function):
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    parameters = [argument for argument in every if argument is not None and argument.arg not in ("self", "cls")]
    return function.returns is None or any(argument.annotation is None for argument in parameters)


def test_every_public_function_has_types():
    lacking = []
    for file in python_files():
        with open(file, encoding="utf-8") as opened:
            tree = ast.parse(opened.read())
        place = os.path.relpath(file, TOP)
        lacking += [f"{place}:{node.lineno} {node.name}" for node in public_functions(tree) if lacks_types(node)]
    assert not lacking, "\n".join(sorted(lacking))


def test_a_checker_finds_the_types_consistent():
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    result = subprocess.run([sys.executable, "-m", "mypy"], cwd=TOP, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
