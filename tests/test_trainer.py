"""The trainer: pruning, which epochs count, checkpoints and resuming."""

import math
import os

import numpy as np
import pytest
import torch
from conftest import prepare
from recbole.quick_start import load_data_and_model
from recbole.trainer import Trainer
from scipy.sparse import csr_matrix
from torch import optim

from recbole_sparse_elsa.errors import CheckpointError, OptionError, TrainingError

# k of each epoch: 16, 5, 4, 4, … with stage_epochs 2 (16 / 2^1.5 = 5.7).
SPARSE = dict(k=4, stage_epochs=2, epochs=8)
CODES = {"k": 4, "embedding_size": 16, "code_size": 24, "autoencoder_epochs": 30, "dense_epochs": 2, "epochs": 8}


class Killed(Exception):
    """Stands for a run that is killed."""


def record(trainer):
    """The k and the outcome of each epoch, and the epochs that were validated."""
    ks, validated = [], []
    train_epoch, valid_epoch = trainer._train_epoch, trainer._valid_epoch

    def recording_train_epoch(*args, **kwargs):
        loss = train_epoch(*args, **kwargs)
        ks.append(int(trainer.model.item_embedding.nonzeros().max()))
        return loss

    def recording_valid_epoch(*args, **kwargs):
        validated.append(len(ks) - 1)
        return valid_epoch(*args, **kwargs)

    trainer._train_epoch, trainer._valid_epoch = recording_train_epoch, recording_valid_epoch
    return ks, validated


def killed_in_epoch(run, epoch):
    """Train until the run is killed in the middle of ``epoch``; the file to resume from."""
    train_epoch = Trainer._train_epoch

    def dying(trainer, train_data, epoch_idx, *args, **kwargs):
        loss = train_epoch(trainer, train_data, epoch_idx, *args, **kwargs)
        if epoch_idx == epoch:
            raise Killed
        return loss

    Trainer._train_epoch = dying
    try:
        with pytest.raises(Killed):
            run.trainer.fit(run.train_data, run.valid_data)
    finally:
        Trainer._train_epoch = train_epoch
    return run.trainer._resume_file


def test_only_epochs_at_the_target_k_are_validated_and_saved(checkerboard):
    run = prepare("SparseELSA", checkerboard, **SPARSE)
    ks, validated = record(run.trainer)
    run.trainer.fit(run.train_data, run.valid_data)
    assert ks == [16, 5, 4, 4, 4, 4, 4, 4]
    assert validated == [2, 3, 4, 5, 6, 7]


def test_a_model_that_was_best_while_dense_is_not_reported(checkerboard, monkeypatch):
    """Were dense epochs to count, the first would win: its score is made the best of all."""
    run = prepare("SparseELSA", checkerboard, stopping_step=1, **SPARSE)
    scores = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    monkeypatch.setattr(
        run.trainer, "_valid_epoch", lambda *args, **kwargs: (next(scores), {"k": run.trainer._mean_nonzeros()})
    )
    best_score, best_result = run.trainer.fit(run.train_data, run.valid_data)
    assert (best_score, best_result) == (0.9, {"k": 4.0})
    run.trainer.evaluate(run.test_data)
    assert (run.model.item_embedding.nonzeros() == 4).all()


@pytest.mark.parametrize("eval_step", [3, 5])
def test_eval_step_counts_as_in_recbole_once_the_target_is_reached(checkerboard, eval_step):
    run = prepare("SparseELSA", checkerboard, **{**SPARSE, "epochs": 12}, eval_step=eval_step)
    _, validated = record(run.trainer)
    run.trainer.fit(run.train_data, run.valid_data)
    assert validated == [epoch for epoch in range(2, 12) if (epoch + 1) % eval_step == 0]


def test_epochs_that_end_before_the_target_is_evaluated_are_refused_before_training(checkerboard):
    with pytest.raises(OptionError, match="epochs is 2, but must be at least 3: .* reaches k = 4 after 2 epochs"):
        prepare("SparseELSA", checkerboard, **{**SPARSE, "epochs": 2})
    for options in ({"epochs": 3}, {"epochs": 4, "eval_step": 3}, {"epochs": 7, "eval_step": 6}, {"eval_step": 100}):
        prepare("SparseELSA", checkerboard, **{**SPARSE, **options})


