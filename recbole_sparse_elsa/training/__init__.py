"""How the models are trained: RecBole's Trainer with a pruning schedule, and with checkpoints to resume from."""

import importlib

#: The models whose training can be resumed.
RESUMABLE = ("ELSA", "SparseELSA", "ELSASAE", "FineTunedELSASAE")


def trainer_class(model: str) -> type:
    """The class that trains a model of this package; its module is imported when it is first asked for."""
    if model == "ELSASAE":
        module, name = "autoencoder_trainer", "AutoencoderTrainer"
    elif model == "FineTunedELSASAE":
        module, name = "autoencoder_trainer", "FineTuningTrainer"
    elif model in RESUMABLE:
        module, name = "pruning_trainer", "PruningTrainer"
    else:
        module, name = "whole_data_trainer", "WholeDataTrainer"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
