"""The fingerprint of training data tells other users, items and interactions."""

from types import SimpleNamespace

import numpy as np
import pytest

from recbole_sparse_elsa.data.fingerprint import Fingerprint, require_same_data
from recbole_sparse_elsa.errors import CheckpointError


def data(users="ab", items="xyz", pairs=((1, 1), (2, 3))):
    columns = {"user": np.array([user for user, _ in pairs]), "item": np.array([item for _, item in pairs])}

    class Interactions(dict):
        def __len__(self):
            return len(pairs)

    tokens = {"user": np.array(["[PAD]", *users]), "item": np.array(["[PAD]", *items])}
    return SimpleNamespace(uid_field="user", iid_field="item", field2id_token=tokens, inter_feat=Interactions(columns))


def test_the_same_data_have_the_same_fingerprint_also_after_it_was_saved():
    assert Fingerprint(**Fingerprint.of(data()).saved()) == Fingerprint.of(data())
    assert Fingerprint.of(data()).differences(Fingerprint.of(data()), interactions=True) == []
    require_same_data(Fingerprint.of(data()).saved(), Fingerprint.of(data()), "some.pth", interactions=True)
    require_same_data(None, Fingerprint.of(data()), "some.pth")
    with pytest.raises(CheckpointError, match="some.pth was trained on other data: it has 3 items, and the data 2; "):
        require_same_data(Fingerprint.of(data()).saved(), Fingerprint.of(data(items="xy")), "some.pth")


def test_other_users_items_and_interactions_are_named():
    saved = Fingerprint.of(data())
    assert saved.differences(Fingerprint.of(data(items="yxz"))) == ["the items in another order, or others"]
    assert saved.differences(Fingerprint.of(data(users="abc"))) == ["2 users, and the data 3"]
    assert saved.differences(Fingerprint.of(data(users=["a", "c"], items="xy"))) == [
        "the users in another order, or others",
        "3 items, and the data 2",
    ]
    other = Fingerprint.of(data(pairs=((1, 1), (2, 2))))
    assert saved.differences(other) == []
    assert saved.differences(other, interactions=True) == ["other training interactions (2, and the data 2)"]


def test_tokens_are_not_run_together():
    assert Fingerprint.of(data(users=["ab", "c"])).users != Fingerprint.of(data(users=["a", "bc"])).users
