"""Models of a user's own: classes outside of RecBole and this package, as ``my_model.py:MyModel`` names them."""

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from recbole_sparse_elsa.errors import OptionError, in_one_line
from recbole_sparse_elsa.options import reading_yaml, shown
from recbole_sparse_elsa.plugin.policy import known_models


@dataclass(frozen=True)
class OwnModel:
    """Where a user's model is.

    Attributes
    ----------
    name : str
        The name of its class, by which tables and files call the model.
    file : str
        The absolute path of the Python file that has the class.
    """

    name: str
    file: str

    @property
    def source(self) -> str:
        """The model as ``find`` takes it, from any folder and in any process."""
        return f"{self.file}:{self.name}"

    @property
    def options_file(self) -> str | None:
        """The YAML file of its options with their defaults, which lies beside its file; None if there is none."""
        file = os.path.join(os.path.dirname(self.file), f"{self.name}.yaml")
        return file if os.path.isfile(file) else None


_registry: dict[str, OwnModel] = {}
_compared: set[tuple[OwnModel, str | None]] = set()


def is_source(model: object) -> bool:
    """Whether a model is given by its file or module, and not by its name."""
    return isinstance(model, str) and ":" in model


def find(source: str) -> OwnModel:
    """Find a model by ``path/to/file.py:Class`` or ``package.module:Class``, and register it, without importing it.

    A path is relative to the working folder, in which modules are looked for, too.

    Raises
    ------
    OptionError
        There is no such file or module, or the class has the name of another model.
    """
    place, _, name = source.rpartition(":")
    if not place or not name.isidentifier():
        raise OptionError(f"model is {source!r}, but must be a name, path/to/file.py:Class or package.module:Class")
    if place.endswith(".py") or os.sep in place or "/" in place:
        file = os.path.abspath(os.path.expanduser(place))
        if not os.path.isfile(file):
            raise OptionError(f"model is {source!r}, but there is no file {file}")
    else:
        file = _file_of_module(source, place)
    return register(OwnModel(name, file))


def register(own: OwnModel) -> OwnModel:
    """Let RecBole find a model by the name of its class.

    Raises
    ------
    OptionError
        A built-in model, or another model of the user's in this process, has the name.
    """
    built_in = {model.lower(): model for model in known_models()}.get(own.name.lower())
    if built_in is not None:
        raise OptionError(
            f"model is {own.source!r}, but {built_in} is a model of RecBole's or of this package's: give the class "
            "another name, by which tables can tell the two apart"
        )
    for folder, kind in (("recbole.trainer", "Trainer"), ("recbole.data.dataset", "Dataset")):
        if f"{own.name}{kind}" in vars(importlib.import_module(folder)):
            raise OptionError(
                f"model is {own.source!r}, but RecBole would use its own {own.name}{kind} for it: give the class "
                "another name"
            )
    other = _registry.setdefault(own.name, own)
    if other != own:
        raise OptionError(
            f"model is {own.source!r}, but {other.name} is also the class of {other.file}: give one of the two another "
            "name, by which tables can tell them apart"
        )
    return own


def registered(name: object) -> OwnModel | None:
    """The user's model of a name; None where the name is that of no such model."""
    return _registry.get(name) if isinstance(name, str) else None


def names_of_options() -> set[str]:
    """The names of all options that the YAML files of registered models have."""
    return {name for own in _registry.values() for name in default_options(own)}


def where_options_stand() -> list[str]:
    """For a message about an option that does not exist: where those of each registered model are looked for."""
    return [
        f"an option of {own.name}'s stands with its default in {own.name}.yaml beside {own.file}"
        for own in _registry.values()
    ]


def default_options(own: OwnModel) -> dict[str, Any]:
    """The options of a model's YAML file.

    Raises
    ------
    OptionError
        The file is no YAML, or no mapping.
    """
    import yaml

    file = own.options_file
    if file is None:
        return {}
    with open(file, encoding="utf-8") as opened, reading_yaml(file):
        options = yaml.load(opened, Loader=yaml.FullLoader) or {}
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise OptionError(f"{file} must hold a mapping of options to their defaults, but holds {shown(options)}")
    return options


def load(own: OwnModel) -> type:
    """The class of a model, whose file is imported when it is first asked for.

    Raises
    ------
    OptionError
        The file cannot be imported, has no such class, or the class is no recommender.
    """
    from recbole.model.abstract_recommender import AbstractRecommender

    if not os.path.isfile(own.file):  # any more
        raise OptionError(f"model is {own.source!r}, but there is no file {own.file}")
    module = _imported(own)
    found = vars(module).get(own.name)
    if found is None:
        classes = inspect.getmembers(module, lambda value: getattr(value, "__module__", None) == module.__name__)
        there = ", ".join(name for name, value in classes if inspect.isclass(value)) or "none"
        raise OptionError(f"model is {own.source!r}, but the file has no {own.name}: its classes are {there}")
    base = "derive it from GeneralRecommender or another class of recbole.model.abstract_recommender"
    if not inspect.isclass(found) or not issubclass(found, AbstractRecommender) or not hasattr(found, "type"):
        raise OptionError(f"model is {own.source!r}, but {own.name} is no recommender of RecBole's: {base}")
    if found.__module__.partition(".")[0] in ("recbole", "recbole_sparse_elsa"):
        raise OptionError(f"model is {own.source!r}, but {own.name} is only imported there: {base}")
    missing = [method for method in ("calculate_loss", "predict") if _is_missing(found, method)]
    if missing:
        raise OptionError(
            f"model is {own.source!r}, but {own.name} has no {' and no '.join(missing)}, with which RecBole trains and "
            "scores a model; full_sort_predict, which scores all items at once, is not needed, but much faster"
        )
    if found.__name__ != own.name:
        raise OptionError(f"model is {own.source!r}, but {own.name} is another name of {found.__name__}: give that one")
    return found


