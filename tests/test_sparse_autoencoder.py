"""The sparse autoencoder: how it is fitted to embeddings."""

import pytest
import torch

from recbole_sparse_elsa.core import SparseAutoencoder

OPTIONS = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-2}


def embeddings_of(n_items=50, width=6):
    return torch.nn.functional.normalize(torch.randn(n_items, width, generator=torch.Generator().manual_seed(4)), dim=1)


@pytest.mark.parametrize("nonzeros", [2, torch.arange(50) % 3 + 1])
def test_the_result_depends_on_the_generator_and_the_embeddings_alone(nonzeros):
    fitted = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(7)
        autoencoder = SparseAutoencoder(6, 12, generator)
        epochs, told = [], []

        def on_epoch(epoch, loss, epochs=epochs, told=told):
            epochs.append(epoch)
            told.append(loss)

        losses = autoencoder.fit(embeddings_of(), nonzeros, generator=generator, on_epoch=on_epoch, **OPTIONS)
        assert told == losses and epochs == [0, 1, 2]
        fitted.append([losses, *(parameter.tolist() for parameter in autoencoder.parameters())])
    assert fitted[0] == fitted[1]


def test_an_epoch_takes_steps_of_adam_on_all_items_in_random_order():
    generator = torch.Generator().manual_seed(7)
    autoencoder = SparseAutoencoder(6, 12, generator)
    (loss,) = autoencoder.fit(embeddings_of(), 2, generator=generator, **{**OPTIONS, "epochs": 1})

    generator = torch.Generator().manual_seed(7)
    expected = SparseAutoencoder(6, 12, generator)
    optimizer = torch.optim.Adam(expected.parameters(), lr=1e-2)
    order, total = torch.randperm(50, generator=generator), 0
    for items in (order[:16], order[16:32], order[32:48], order[48:]):
        optimizer.zero_grad()
        of_batch = expected.loss(embeddings_of()[items], torch.full((len(items),), 2))
        of_batch.backward()
        optimizer.step()
        total += of_batch.item() * len(items)
    assert loss == total / 50
    for fitted, parameter in zip(autoencoder.parameters(), expected.parameters()):
        assert torch.equal(fitted, parameter)


def test_fitting_lowers_the_loss():
    generator = torch.Generator().manual_seed(7)
    options = {**OPTIONS, "epochs": 30}
    losses = SparseAutoencoder(6, 12, generator).fit(embeddings_of(), 2, generator=generator, **options)
    assert losses[-1] < 0.7 * losses[0]
