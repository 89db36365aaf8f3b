"""What tells one set of training data from another: a checkpoint carries it, and other data are refused."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recbole_sparse_elsa.errors import CheckpointError

#: The name of a fingerprint in a checkpoint, among the model's other parameters.
SAVED_AS = "data_fingerprint"


@dataclass(frozen=True)
class Fingerprint:
    """Checksums of the data that a model was trained on.

    Attributes
    ----------
    n_users, n_items, n_interactions : int
        Of the training data, without RecBole's padding user and item.
    users, items : str
        SHA-256 of the tokens, in the order of RecBole's internal ids.
    interactions : str
        SHA-256 of the internal ids of user and item of each training interaction, in their order.
    """

    n_users: int
    n_items: int
    n_interactions: int
    users: str
    items: str
    interactions: str

    @classmethod
    def of(cls, dataset: Any) -> "Fingerprint":
        """The fingerprint of training data.

        Parameters
        ----------
        dataset : recbole.data.dataset.Dataset
            The training data, as a model gets them.
        """
        fields = dataset.uid_field, dataset.iid_field  # None where a context-aware model's data have none
        users, items = ([] if field is None else dataset.field2id_token[field][1:] for field in fields)
        interactions = hashlib.sha256()
        for field in filter(None, fields):
            interactions.update(np.ascontiguousarray(np.asarray(dataset.inter_feat[field]), dtype="<i8").data)
        return cls(
            n_users=len(users),
            n_items=len(items),
            n_interactions=len(dataset.inter_feat),
            users=_checksum(users),
            items=_checksum(items),
            interactions=interactions.hexdigest(),
        )

    def saved(self) -> dict[str, Any]:
        """This fingerprint as plain data."""
        return asdict(self)

    def differences(self, other: "Fingerprint", interactions: bool = False) -> list[str]:
        """What ``other`` has otherwise, in words; empty if the data are the same.

        Parameters
        ----------
        other : Fingerprint
            Of the data at hand.
        interactions : bool
            Whether the interactions must be the same, too, as for going on with a training.
        """
        found = []
        for name in ("users", "items"):
            if getattr(self, name) != getattr(other, name):
                counts = getattr(self, f"n_{name}"), getattr(other, f"n_{name}")
                found.append(
                    f"{counts[0]:,} {name}, and the data {counts[1]:,}"
                    if counts[0] != counts[1]
                    else f"the {name} in another order, or others"
                )
        if interactions and not found and self.interactions != other.interactions:
            found.append(
                f"other training interactions ({self.n_interactions:,}, and the data {other.n_interactions:,})"
            )
        return found


_TYPES = dict.fromkeys(("n_users", "n_items", "n_interactions"), int) | dict.fromkeys(
    ("users", "items", "interactions"), str
)


def require_same_data(
    saved: Mapping[str, Any] | None, present: Fingerprint, checkpoint: str, interactions: bool = False
) -> None:
    """Raise CheckpointError unless the data at hand are those that a checkpoint's model was trained on.

    Parameters
    ----------
    saved : mapping or None
        What `Fingerprint.saved` returned; None for a checkpoint of version 0.1.0, which cannot be checked.
    present : Fingerprint
        Of the data at hand.
    checkpoint : str
        What the message calls the checkpoint.
    interactions : bool
        See `Fingerprint.differences`.
    """
    if saved is None:
        return
    if not isinstance(saved, dict) or {name: type(value) for name, value in saved.items()} != _TYPES:
        raise CheckpointError(f"{checkpoint} has a damaged fingerprint of the data that it was trained on")
    differences = Fingerprint(**saved).differences(present, interactions)
    if differences:
        raise CheckpointError(
            f"{checkpoint} was trained on other data: it has {' and '.join(differences)}; give the data set as it was "
            "when the model was trained"
        )


def _checksum(tokens: Iterable[Any]) -> str:
    # Tokens have no line feeds: they are fields of a line.
    return hashlib.sha256("\n".join(map(str, tokens)).encode("utf-8", "surrogatepass")).hexdigest()