def trainer_of(own: OwnModel) -> type | None:
    """The class ``NameTrainer`` beside the model, if there is one, which trains it instead of RecBole's Trainer."""
    return vars(_imported(own)).get(f"{own.name}Trainer")


def checksum(own: OwnModel) -> str:
    """SHA-256 of the model's file, and of those beside it or in its package that it imports, directly or not."""
    digest = hashlib.sha256()
    for file in sorted(_sources(own)):
        with open(file, "rb") as opened:
            content = opened.read()
        digest.update(f"{os.path.basename(file)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def warn_if_changed(own: OwnModel, saved: str | None) -> None:
    """Say in the log if the code of a model is no longer that of the run whose options are read, once for each."""
    if (own, saved) in _compared or not os.path.isfile(own.file):
        return
    _compared.add((own, saved))
    with contextlib.suppress(SyntaxError):  # of which loading the model complains
        if saved not in (None, checksum(own)):
            logging.getLogger().warning(
                f"{own.file}, or what it imports, has changed since {own.name} was trained: what the model does now "
                "need not be what was measured"
            )


def in_words(own: OwnModel) -> str:
    """What the model is, for a table or a log."""
    return (
        f"{own.name} of {os.path.basename(own.file)}, a model of the user's own, SHA-256 of its code "
        f"{checksum(own)[:12]}…"
    )


def _is_missing(model_class: type, method: str) -> bool:
    """Whether a class has but the method of RecBole's base class, which only raises."""
    from recbole.model.abstract_recommender import AbstractRecommender

    return getattr(model_class, method) is getattr(AbstractRecommender, method)


def _file_of_module(source, module):
    """The file of a module, which is looked for in the working folder first."""
    path = list(sys.path)
    try:
        sys.path.insert(0, os.getcwd())
        importlib.invalidate_caches()
        spec = importlib.util.find_spec(module)
    except (Exception, SystemExit) as error:  # of the packages around it, or of a name that is none
        raise OptionError(f"model is {source!r}, but looking for {module} fails: {in_one_line(error)}") from error
    finally:
        sys.path[:] = path
    if spec is None or not spec.origin:
        raise OptionError(f"model is {source!r}, but there is no module {module}, installed or in {os.getcwd()}")
    if not spec.origin.endswith(".py"):
        raise OptionError(f"model is {source!r}, but {module} must be a Python file, and is {spec.origin}")
    return os.path.abspath(spec.origin)


def _root_and_name(file: str) -> tuple[str, str]:
    """The folder from which a file is imported, and the dotted name of its module there."""
    folder, name = os.path.split(file.removesuffix(".py"))
    parts = [] if name == "__init__" else [name]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    return folder, ".".join(parts)


def _imported(own: OwnModel) -> ModuleType:
    root, name = _root_and_name(own.file)
    is_alone = "." not in name and not own.file.endswith("__init__.py")
    if is_alone:
        # Files of one name in two folders are two modules.
        name = f"{name}_{hashlib.sha256(own.file.encode()).hexdigest()[:12]}"
    module = sys.modules.get(name)
    if module is None:
        path = list(sys.path)
        sys.path.insert(0, root)
        try:
            importlib.invalidate_caches()
            module = _executed(own.file, name) if is_alone else importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise OptionError(_describe_failure(own, root, error)) from error
        finally:
            # What it imports later is found, too, but not before the modules of others.
            sys.path[:] = path if root in path else [*path, root]
    if not is_alone and not os.path.samefile(module.__file__ or os.devnull, own.file):
        raise OptionError(f"model is {own.source!r}, but {name} is already the module of {module.__file__}")
    return module


def _executed(file: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _describe_failure(own: OwnModel, root: str, error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(root + os.sep)]
    where = f" at line {frames[-1].lineno} of {frames[-1].filename}" if frames else ""
    return f"model is {own.source!r}, but importing the file fails{where}: {in_one_line(error)}"


def _sources(own: OwnModel) -> set[str]:
    root, _ = _root_and_name(own.file)
    found, left = set(), [own.file]
    while left:
        file = left.pop()
        if file not in found and os.path.isfile(file):
            found.add(file)
            with open(file, "rb") as opened:
                tree = ast.parse(opened.read())
            for name in _imports(tree, _root_and_name(file)[1], file.endswith("__init__.py")):
                parts = name.split(".")
                for length in range(1, len(parts) + 1):
                    path = os.path.join(root, *parts[:length])
                    left += [f"{path}.py", os.path.join(path, "__init__.py")]
    return found


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """The dotted names that a file imports, each of which may be a module or what lies in one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            around = parts[: len(parts) - node.level + is_package] if node.level else []
            yield from (".".join([*around, *filter(None, [node.module]), alias.name]) for alias in node.names)
