"""Installs the plug-in: all changes of RecBole, in their order."""

import importlib

from recbole_sparse_elsa.plugin import patching

# Repairs come first: without them RecBole's own modules cannot even be imported.
_ORDER = ("repairs", "policy", "policy_data", "policy_options", "policy_output", "speed", "features")


def install() -> None:
    """Make all changes; doing it again changes nothing.

    Raises
    ------
    ImportError
        What is to be changed is missing, or does not have the expected parameters.
    """
    for name in _ORDER:
        importlib.import_module(f"recbole_sparse_elsa.plugin.{name}")
    patching.apply_all()
