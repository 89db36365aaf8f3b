"""What RecBole does not have: our models by name, evaluation on held-out users, further metrics, what a run says."""

import importlib

#: The modules, in the order in which their changes are made.
FEATURES = (
    *("models", "workers", "held_out_users", "metrics", "results", "fingerprints", "masks", "fixed_splits"),
    *("own_models", "points_in_time", "progress"),
)

for _feature in FEATURES:
    importlib.import_module(f"{__name__}.{_feature}")
