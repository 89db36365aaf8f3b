"""Batches of users whose interactions are gathered ahead."""

import pytest
import torch
from conftest import prepare
from recbole.data.dataloader import UserDataLoader

from recbole_sparse_elsa.training.user_batches import UserBatches


def loaders(run, gather=None):
    """RecBole's loader of users, and the one that gathers."""
    data = run.config, run.train_data._dataset, run.train_data._sampler
    return UserDataLoader(*data, shuffle=True), UserBatches(*data, gather or run.model.batch_of)


def test_batches_are_those_of_recbole_in_every_epoch_with_the_users_interactions(checkerboard):
    run = prepare("ELSA", checkerboard)
    interactions = torch.from_numpy(run.train_data._dataset.inter_matrix(form="csr").toarray())[:, 1:]
    theirs, ours = loaders(run)
    for _ in range(2):
        expected, batches = list(theirs), list(ours)
        assert len(batches) == len(ours) == len(expected) > 2
        for users, batch in zip(expected, batches):
            users = users[run.model.USER_ID]
            gathered = batch.to(run.config["device"])
            assert torch.equal(gathered[run.model.USER_ID], users)
            rows = interactions[users]
            assert torch.equal(gathered.batch.rows(), rows[rows.sum(dim=1) > 0])


def test_a_share_of_the_users_has_theirs_only(checkerboard):
    run = prepare("ELSA", checkerboard)
    users = next(iter(loaders(run)[0]))
    whole = run.model.batch_of(users).rows()
    for rank in range(3):
        assert torch.equal(run.model.batch_of(users, slice(rank, None, 3)).rows(), whole[rank::3])


def test_what_goes_wrong_in_gathering_is_raised_in_the_epoch(checkerboard):
    run = prepare("ELSA", checkerboard)

    def gather(users):
        raise MemoryError("no room for the histories")

    with pytest.raises(MemoryError, match="no room"):
        list(loaders(run, gather)[1])
