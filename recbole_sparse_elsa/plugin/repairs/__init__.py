"""Repairs of RecBole 1.2.1: what today's Python stack breaks, and a few of its own defects.

Each looks for the defect itself rather than for a version. What only some stacks break is repaired only there.
"""

import importlib

#: The themes, each a module, in the order in which their repairs are made.
THEMES = (
    "python_stack",
    "checkpoints",
    "reading",
    "cached_data",
    "filtering",
    "time_order",
    "evaluation",
    "metrics",
    "sampling",
    "repeats",
    "baselines",
    "learned_models",
    "processes",
    "logs",
)

for _theme in THEMES:
    importlib.import_module(f"{__name__}.{_theme}")
