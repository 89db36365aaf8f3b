"""Changes RecBole as soon as it is imported, so that importing this package alone imports neither RecBole nor torch."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

RECBOLE_VERSION = "1.2.1"


def install_with_recbole() -> None:
    """Install this plug-in: at once if RecBole is imported already, and otherwise when it is.

    Raises
    ------
    ImportError
        RecBole is imported already, and is of another version than this package needs.
    """
    if sys.modules.get("recbole") is not None:
        _install()
    elif not any(isinstance(finder, _RecBoleFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RecBoleFinder())


def _install() -> None:
    _require_version()
    importlib.import_module("recbole_sparse_elsa.plugin.install").install()


def _require_version() -> None:
    # RecBole cannot be among the declared dependencies (see setup.cfg), so no installer sees to its version.
    version = getattr(sys.modules["recbole"], "__version__", None)
    if version != RECBOLE_VERSION:
        raise ImportError(_wrong_version(f"recbole {version}"), name="recbole")


def _wrong_version(found: str) -> str:
    from recbole_sparse_elsa import __version__

    return (
        f"recbole_sparse_elsa {__version__} needs RecBole {RECBOLE_VERSION}, but {found} is installed; run: "
        f'pip install --no-deps "recbole=={RECBOLE_VERSION}"'
    )


class _RecBoleFinder(importlib.abc.MetaPathFinder):
    """Finds RecBole as the other finders do, and has the plug-in installed once the package itself is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "recbole":
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    if spec.loader is not None:
                        spec.loader = _InstallingLoader(spec.loader)
                    return spec
        raise ModuleNotFoundError(_wrong_version("no recbole"), name="recbole")


class _InstallingLoader(importlib.abc.Loader):
    """RecBole's own loader, after which the plug-in is installed."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        # From here on the module is as without this finder.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        _install()
