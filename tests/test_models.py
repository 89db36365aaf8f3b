"""One behaviour suite over all models, and ELSA against a naive dense computation."""

import numpy as np
import pytest
import torch
from conftest import prepare, write_interactions
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model
from scipy.sparse import issparse

from recbole_sparse_elsa.errors import CheckpointError, OptionError

GRADIENT_MODELS = [
    ("ELSA", {}),
    ("SparseELSA", {}),
    ("SparseELSA", {"k": 16}),
    ("SparseELSA", {"restart": False}),
    ("SparseELSA", {"embedding_form": "compact"}),
    ("SparseELSA", {"start_k": 8, "noise_variance": 0.01}),
    ("SparseELSA", {"popularity_scale": 0.5, "length_exponent": 0.75, "value_dtype": "int4"}),
    ("ELSASAE", {"k": 4, "code_size": 12, "autoencoder_epochs": 50}),
    ("FineTunedELSASAE", {"k": 4, "code_size": 24, "autoencoder_epochs": 20, "dense_epochs": 3, "popularity_scale": 0}),
]
TRADITIONAL_MODELS = [
    ("SparseSLIM", {"k": 4}),
    ("PrunedEASE", {"k": 12}),
    ("PrunedEASE", {"k": 12, "prune_by": "matrix"}),
    ("UserKNN", {"k": 10}),
    ("ImplicitALS", {"embedding_size": 2}),
]
every_model = pytest.mark.parametrize("name, options", GRADIENT_MODELS + TRADITIONAL_MODELS)
every_gradient_model = pytest.mark.parametrize("name, options", GRADIENT_MODELS)
every_traditional_model = pytest.mark.parametrize("name, options", TRADITIONAL_MODELS)


def naive_elsa(weight, rows):
    """ELSA's prediction and loss (method page, section 1), user by user and item by item in double precision."""
    embeddings = [row / row.square().sum().sqrt() for row in weight]
    item_item = torch.stack([torch.stack([(a * b).sum() for b in embeddings]) for a in embeddings])
    item_item = item_item * (1 - torch.eye(len(weight), dtype=weight.dtype))
    predictions, losses = [], []
    for row in rows:
        prediction = torch.stack([(row * item_item[:, item]).sum().clamp(min=0) for item in range(len(weight))])
        predictions.append(prediction)
        difference = prediction / prediction.square().sum().sqrt() - row / row.square().sum().sqrt()
        losses.append(difference.square().sum())
    return torch.stack(predictions), torch.stack(losses).mean()


def users_of(run, users):
    return Interaction({run.config["USER_ID_FIELD"]: torch.as_tensor(users)})


def user_rows(run):
    """Training rows of the users without padding user and padding item, from RecBole's own matrix."""
    return (run.train_data.dataset.inter_matrix(form="csr").toarray()[1:, 1:] > 0).astype(np.float32)


def test_elsa_agrees_with_a_naive_dense_computation(checkerboard):
    run = prepare("ELSA", checkerboard, input_dropout=0.0)
    rows = torch.from_numpy(user_rows(run)[:10])
    users = torch.arange(1, 11)
    weight = run.model.item_embedding.weight.detach().double().requires_grad_()
    expected_prediction, expected_loss = naive_elsa(weight, rows.double())
    expected_loss.backward()

    loss = run.model.calculate_loss(users_of(run, users))
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-5)
    torch.testing.assert_close(run.model.item_embedding.weight.grad.double(), weight.grad, rtol=0, atol=1e-5)

    run.model.eval()
    scores = run.model.full_sort_predict(users_of(run, users)).view(10, -1)
    torch.testing.assert_close(scores[:, 1:].double(), expected_prediction.detach(), rtol=0, atol=1e-5)


def test_sparse_elsa_with_k_equal_to_d_is_elsa(checkerboard):
    results, weights = [], []
    for name, options in (("ELSA", {}), ("SparseELSA", {"k": 16})):
        run = prepare(name, checkerboard, input_dropout=0.5, learning_rate=0.1, **options)
        results.append(run.trainer.fit(run.train_data, run.valid_data))
        weights.append(run.model.item_embedding.weight)
    assert results[0] == results[1]
    assert torch.equal(*weights)