def test_eval_step_that_falls_only_into_the_pruning_epochs_is_refused(checkerboard):
    with pytest.raises(OptionError, match="epochs is 5, but must be at least 6"):
        # Evaluated would be epoch 2 (counted from 0), at k = 22.
        prepare("SparseELSA", checkerboard, embedding_size=64, k=16, stage_epochs=3, epochs=5, eval_step=3)


def test_restart_returns_to_initial_weights_with_a_new_optimiser(checkerboard, monkeypatch):
    run = prepare("SparseELSA", checkerboard, **SPARSE)
    initial = run.model.item_embedding.weight.detach().clone()
    seen = []
    train_epoch = Trainer._train_epoch

    def looking(trainer, train_data, epoch_idx, *args, **kwargs):
        layer = run.model.item_embedding
        kept = layer.weight != 0
        seen.append((torch.equal(layer.weight[kept], initial[kept]), len(trainer.optimizer.state)))
        return train_epoch(trainer, train_data, epoch_idx, *args, **kwargs)

    monkeypatch.setattr(Trainer, "_train_epoch", looking)
    run.trainer.fit(run.train_data, run.valid_data)
    # Epochs 0, 1 and 2 begin at initial values (0 trivially, 1 and 2 after a prune), later ones go on.
    assert seen == [(True, 0)] * 3 + [(False, 1)] * 5
    assert run.model.item_embedding.initial_weight is None


def test_without_restart_training_goes_on_and_pruned_entries_stay_zero(checkerboard):
    run = prepare("SparseELSA", checkerboard, restart=False, weight_decay=0.01, **SPARSE)
    initial = run.model.item_embedding.weight.detach().clone()
    run.trainer.fit(run.train_data, run.valid_data)
    layer = run.model.item_embedding
    assert layer.initial_weight is None
    assert ((layer.weight != 0).sum(dim=1) == 4).all()
    assert not torch.equal(layer.weight[layer.support], initial[layer.support])


def keras_nadam(weight, gradients, learning_rate, epsilon):
    """Nadam as the Keras documentation writes it down, in double precision."""
    beta_1, beta_2, decay = 0.9, 0.999, 0.96
    momentum = velocity = torch.zeros_like(weight)
    product = 1.0
    for step, gradient in enumerate(gradients, start=1):
        u = beta_1 * (1 - 0.5 * decay**step)
        u_next = beta_1 * (1 - 0.5 * decay ** (step + 1))
        product *= u
        momentum = beta_1 * momentum + (1 - beta_1) * gradient
        velocity = beta_2 * velocity + (1 - beta_2) * gradient.square()
        momentum_hat = u_next * momentum / (1 - product * u_next) + (1 - u) * gradient / (1 - product)
        velocity_hat = velocity / (1 - beta_2**step)
        weight = weight - learning_rate * momentum_hat / (velocity_hat.sqrt() + epsilon)
    return weight


def test_nadam_follows_keras(checkerboard):
    run = prepare("ELSA", checkerboard, learner="nadam", learning_rate=0.1, nadam_epsilon=1e-3)
    weight, optimizer = run.model.item_embedding.weight, run.trainer.optimizer
    torch.manual_seed(0)
    gradients = [torch.randn_like(weight) * 0.01 for _ in range(5)]
    expected = keras_nadam(weight.detach().double(), [gradient.double() for gradient in gradients], 0.1, 1e-3)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("learner, optimizer", [("adam", optim.Adam), ("AdamW", optim.AdamW), ("sgd", optim.SGD)])
def test_recboles_learners_are_available_too(checkerboard, learner, optimizer):
    assert type(prepare("ELSA", checkerboard, learner=learner).trainer.optimizer) is optimizer


SLOWLY_PRUNED = {**SPARSE, "stage_epochs": 3, "length_exponent": 0.75}


