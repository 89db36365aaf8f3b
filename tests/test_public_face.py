"""What others call: names that exist and are documented, examples that run, and imports that work on every system."""

import ast
import doctest
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import pytest

import recbole_sparse_elsa

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(recbole_sparse_elsa.__path__, "recbole_sparse_elsa.", onerror=lambda name: None)
    if not module.name.endswith("__main__")
)
PACKAGES = ["recbole_sparse_elsa"] + [
    name for name in MODULES if os.path.isdir(os.path.join(TOP, *name.split(".")))
]


def public_names(package):
    """The names of a package's ``__all__``, read from its source."""
    file = os.path.join(TOP, *package.split("."), "__init__.py")
    with open(file, encoding="utf-8") as opened:
        tree = ast.parse(opened.read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return list(ast.literal_eval(node.value))
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_exists_and_is_documented(package):
    module = importlib.import_module(package)
    assert module.__doc__
    names = public_names(package)
    assert len(names) == len(set(names))
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), f"{package}.{name} has no docstring"
        if inspect.isclass(value) and value.__module__.startswith("recbole_sparse_elsa"):
            for method, function in vars(value).items():
                # A lambda is the default of a field of a dataclass.
                is_method = inspect.isfunction(function) and function.__name__ != "<lambda>"
                if not method.startswith("_") and (is_method or isinstance(function, (classmethod, property))):
                    assert inspect.getdoc(getattr(value, method)), f"{package}.{name}.{method} has no docstring"


def test_the_public_names_of_the_package_are_listed():
    assert set(recbole_sparse_elsa.__all__) <= set(dir(recbole_sparse_elsa))
    assert {"SparseIndex", "SparseELSA", "ELSA", "run", "load", "__version__"} <= set(recbole_sparse_elsa.__all__)
    assert not hasattr(recbole_sparse_elsa, "SparseIndexx")


@pytest.mark.parametrize(
    "module", ["recbole_sparse_elsa.index.sparse_index", "recbole_sparse_elsa.segments.segment_catalogue"]
)
def test_the_examples_in_docstrings_run(module):
    imported = importlib.import_module(module)
    examples = [test for test in doctest.DocTestFinder().find(imported) if test.examples]
    assert examples
    assert doctest.testmod(imported).failed == 0


def test_types_are_shipped():
    assert os.path.isfile(os.path.join(TOP, "recbole_sparse_elsa", "py.typed"))


def test_every_module_can_be_imported_where_there_are_no_modules_of_unix():
    script = f"""
import builtins, importlib

MISSING = ("fcntl", "grp", "pwd", "resource", "syslog", "termios")
real_import = builtins.__import__

def without_unix(name, globals=None, locals=None, fromlist=(), level=0):
    # Other libraries know on which system they are.
    if name in MISSING and globals and globals.get("__name__", "").startswith("recbole_sparse_elsa"):
        raise ModuleNotFoundError(f"{{globals['__name__']}} imports {{name}}", name=name)
    return real_import(name, globals, locals, fromlist, level)

builtins.__import__ = without_unix
for name in {MODULES!r}:
    importlib.import_module(name)
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=TOP, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
