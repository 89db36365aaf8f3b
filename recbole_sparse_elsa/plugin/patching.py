"""One way to change RecBole: an ordered registry, in which each change says what it is for and when it can go.

A function of RecBole is replaced by a function with the decorator `replaces`, anything else is changed by one with the
decorator `adjusts`. Both only enter it into the registry; `apply_all` makes the changes. The first paragraph of the
function's docstring is what the change does, the rest is why.
"""

import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["repair", "policy", "speed", "feature"]

#: The kinds of changes, in the order in which they are made.
KINDS: tuple[Kind, ...] = ("repair", "policy", "speed", "feature")

#: The constructors of RecBole's kinds of models, which one replacement fits.
MODEL_CONSTRUCTORS = tuple(
    f"recbole.model.abstract_recommender.{kind}Recommender.__init__"
    for kind in ("General", "Sequential", "Knowledge", "Context")
)


@dataclass(frozen=True)
class Change:
    """A change of RecBole, or of what RecBole uses.

    Attributes
    ----------
    name : str
        The name of the function that makes the change; no two are the same.
    kind : {"repair", "policy", "speed", "feature"}
        Whether it repairs something broken, refuses options, makes something faster, or adds something.
    targets : tuple of str
        Dotted paths of what is changed; several only if the same function replaces each.
    parameters : tuple of str or None
        The parameters that a replaced function must have, a last ``...`` standing for any others. None if no function
        is replaced.
    what, why : str
        What the change does, and why.
    since : str
        The version from which on it is needed.
    until : str
        When it can go.
    probe : callable
        Returns True where the change is needed. It gets the original function if one is replaced, and nothing
        otherwise.
    only_where_needed : bool
        Whether the probe is asked before the change is made. Otherwise the change is always made.
    make : callable
        Gets the function that is to be replaced and returns the replacement; or makes the change, for which it gets
        nothing and may be called again.
    """

    name: str
    kind: Kind
    targets: tuple[str, ...]
    parameters: tuple[str, ...] | None
    what: str
    why: str
    since: str
    until: str
    probe: Callable[..., bool]
    only_where_needed: bool
    make: Callable[..., Any]

    def apply(self) -> None:
        """Make the change; doing it again changes nothing.

        Raises
        ------
        ImportError
            What is to be changed is missing, or does not have the expected parameters.
        """
        if self.only_where_needed and not self.is_needed():
            return
        if self.parameters is None:
            self.make()
            return
        for target in self.targets:
            self._replace(target)

    def is_needed(self) -> bool:
        """Whether the probe finds, here and in RecBole's own functions, what the change is for."""
        if self.name in _was_needed:
            return _was_needed[self.name]
        if self.parameters is None:
            needed = self.probe()
        else:
            needed = all(self.probe(_original(getattr(*_owner_and_name(target), None))) for target in self.targets)
        if self.only_where_needed:
            # Once the change is made, its probe may find nothing.
            _was_needed[self.name] = needed
        return needed

    def _replace(self, target: str) -> None:
        owner, name = _owner_and_name(target)
        current: Any = getattr(owner, name, None)
        if self.name in _changes_of(current):
            return
        self._require_parameters(target, current)
        replacement = self.make(current)
        if "<locals>" in replacement.__qualname__:
            functools.update_wrapper(replacement, current)
        else:
            # It keeps its own name and module, by which another process finds it.
            functools.update_wrapper(replacement, current, assigned=())
        setattr(replacement, _MARK, (*_changes_of(current), self.name))
        if inspect.isclass(owner):
            setattr(owner, name, replacement)
        else:
            replace_everywhere(current, replacement)

    def _require_parameters(self, target: str, function: Callable[..., Any] | None) -> None:
        assert self.parameters is not None
        if function is not None:
            found = tuple(inspect.signature(function).parameters)
            if found == self.parameters:
                return
            if self.parameters[-1] == "..." and found[: len(self.parameters) - 1] == self.parameters[:-1]:
                return
        known = "of RecBole 1.2.1, for which" if target.startswith("recbole.") else "with which"
        raise ImportError(
            f"{target} does not have the parameters ({', '.join(self.parameters)}) {known} recbole_sparse_elsa "
            f"changes it ({self.kind} {self.name})"
        )


# Every function that a change has put somewhere has the names of all changes up to it in this attribute.
_MARK = "_recbole_sparse_elsa_changes"

# Earlier releases were not looked at.
_SINCE = "RecBole 1.2.1"

_registry: dict[str, Change] = {}
_was_needed: dict[str, bool] = {}


