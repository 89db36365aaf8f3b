"""Metrics of papers and public tables by name."""

import importlib

from recbole_sparse_elsa.plugin.patching import adjusts


@adjusts(
    "recbole.evaluator.register.metrics_dict",
    kind="feature",
    until="RecBole has these metrics",
    probe=lambda: not hasattr(importlib.import_module("recbole.evaluator.metrics"), "CalibratedRecall"),
)
def find_our_metrics() -> None:
    """Let RecBole's evaluator find CalibratedRecall, F1, F1OfMeans and RareHits by name.

    RecBole knows the metrics of its own module only.
    """
    from recbole_sparse_elsa.evaluation.metrics import register_metrics

    register_metrics()