@pytest.mark.parametrize(
    "model, options",
    [
        ("SparseELSA", {**SLOWLY_PRUNED, "restart": True}),
        ("SparseELSA", {**SLOWLY_PRUNED, "restart": False}),
        ("SparseELSA", {**SLOWLY_PRUNED, "restart": True, "learner": "adam"}),
        ("SparseELSA", {**SLOWLY_PRUNED, "restart": False, "learner": "adam"}),
        ("SparseELSA", {**SLOWLY_PRUNED, "restart": True, "start_k": 12}),
        ("SparseELSA", {**SLOWLY_PRUNED, "restart": False, "start_k": 12}),
        ("FineTunedELSASAE", {**CODES, "dense_epochs": 4}),
    ],
)
def test_resuming_after_a_kill_in_any_epoch_ends_with_the_same_weights(checkerboard, model, options):
    options = {"weight_decay": 0.001, **options, "epochs": 9}
    whole = prepare(model, checkerboard, **options)
    expected_result = whole.trainer.fit(whole.train_data, whole.valid_data)
    expected = whole.model.item_embedding.weight.detach().clone()
    expected_test = whole.trainer.evaluate(whole.test_data)
    for epoch in range(1, 9):
        resume_file = killed_in_epoch(prepare(model, checkerboard, **options), epoch)
        resumed = prepare(model, checkerboard, **options, resume=resume_file)
        assert resumed.trainer.start_epoch == epoch
        torch.rand(7)  # whatever is drawn before training must not matter
        assert resumed.trainer.fit(resumed.train_data, resumed.valid_data) == expected_result
        assert torch.equal(resumed.model.item_embedding.weight, expected)
        assert resumed.trainer.evaluate(resumed.test_data) == expected_test


@pytest.mark.parametrize("form", ["auto", "compact"])
def test_codes_take_the_place_of_dense_embeddings_at_the_first_prune(random_dataset, monkeypatch, form):
    options = {**CODES, "autoencoder_epochs": 300, "dense_epochs": 1, "embedding_form": form}
    run = prepare("FineTunedELSASAE", random_dataset, **options)
    run.trainer._prune(0)
    dense, cosines = run.model.item_embedding().detach(), []
    nonzeros = run.model.nonzeros_at(1)
    assert run.model.item_embedding.embedding_size == 16 and nonzeros.min() < nonzeros.max()
    fit_autoencoder = run.trainer._fit_autoencoder

    def recording(nonzeros):
        autoencoder = fit_autoencoder(nonzeros)
        decoded = autoencoder.decode(autoencoder.encode(dense, nonzeros))
        cosines.append(torch.nn.functional.cosine_similarity(decoded, dense).mean().item())
        return autoencoder

    monkeypatch.setattr(run.trainer, "_fit_autoencoder", recording)
    norms = run.model.item_embedding.weight.view(30, 16).norm(dim=1)
    run.trainer._prune(1)
    layer = run.model.item_embedding
    assert layer.embedding_size == 24 and torch.equal(layer.nonzeros(), nonzeros)
    of_each_item = layer.weight[layer.weight != 0].split(nonzeros.tolist())
    torch.testing.assert_close(torch.stack([entries.norm() for entries in of_each_item]), norms)
    largest = [row.abs().sort(descending=True).values[:kept] for row, kept in zip(dense, nonzeros.tolist())]
    assert cosines[0] > 0.05 + torch.stack([entries.norm() for entries in largest]).mean().item()  # what a prune keeps
    run.trainer.fit(run.train_data, run.valid_data)
    assert layer.nonzeros().double().mean() == 4 and len(cosines) == 1
    run.trainer.evaluate(run.test_data)  # reads the best epoch, whose embeddings are codes, too
    model = load_data_and_model(run.trainer.saved_model_file)[1]
    assert model.item_embedding().shape == (30, 24) and torch.equal(model.item_embedding(), layer())


def test_training_goes_on_from_the_codes(random_dataset):
    """The optimiser moves the new weights, and the loss falls."""
    run = prepare("FineTunedELSASAE", random_dataset, **{**CODES, "epochs": 12})
    run.trainer.fit(run.train_data, run.valid_data)
    losses = run.trainer.train_loss_dict
    assert losses[11] < losses[run.model.pruning_schedule.first_final_epoch]


