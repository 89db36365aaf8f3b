"""How models are evaluated beyond RecBole's own protocol: held-out users, and metrics."""

import recbole  # noqa: F401  (before the modules here, which the plug-in that comes with it needs whole)