def changes() -> tuple[Change, ...]:
    """All changes that have been registered, in the order in which they are made: by kind, then as registered.

    A process may import the module of a feature first, yet without the repairs RecBole cannot even be imported.
    """
    return tuple(sorted(_registry.values(), key=lambda change: KINDS.index(change.kind)))


def apply_all() -> None:
    """Make all changes, in their order; doing it again changes nothing.

    Raises
    ------
    ImportError
        What is to be changed is missing, or does not have the expected parameters.
    """
    for change in changes():
        change.apply()


def replaces(
    *targets: str,
    parameters: str,
    kind: Kind,
    until: str,
    probe: Callable[..., bool],
    since: str = _SINCE,
    only_where_needed: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function, which gets a function of RecBole and returns what replaces it.

    Several changes of one function are stacked: the later gets what the earlier returned. A replacement passes for the
    function it replaces, unless it is no closure: then it keeps its name and module, so that it can be pickled.

    Parameters
    ----------
    *targets : str
        Dotted paths of the functions, which are imported when the change is made.
    parameters : str
        The names of their parameters, with spaces between.
    kind, until, probe, since, only_where_needed
        See `Change`. The probe gets the original function.
    """
    return _registering(targets, tuple(parameters.split()), kind, since, until, probe, only_where_needed)


def adjusts(
    target: str,
    *,
    kind: Kind,
    until: str,
    probe: Callable[[], bool],
    since: str = _SINCE,
    only_where_needed: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function, which changes something that is not a function; see `replaces`.

    It gets no arguments, and changes nothing when it is called again.
    """
    return _registering((target,), None, kind, since, until, probe, only_where_needed)


def _registering(
    targets: tuple[str, ...],
    parameters: tuple[str, ...] | None,
    kind: Kind,
    since: str,
    until: str,
    probe: Callable[..., bool],
    only_where_needed: bool,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(make: Callable[..., Any]) -> Callable[..., Any]:
        name = make.__name__
        if name in _registry:
            raise ValueError(f"there are two changes with the name {name}")
        what, _, why = (" ".join(part.split()) for part in (inspect.getdoc(make) or "").partition("\n\n"))
        _registry[name] = Change(
            name, kind, targets, parameters, what, why, since, until, probe, only_where_needed, make
        )
        return make

    return register


def names_in(function: Any) -> tuple[str, ...]:
    """The names of globals and attributes in the code of a function, or of the one that it wraps: for probes."""
    return inspect.unwrap(function).__code__.co_names


def source_of(function: Any) -> str:
    """The source of a function, or of the one that it wraps; empty where there is none: for probes."""
    try:
        return inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return ""


def replace_everywhere(original: Any, replacement: Any) -> None:
    """Put ``replacement`` wherever a module of RecBole holds ``original``, be it imported there by name."""
    for module_name, module in list(sys.modules.items()):
        if module is not None and module_name.partition(".")[0] == "recbole":
            for name, value in list(vars(module).items()):
                if value is original:
                    setattr(module, name, replacement)


class Overlay(types.ModuleType):
    """A module with some names of its own, which is otherwise the module it stands for."""

    def __init__(self, module: types.ModuleType, **names: Any) -> None:
        super().__init__(module.__name__)
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def overlay(target: str, **names: Any) -> None:
    """Let a module of RecBole see other things in a module that it has imported, which stays as it is for all others.

    Parameters
    ----------
    target : str
        Dotted path of the imported module, by the name that RecBole's module gives it.
    **names
        What RecBole's module is to find in it.

    Raises
    ------
    ImportError
        RecBole's module has no such name.
    """
    owner, name = _owner_and_name(target)
    module = getattr(owner, name, None)
    if module is None:
        raise ImportError(f"RecBole 1.2.1 has {target}, which recbole_sparse_elsa changes, but this one has not")
    if not isinstance(module, Overlay):
        module = Overlay(module)
        setattr(owner, name, module)
    vars(module).update(names)


def _owner_and_name(target: str) -> tuple[Any, str]:
    """The module or class that a dotted path lies in, and the path's last name."""
    *path, name = target.split(".")
    owner: Any = importlib.import_module(path[0])
    for place, part in enumerate(path[1:], 2):
        if hasattr(owner, "__path__"):
            module = ".".join(path[:place])
            try:
                owner = importlib.import_module(module)
                continue
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise
        if not hasattr(owner, part):
            raise ImportError(f"there is no {target}, which recbole_sparse_elsa changes")
        owner = getattr(owner, part)
    return owner, name


def _changes_of(function: Any) -> tuple[str, ...]:
    return getattr(function, "__dict__", {}).get(_MARK, ())


def _original(function: Any) -> Any:
    """The function that was there before the first change."""
    while _changes_of(function):
        function = function.__wrapped__
    return function