def test_the_best_result_survives_when_no_later_epoch_is_better(checkerboard, monkeypatch):
    run = prepare("SparseELSA", checkerboard, **SPARSE)
    scores = iter([0.9, 0.8, 0.7])
    monkeypatch.setattr(run.trainer, "_valid_epoch", lambda *args, **kwargs: (next(scores), {"epoch": 2}))
    resume_file = killed_in_epoch(run, 5)
    best = torch.load(run.trainer.saved_model_file, weights_only=False)["state_dict"]["item_embedding.weight"]
    resumed = prepare("SparseELSA", checkerboard, **SPARSE, resume=resume_file)
    monkeypatch.setattr(resumed.trainer, "_valid_epoch", lambda *args, **kwargs: (0.1, {"epoch": "later"}))
    assert resumed.trainer.fit(resumed.train_data, resumed.valid_data) == (0.9, {"epoch": 2})
    resumed.trainer.evaluate(resumed.test_data)
    assert torch.equal(resumed.model.item_embedding.weight, best)


def test_the_file_to_resume_from_goes_when_the_best_model_was_tested_and_that_stays(checkerboard):
    run = prepare("SparseELSA", checkerboard, **SPARSE)
    expected = run.trainer.fit(run.train_data, run.valid_data)
    assert os.path.exists(run.trainer._resume_file)
    # Killed before the test result was there: the run is finished from the file.
    resumed = prepare("SparseELSA", checkerboard, **SPARSE, resume=run.trainer._resume_file)
    assert resumed.trainer.fit(resumed.train_data, resumed.valid_data) == expected
    assert resumed.trainer.evaluate(resumed.test_data) == run.trainer.evaluate(run.test_data)
    best = os.path.basename(run.trainer.saved_model_file)
    assert sorted(os.listdir("saved")) == [best, best.replace(".pth", ".safetensors")]


@pytest.mark.parametrize("model, options", [("SparseELSA", SPARSE), ("ELSASAE", {"k": 4, "code_size": 24})])
def test_a_run_that_was_killed_in_the_test_is_finished(checkerboard, model, options):
    options = {**options, "epochs": 8, **({"autoencoder_epochs": 3} if model == "ELSASAE" else {})}
    whole = prepare(model, checkerboard, **options)
    expected = whole.trainer.fit(whole.train_data, whole.valid_data)
    resumed = prepare(model, checkerboard, **options, resume=whole.trainer._resume_file)
    assert resumed.trainer.fit(resumed.train_data, resumed.valid_data) == expected
    assert torch.equal(resumed.model.item_embedding(), whole.model.item_embedding())
    assert resumed.trainer.evaluate(resumed.test_data) == whole.trainer.evaluate(whole.test_data)


def test_a_user_who_stops_a_run_is_told_how_it_goes_on(checkerboard, monkeypatch):
    run = prepare("SparseELSA", checkerboard, **SPARSE)

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    run.trainer.fit(run.train_data, run.valid_data)
    monkeypatch.setattr(Trainer, "evaluate", stopped)
    with pytest.raises(KeyboardInterrupt, match=f"go on with the same options and --resume={run.trainer._resume_file}"):
        run.trainer.evaluate(run.test_data)
    # Before the first epoch has ended there is nothing to go on with.
    monkeypatch.setattr(Trainer, "_train_epoch", stopped)
    run = prepare("SparseELSA", checkerboard, **SPARSE)
    with pytest.raises(KeyboardInterrupt) as caught:
        run.trainer.fit(run.train_data, run.valid_data)
    assert not str(caught.value)


def test_save_step_zero_and_saved_false_leave_nothing_to_resume_from(checkerboard):
    killed_in_epoch(prepare("SparseELSA", checkerboard, save_step=0, **SPARSE), 2)
    assert os.listdir("saved") == []
    run = prepare("SparseELSA", checkerboard, **SPARSE)
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    assert os.listdir("saved") == []