@every_model
def test_finds_the_checkerboard(checkerboard, name, options):
    # All of the own colour have to be reached from any item or any user of it.
    k_for_all = {"PrunedEASE": {"k": 19}, "UserKNN": {"k": 29}, "SparseSLIM": {"k": 12}}
    run = prepare(name, checkerboard, epochs=30, **{**options, **k_for_all.get(name, {})})
    run.trainer.fit(run.train_data, run.valid_data)
    result = run.trainer.evaluate(run.test_data)
    assert result["recall@10"] == 1.0
    scores = run.model.full_sort_predict(users_of(run, range(1, 61))).view(60, -1)[:, 1:]
    items = run.dataset.field2id_token["item_id"][1:]
    for user, row in zip(run.dataset.field2id_token["user_id"][1:], scores):
        of_own_colour = torch.tensor([(int(item[1:]) - int(user[1:])) % 2 == 0 for item in items])
        assert row[of_own_colour].min() > row[~of_own_colour].max()


@every_gradient_model
def test_item_embeddings_have_k_nonzeros_and_norm_one(checkerboard, name, options):
    run = prepare(name, checkerboard, **options)
    run.trainer.fit(run.train_data, run.valid_data)
    embeddings = run.model.item_embedding()
    k = run.config["k"] or run.config["embedding_size"]
    assert embeddings.shape == (40, run.config["code_size"] or 16)
    assert ((embeddings != 0).sum(dim=1) == k).all()
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(40))


@every_model
def test_predict_agrees_with_full_sort_predict(checkerboard, name, options):
    run = prepare(name, checkerboard, **options)
    run.trainer.fit(run.train_data, run.valid_data)
    run.model.eval()
    users, items = torch.randint(0, 61, (50,)), torch.randint(0, 41, (50,))
    pairs = Interaction({run.config["USER_ID_FIELD"]: users, run.config["ITEM_ID_FIELD"]: items})
    scores = run.model.full_sort_predict(users_of(run, range(61))).view(61, -1)
    torch.testing.assert_close(run.model.predict(pairs), scores[users, items])


@every_gradient_model
def test_padding_user_and_users_without_interactions_never_enter_the_loss(checkerboard, name, options):
    run = prepare(name, checkerboard, input_dropout=0.0, **options)
    torch.testing.assert_close(
        run.model.calculate_loss(users_of(run, [0, 3, 0, 7])), run.model.calculate_loss(users_of(run, [3, 7]))
    )
    loss = run.model.calculate_loss(users_of(run, [0]))
    loss.backward()
    assert loss.item() == 0.0


@every_model
def test_a_repeated_interaction_counts_once(working_folder, name, options):
    pairs = [(f"u{user}", f"i{item}") for user in range(16) for item in range(user % 3, 16, 2)]
    write_interactions(working_folder / "dataset", "repeated", pairs + pairs + pairs)
    run = prepare(name, "repeated", **options)
    histories = run.model.histories
    rows = histories.toarray() if issparse(histories) else histories.batch(torch.arange(17)).rows().numpy()
    assert rows[0].sum() == 0
    assert rows[1:].tolist() == user_rows(run).tolist()


@every_model
def test_a_checkpoint_gives_the_same_scores_in_a_model_made_anew(checkerboard, name, options):
    run = prepare(name, checkerboard, **options)
    run.trainer.fit(run.train_data, run.valid_data)
    run.trainer.evaluate(run.test_data)
    loaded = load_data_and_model(run.trainer.saved_model_file)[1].eval()
    users = users_of(run, range(61))
    assert torch.equal(loaded.full_sort_predict(users), run.model.full_sort_predict(users))


@pytest.mark.cuda
@every_model
def test_trains_on_cuda_and_scores_there_as_on_a_cpu(checkerboard, name, options):
    run = prepare(name, checkerboard, **options)
    assert run.model.device.type == "cuda"
    run.trainer.fit(run.train_data, run.valid_data)
    metrics = run.trainer.evaluate(run.test_data)
    users = users_of(run, range(1, 61))
    scores = run.model.full_sort_predict(users.to("cuda")).cpu()
    on_cpu = prepare(name, checkerboard, use_gpu=False, **options)
    metrics_on_cpu = on_cpu.trainer.evaluate(on_cpu.test_data, model_file=run.trainer.saved_model_file)
    assert metrics_on_cpu == pytest.approx(metrics, abs=1e-3)
    torch.testing.assert_close(on_cpu.model.full_sort_predict(users), scores, rtol=1e-4, atol=1e-4)


@every_model
def test_every_model_but_the_neighbours_reports_its_bytes_per_item(checkerboard, name, options):
    run = prepare(name, checkerboard, **options)
    run.trainer.fit(run.train_data, run.valid_data)
    if name == "UserKNN":  # it has no item embeddings
        assert not hasattr(run.model, "bytes_per_item")
    elif name == "ImplicitALS":
        assert run.model.bytes_per_item() == 4 * 2
    else:
        k = run.config["k"] or 16
        scale = 2 if run.config["popularity_scale"] else 0
        if run.config["value_dtype"] == "int4":
            assert k + scale < run.model.bytes_per_item() < 2 * k + 2 + scale
        else:
            assert run.model.bytes_per_item() == (8 * k if k != 16 else 4 * 16) + scale


