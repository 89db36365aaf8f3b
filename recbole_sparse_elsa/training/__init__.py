"""How the models are trained: RecBole's Trainer with a pruning schedule, and with checkpoints to resume from."""

import importlib

_TRAINERS = {
    "ELSA": ("pruning_trainer", "PruningTrainer"),
    "SparseELSA": ("pruning_trainer", "PruningTrainer"),
    "ELSASAE": ("autoencoder_trainer", "AutoencoderTrainer"),
    "FineTunedELSASAE": ("autoencoder_trainer", "FineTuningTrainer"),
}

#: The models whose training can be resumed.
RESUMABLE = tuple(_TRAINERS)


def trainer_class(model: str) -> type:
    """The class that trains a model of this package; its module is imported when it is first asked for."""
    module, name = _TRAINERS.get(model, ("whole_data_trainer", "WholeDataTrainer"))
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
