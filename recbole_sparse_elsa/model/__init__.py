"""The models, each one file in RecBole's shape, with their default options in properties/."""

import importlib
import os

#: The module of each model. The name of a module stays as it is: checkpoints hold it.
MODELS = {
    "ELSA": "elsa",
    "SparseELSA": "sparse_elsa",
    "SparseSLIM": "sparse_slim",
    "ELSASAE": "elsa_sae",
    "FineTunedELSASAE": "fine_tuned_elsa_sae",
    "PrunedEASE": "pruned_ease",
    "UserKNN": "user_knn",
    "ImplicitALS": "implicit_als",
}

#: The folder of their default options, with a folder for each preset.
PROPERTIES = os.path.join(os.path.dirname(__file__), "properties")


def model_class(name: str) -> type:
    """The class of one of ``MODELS``; its module is imported when it is first asked for."""
    return getattr(importlib.import_module(f"{__name__}.{MODELS[name]}"), name)