@every_traditional_model
def test_any_history_is_scored_and_what_is_learnt_stays(checkerboard, name, options):
    """A user who is given another one's history is scored as that one, whether it is given before training or after."""
    trained = prepare(name, checkerboard, **options)
    trained.trainer.fit(trained.train_data, trained.valid_data)
    others = trained.train_data.dataset.inter_matrix(form="csr").astype(np.float32)
    expected = trained.model.full_sort_predict(users_of(trained, [7])).clone()
    # User 8 gets the history of user 7, who is left with none.
    changed = others.tolil()
    changed[8], changed[7] = others[7], 0
    changed = changed.tocsr()
    before = prepare(name, checkerboard, **options)
    before.model.set_histories(changed)
    before.trainer.fit(before.train_data, before.valid_data)
    trained.model.set_histories(changed)
    users = users_of(trained, [7, 8])
    torch.testing.assert_close(before.model.full_sort_predict(users), trained.model.full_sort_predict(users))
    of_7, of_8 = trained.model.full_sort_predict(users).view(2, -1)
    assert (of_7 == 0).all()
    if name == "UserKNN":
        return  # 7 is now one of 8's neighbours, as nobody is of their own; see test_baselines.py
    torch.testing.assert_close(of_8, expected)


def test_input_dropout_applies_in_training_only(checkerboard):
    run = prepare("ELSA", checkerboard, input_dropout=0.5)
    users = users_of(run, range(1, 61))
    assert run.model.calculate_loss(users) != run.model.calculate_loss(users)
    scores = [run.model.full_sort_predict(users) for _ in range(2)]
    assert torch.equal(*scores)


@pytest.mark.parametrize("start_k", [None, 8])
@pytest.mark.parametrize("restart", [True, False])
def test_both_forms_of_the_embeddings_train_alike(checkerboard, restart, start_k):
    """To rounding, which training magnifies: hence few epochs, and a learning rate that does not oscillate."""
    weights, losses = [], []
    for form in ("dense", "compact", "auto"):
        options = {"embedding_form": form, "restart": restart, "start_k": start_k, "epochs": 6}
        run = prepare("SparseELSA", checkerboard, **options, learning_rate=0.01)
        run.trainer.fit(run.train_data, run.valid_data)
        assert run.model.item_embedding.is_compact == (form == "compact")
        weights.append(run.model.item_embedding().detach())
        losses.append(list(run.trainer.train_loss_dict.values()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-3)
    assert torch.equal(weights[2], weights[0])


def test_the_compact_form_is_chosen_once_it_is_the_faster(checkerboard):
    run = prepare("SparseELSA", checkerboard, embedding_size=64, k=4)
    run.trainer.fit(run.train_data, run.valid_data)
    assert run.model.item_embedding.is_compact
    assert run.model.item_embedding.weight.shape == (40 * 4,)
    state = run.trainer.optimizer.state[run.model.item_embedding.weight]
    assert all(value.numel() <= 40 * 4 for value in state.values())


def test_a_state_of_another_shape_or_model_is_refused_in_one_line(checkerboard):
    run, other = prepare("ELSA", checkerboard), prepare("ELSA", checkerboard, embedding_size=8)
    with pytest.raises(CheckpointError, match="holds 40 items of embedding_size 8, but the data set has 40") as error:
        run.model.load_state_dict(other.model.state_dict())
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="holds no ELSA"):
        run.model.load_state_dict(prepare("MultiDAE", checkerboard).model.state_dict())


def test_histories_stay_sparse(checkerboard):
    run = prepare("SparseELSA", checkerboard)
    assert len(run.model.histories.item_indices) == user_rows(run).sum()
    assert not any("histor" in name for name in run.model.state_dict())


@pytest.mark.parametrize("items_per_user, is_short", [(60, False), (52, False), (48, True), (8, True)])
def test_there_is_a_latent_dimension_an_item_however_long_the_histories(working_folder, items_per_user, is_short):
    interactions = [
        (f"u{user}", f"i{(user * 300 // 90 + item) % 300}") for user in range(90) for item in range(items_per_user)
    ]
    write_interactions(working_folder / "dataset", "rings", interactions)
    options = {"embedding_size": "auto", "start_k": "auto", "eval_args": {"split": {"RS": [0.9, 0.0, 0.1]}}}
    run = prepare("SparseELSA", "rings", **options)
    width = run.dataset.item_num - 1
    assert run.model.recipe.embedding_size == run.model.item_embedding.embedding_size == width
    assert run.config["embedding_size"] == "auto"  # the options stay what they were
    assert run.model.recipe.start == "co-occurrence" and run.model.recipe.start_k == 128
    assert run.model.item_embedding.nonzeros().max() <= 128
    assert f"width {width}, learnt by gradient from a co-occurrence start" in run.model.recipe_in_words()
    # It is said which model to try where this one is usually behind.
    assert ("--model=SparseSLIM usually ranks better" in run.model.advice()) == is_short


