"""Sparse ELSA for RecBole.

Importing this package repairs RecBole 1.2.1 where today's Python stack breaks it, and makes its own entry points know
the models ELSA and SparseELSA by name.
"""

import os

# OpenMP, which torch loads, lets threads that wait for work spin rather than sleep. Where other programs run too, that
# takes the time of the threads that work: a step on the non-zeros then takes twice as long or more.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

try:
    from recbole import __version__ as _recbole_version  # noqa: E402
except ModuleNotFoundError:
    _recbole_version = None

__version__ = "0.1.0"

RECBOLE_VERSION = "1.2.1"

# RecBole cannot be among the declared dependencies (see setup.cfg), so no installer sees to its version.
if _recbole_version != RECBOLE_VERSION:
    raise ImportError(
        f"recbole_sparse_elsa {__version__} needs RecBole {RECBOLE_VERSION}, but "
        f"{f'recbole {_recbole_version}' if _recbole_version else 'no recbole'} is installed; run: "
        f'pip install --no-deps "recbole=={RECBOLE_VERSION}"'
    )

from recbole_sparse_elsa import recbole_repairs  # noqa: E402

# Repairs come first: without them RecBole's own modules cannot even be imported.
recbole_repairs.apply()

from recbole_sparse_elsa import recbole_registration  # noqa: E402

recbole_registration.register()