def test_save_step_keeps_every_third_epoch(checkerboard):
    resume_file = killed_in_epoch(prepare("SparseELSA", checkerboard, save_step=3, **SPARSE), 5)
    assert prepare("SparseELSA", checkerboard, resume=resume_file, **SPARSE).trainer.start_epoch == 3


def test_resuming_from_what_does_not_fit_is_refused_in_one_line(checkerboard, working_folder):
    resume_file = killed_in_epoch(prepare("SparseELSA", checkerboard, **SPARSE), 3)
    for model, options, message in [
        ("ELSA", {}, "was saved with model SparseELSA, but model is ELSA"),
        ("SparseELSA", {**SPARSE, "embedding_size": 8}, "saved with embedding_size 16, but embedding_size is 8: a run"),
    ]:
        with pytest.raises(CheckpointError, match=message) as error:
            prepare(model, checkerboard, **options, resume=resume_file)
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="was saved with dataset checkerboard, but dataset is ml-100k"):
        prepare("SparseELSA", "ml-100k", **SPARSE, resume=resume_file)
    with pytest.raises(CheckpointError, match="nowhere.pth"):
        prepare("SparseELSA", checkerboard, **SPARSE, resume="nowhere.pth")
    cut = working_folder / "cut-resume.pth"
    whole = open(resume_file, "rb").read()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cut-resume.pth"):
        prepare("SparseELSA", checkerboard, **SPARSE, resume=str(cut))
    assert cut.read_bytes() == whole[: len(whole) // 2]
    best_model = resume_file.replace("-resume", "")
    with pytest.raises(CheckpointError, match="it is a best model"):
        prepare("SparseELSA", checkerboard, **SPARSE, resume=best_model)
    os.remove(best_model)
    with pytest.raises(CheckpointError, match="best model .* is missing"):
        prepare("SparseELSA", checkerboard, **SPARSE, resume=resume_file)


def test_k_and_embedding_size_are_logged(checkerboard, caplog, monkeypatch):
    run = prepare("SparseELSA", checkerboard, state="INFO", **SPARSE)
    scalars, metrics = {}, []
    monkeypatch.setattr(
        run.trainer.tensorboard,
        "add_scalar",
        lambda tag, value, step: scalars.setdefault(tag, {}).update({step: value}),
    )
    monkeypatch.setattr(run.trainer.wandblogger, "log_metrics", lambda values, head: metrics.append((head, values)))
    with caplog.at_level("INFO"):
        run.trainer.fit(run.train_data, run.valid_data)
    assert [scalars["k"][epoch] for epoch in range(4)] == [16, 5, 4, 4]
    # 4 bytes a value while dense, then 4 more for the index of each.
    assert [scalars["bytes_per_item"][epoch] for epoch in range(4)] == [64, 40, 32, 32]
    assert ("train", {"k": 5.0, "bytes_per_item": 40.0, "train_step": 1}) in metrics
    text = caplog.text.replace("\x1b[1;34m", "").replace("\x1b[0m", "")
    assert "k: 16]" in text and "k: 5]" in text and "k: 4]" in text
    assert "item embeddings: 4 non-zeros per item, 32 bytes per item, 0.5 of the dense 40 x 16 matrix" in text


@pytest.mark.parametrize("options", [{"enable_amp": True}, {"clip_grad_norm": {"max_norm": 0.01}}])
def test_trains_with_mixed_precision_and_with_clipping(checkerboard, options):
    run = prepare("SparseELSA", checkerboard, **SPARSE, **options)
    norms = []
    step = run.trainer.optimizer.step
    run.trainer.optimizer.step = lambda *args: norms.append(run.model.item_embedding.weight.grad.norm()) or step(*args)
    run.trainer.fit(run.train_data, run.valid_data)
    assert all(math.isfinite(loss) for loss in run.trainer.train_loss_dict.values())
    assert run.trainer.evaluate(run.test_data)["recall@10"] > 0.9
    if "clip_grad_norm" in options:
        assert max(norms) <= 0.01 + 1e-6


@pytest.mark.parametrize("embedding_form", ["dense", "compact"])
def test_trains_on_a_sample_of_items(checkerboard, embedding_form):
    options = dict(SPARSE, epochs=30, train_batch_size=4, embedding_form=embedding_form)
    run = prepare("SparseELSA", checkerboard, max_output=36, **options)
    with pytest.warns(UserWarning, match="max_output is 36"):  # a few batches have more
        run.trainer.fit(run.train_data, run.valid_data)
    assert run.trainer.evaluate(run.test_data)["recall@10"] > 0.9


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_checkpoint(checkerboard, monkeypatch):
    run = prepare("SparseELSA", checkerboard, **SPARSE)
    calculate_loss, calls = run.model.calculate_loss, []

    def calculate_loss_that_explodes(interaction):
        calls.append(interaction)
        # 61 users (with the padding user) in batches of 16: the second batch of epoch 4.
        return calculate_loss(interaction) * (float("inf") if len(calls) == 4 * 4 + 2 else 1.0)

    monkeypatch.setattr(run.model, "calculate_loss", calculate_loss_that_explodes)
    with pytest.raises(TrainingError, match="the loss is inf in batch 1 of epoch 4") as error:
        run.trainer.fit(run.train_data, run.valid_data)
    assert "\n" not in str(error.value)
    resumed = prepare("SparseELSA", checkerboard, **SPARSE, resume=run.trainer._resume_file)
    assert resumed.trainer.start_epoch == 4
    assert os.path.exists(run.trainer.saved_model_file)


def test_what_cannot_fit_is_refused_before_training_with_the_options_that_help(checkerboard, monkeypatch):
    with pytest.raises(TrainingError, match="GiB for 40 items, which a smaller embedding_size") as error:
        prepare("SparseELSA", checkerboard, **{**SPARSE, "embedding_size": 10**9, "pruning_schedule": "constant"})
    assert "\n" not in str(error.value)
    with pytest.raises(TrainingError, match="train_batch_size .* or max_output .40. reduces"):
        prepare("SparseELSA", checkerboard, **{**SPARSE, "train_batch_size": 10**12})


def test_popular_items_get_more_nonzeros_at_the_same_mean(checkerboard):
    for options in ({}, {"start_k": 12}):
        run = prepare("SparseELSA", checkerboard, popularity_exponent=1.0, **SPARSE, **options)
        # Half as many users for the first items.
        users = torch.where(torch.arange(40) < 20, 10, 20)
        run.model.nonzero_shares = users.double()
        run.trainer.fit(run.train_data, run.valid_data)
        nonzeros = run.model.item_embedding.nonzeros()
        # In proportion they would have 8 / 3 and 16 / 3.
        assert nonzeros.tolist() == [3] * 20 + [5] * 20


def test_popularity_is_that_of_the_training_interactions(checkerboard):
    run = prepare("SparseELSA", checkerboard, popularity_exponent=0.5, **SPARSE)
    users = torch.tensor(run.train_data.dataset.inter_matrix(form="csr").getnnz(axis=0)[1:])
    assert torch.allclose(run.model.nonzero_shares**2, users.double())
    # Held-out users' histories, from which a model is asked to score, change nothing of it.
    run.model.set_histories(csr_matrix((61, 41), dtype=np.float32))
    assert torch.allclose(run.model.nonzero_shares**2, users.double())


def test_learning_rate_falls_along_a_cosine_in_the_last_stage(checkerboard, monkeypatch):
    run = prepare("SparseELSA", checkerboard, learning_rate_decay=True, **SPARSE)
    rates = []
    train_epoch = Trainer._train_epoch

    def looking(trainer, *args, **kwargs):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        return train_epoch(trainer, *args, **kwargs)

    monkeypatch.setattr(Trainer, "_train_epoch", looking)
    run.trainer.fit(run.train_data, run.valid_data)
    full = run.config["learning_rate"]
    # Epochs 2 to 7 are the last stage: 0, 30, 60, … degrees.
    factors = [1, 1, 1, (1 + 3**0.5 / 2) / 2, 3 / 4, 1 / 2, 1 / 4, (1 - 3**0.5 / 2) / 2]
    assert rates == pytest.approx([full * factor for factor in factors])