@pytest.mark.parametrize(
    "options, width, start_k",
    [
        ({"start_k": None}, 4096, None),
        ({"start_k": None, "embedding_size": 64}, 64, None),
        ({"embedding_size": 20}, 20, 20),
        ({"k": 50}, 200, 200),
        ({"k": 50, "embedding_size": 100}, 100, 100),
        ({"pruning_schedule": "constant"}, 4096, None),
    ],
)
def test_the_width_and_the_start_follow_the_options(checkerboard, options, width, start_k):
    run = prepare("SparseELSA", checkerboard, epochs=30, **{"embedding_size": "auto", "start_k": "auto", **options})
    assert (run.model.recipe.embedding_size, run.model.recipe.start_k) == (width, start_k)
    run.trainer.fit(run.train_data, run.valid_data)
    # Of 40 items none has more entries than there are items.
    assert run.model.item_embedding.nonzeros().max() <= (width if start_k is None else 40)


def test_sparse_slim_learns_a_ring_without_epochs(working_folder):
    interactions = [(f"u{user}", f"i{(4 * user + item) % 300}") for user in range(75) for item in range(8)]
    write_interactions(working_folder / "dataset", "ring", interactions)
    run = prepare("SparseSLIM", "ring", k=6, eval_args={"split": {"RS": [0.8, 0.1, 0.1]}})
    run.trainer.fit(run.train_data, run.valid_data)
    layer = run.model.item_embedding
    assert layer.embedding_size == run.dataset.item_num - 1 and layer.scales_input and layer.is_compact
    # A user's items are eight in a row: those held out stand by the others. Chance would find one of thirty.
    assert run.trainer.evaluate(run.test_data)["recall@10"] > 0.5
    assert "hidden training interactions" in run.model.recipe_in_words()
    loaded = load_data_and_model(run.trainer.saved_model_file)[1]
    assert loaded.recipe == run.model.recipe and torch.equal(loaded.item_embedding(), layer())
    with pytest.raises(OptionError, match=f"k is 1000, but must be at most .* of items, which is {layer.n_items}"):
        prepare("SparseSLIM", "ring", k=1000)


def test_sparse_slim_chooses_its_own_weight_by_the_training_interactions(random_dataset, monkeypatch):
    given = prepare("SparseSLIM", random_dataset, k=6, own_weight=0.4)
    given.trainer.fit(given.train_data, given.valid_data)
    for best in (0.15, 0.4):
        figures = [0.25, 0.5] if best == 0.15 else [0.5, 0.25]
        monkeypatch.setattr(
            "recbole_sparse_elsa.model.sparse_slim.hidden_ndcg", lambda *args, left=figures: left.pop()
        )
        run = prepare("SparseSLIM", random_dataset, k=6)
        run.trainer.fit(run.train_data, run.valid_data)
        assert run.model.recipe.own_weight == best
        # The choice made, the model is that of all training interactions.
        is_given = torch.equal(run.model.item_embedding(), given.model.item_embedding())
        assert is_given == (best == 0.4)


def test_users_weigh_in_the_loss_by_the_length_of_their_histories(random_dataset):
    run = prepare("SparseELSA", random_dataset, input_dropout=0.0, length_exponent=0.5)
    plain = prepare("SparseELSA", random_dataset, input_dropout=0.0)
    lengths = run.train_data.dataset.inter_matrix(form="csr").getnnz(axis=1)[1:]
    assert len(set(lengths)) > 3
    alone = [plain.model.calculate_loss(users_of(plain, [user])).item() for user in range(1, 51)]
    weights = lengths**0.5 / (lengths**0.5).mean()
    loss = run.model.calculate_loss(users_of(run, range(1, 51)))
    assert loss.item() == pytest.approx((weights * alone).mean(), rel=1e-5)
    # Its gradient is that of the loss: along it, the loss falls as fast as it says.
    loss.backward()
    weight, step = run.model.item_embedding.weight, 1e-2
    slope = weight.grad.square().sum().item()
    weight.data -= step * weight.grad
    fallen = loss.item() - run.model.calculate_loss(users_of(run, range(1, 51))).item()
    assert fallen == pytest.approx(step * slope, rel=0.05)

