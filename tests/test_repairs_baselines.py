"""Repaired recommenders, with values worked out by hand.

The audit holds all of them against independent references.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import prepare, write_interactions
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import LINE, NAIS, NNCF
from recbole.model.knowledge_aware_recommender import KTUP, RippleNet
from scipy.sparse import coo_matrix

from recbole_sparse_elsa.data.repeats import first_of_each_pair

#: u1 likes a and b, u2 a, b and c, u3 a; each has a fourth and a fifth item, which are held out.
LIKED = {"u1": "ab", "u2": "abc", "u3": "a"}
TRAIN = [(user, item) for user, items in LIKED.items() for item in items]
VALID = [("u1", "d"), ("u2", "d"), ("u3", "d")]
TEST = [("u1", "e"), ("u2", "e"), ("u3", "e")]
REPEATED = [*TRAIN, ("u1", "b"), ("u1", "b"), ("u3", "a")]

USERS, ITEMS = torch.arange(1, 4), "abcde"


def write_parts(folder, train, test=TEST):
    """Write the data set ``parts`` in three files, and return the options with which it is read."""
    (folder / "dataset" / "parts").mkdir(parents=True, exist_ok=True)
    for part, pairs in (("train", train), ("valid", VALID), ("test", test)):
        lines = ["user_id:token\titem_id:token", *(f"{user}\t{item}" for user, item in pairs)]
        (folder / "dataset" / "parts" / f"parts.{part}.inter").write_text("\n".join(lines) + "\n")
    return {"benchmark_filename": ["train", "valid", "test"], "topk": [2], "valid_metric": "NDCG@2"}


@pytest.fixture
def small(working_folder):
    """Make a model that has not been trained on `TRAIN`, or on other lines."""

    def make(model, train=TRAIN, test=TEST, **options):
        return prepare(model, "parts", **write_parts(working_folder, train, test), **options)

    return make


def scores(run, items=ITEMS):
    """Scores of the users u1, u2 and u3, in this order, for the items a to e, or for others."""
    users = torch.tensor([run.dataset.token2id("user_id", user) for user in LIKED])
    run.model.eval()
    with torch.no_grad():
        found = run.model.full_sort_predict(Interaction({"user_id": users})).view(len(users), -1)
    return found[:, [run.dataset.token2id("item_id", item) for item in items]].double().numpy()


# Repeated lines


def test_the_first_line_of_each_pair_is_kept():
    users, items = np.array([2, 1, 2, 2, 1, 0]), np.array([0, 3, 0, 3, 3, 6])
    assert first_of_each_pair(users, items).tolist() == [0, 1, 3, 5]
    assert first_of_each_pair(users[:0], items[:0]).tolist() == []


@pytest.mark.parametrize("form", ["coo", "csr"])
def test_the_interaction_matrix_counts_pairs_once(small, form):
    dataset = small("EASE", REPEATED).dataset
    dataset.inter_feat = dataset.inter_feat[[0, 0, 1]]
    matrix = dataset.inter_matrix(form=form)
    assert matrix.format == form and sorted(matrix.data) == [1, 1]


def test_ease_by_hand_whatever_is_repeated(small):
    train = [pair for pair in TRAIN if pair[1] in "ab"]
    # With reg_weight 1 the matrix is (4 2; 2 3): a has 3 users, b 2, who have a, too. Its inverse is (3 -2; -2 4) / 8.
    a_to_b, b_to_a = 2 / 4, 2 / 3
    expected = np.array([[b_to_a, a_to_b], [b_to_a, a_to_b], [0, a_to_b]])
    for lines in (train, train + [("u1", "b")] * 3 + [("u3", "a")]):
        found = scores(small("EASE", lines, reg_weight=1.0), "ab")
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_training_lines_are_the_pairs(small):
    assert [len(small("BPR", lines).train_data.dataset.inter_feat) for lines in (TRAIN, REPEATED)] == [6, 6]


def held_out_run(folder, interactions, model="EASE", **options):
    write_interactions(folder / "dataset", "held-out", interactions)
    return prepare(model, "held-out", eval_args={"split": {"HU": {"test_users": 6, "folds": 3}}}, **options)


@pytest.mark.parametrize("model", ["EASE", "ELSA", "MultiDAE"])
def test_held_out_users_are_the_same_whatever_is_repeated(working_folder, model):
    options = {"epochs": 2, "train_neg_sample_args": None} if model == "MultiDAE" else {"epochs": 2}
    once = [(f"u{user}", f"i{item}") for user in range(30) for item in range(user % 4, 20, 1 + user % 3)]
    outcomes = []
    for lines in (once, once + once[::3] + once[::7]):
        run = held_out_run(working_folder, lines, model, **options)
        datasets = [loader.dataset for loader in (run.train_data, run.valid_data, run.test_data)]
        pairs = [dataset.inter_feat for dataset in datasets]
        fitted = run.trainer.fit(run.train_data, run.valid_data), run.trainer.evaluate(run.test_data)
        histories = datasets[1].held_out_users.histories.toarray()
        outcomes.append(([(p["user_id"].tolist(), p["item_id"].tolist()) for p in pairs], fitted, histories.tolist()))
    assert outcomes[0] == outcomes[1]
    assert len(run.dataset.inter_feat) == len(datasets[0].inter_feat)


# Pop


@pytest.mark.parametrize("train_batch_size", [1, 2, 100])
def test_pop_counts_users_whatever_the_batches(small, train_batch_size):
    run = small("Pop", REPEATED, train_batch_size=train_batch_size)
    run.trainer.fit(run.train_data, run.valid_data)
    np.testing.assert_allclose(scores(run), [[1, 2 / 3, 1 / 3, 0, 0]] * 3, atol=1e-6)


# Random


def test_random_gives_each_user_a_list_of_its_own_the_same_in_each_evaluation(small):
    run = small("Random")
    first = scores(run)
    torch.rand(3)
    assert np.array_equal(scores(run), first)
    assert len({tuple(np.argsort(row)) for row in first}) == 3
    pairs = Interaction({"user_id": torch.tensor([1, 2, 2]), "item_id": torch.tensor([4, 4, 1])})
    at_once = run.model.full_sort_predict(Interaction({"user_id": USERS})).view(3, -1)
    assert run.model.predict(pairs).tolist() == [at_once[0, 4], at_once[1, 4], at_once[1, 1]]


# ADMMSLIM


def test_items_of_equal_score_stay_equal_with_admm_slim(small):
    run = small("ADMMSLIM", lambda1=1.0, lambda2=1.0, rho=1.0)
    # Nobody has d and e in the training part.
    first = scores(run)
    assert np.array_equal(first[:, 3:], np.zeros((3, 2))) and np.array_equal(scores(run), first)


# AsymKNN


def asym(small, **options):
    return scores(small("AsymKNN", k=10, alpha=0.5, **options))


def test_asymmetric_neighbours_of_items_by_hand(small):
    """Cosines: of a and b 2 / sqrt(6), of a and c 1 / sqrt(3), of b and c 1 / sqrt(2)."""
    ab, ac, bc = 2 / math.sqrt(6), 1 / math.sqrt(3), 1 / math.sqrt(2)
    # Each score is a sum of weights; with beta 1, it is divided by the number of the user's items.
    for q in (1, 2, 3):
        found = asym(small, knn_method="item", beta=1.0, q=q)
        expected = [
            [ab**q / 2, ab**q / 2, (ac**q + bc**q) / 2],
            [(ab**q + ac**q) / 3, (ab**q + bc**q) / 3, (ac**q + bc**q) / 3],
            [0, ab**q, ac**q],
        ]
        np.testing.assert_allclose(found[:, :3], expected, atol=1e-5)
    # With beta 0, by the squares of the weights that score the item.
    found = asym(small, knn_method="item", beta=0.0, q=1)
    squares = np.array([ab**2 + ac**2, ab**2 + bc**2, ac**2 + bc**2])
    np.testing.assert_allclose(
        found[:, :3], [[ab, ab, ac + bc], [ab + ac, ab + bc, ac + bc], [0, ab, ac]] / squares, atol=1e-5
    )


def test_weights_of_asymmetric_neighbours_depend_on_the_item_they_are_for(small):
    """With alpha 1, the similarity of j for i is the share of the users of i who have j, or of j who have i."""
    found = scores(small("AsymKNN", knn_method="item", k=10, alpha=1.0, beta=0.0, q=1))
    # What scores a: 2 of its 3 users have b, 1 of 3 has c; b: both have a, 1 of 2 has c; c: its user has both.
    to_a, to_b, to_c = np.array([0, 2 / 3, 1 / 3]), np.array([1, 0, 1 / 2]), np.array([1, 1, 0])
    matrix = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    expected = np.stack([matrix @ weights / (weights @ weights) for weights in (to_a, to_b, to_c)], axis=1)
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-5)


def test_asymmetric_neighbours_of_users_by_hand(small):
    """Cosines: of u1 and u2 2 / sqrt(6), of u1 and u3 1 / sqrt(2), of u2 and u3 1 / sqrt(3)."""
    one_two, one_three, two_three = 2 / math.sqrt(6), 1 / math.sqrt(2), 1 / math.sqrt(3)
    for q in (1, 2):
        found = asym(small, knn_method="user", beta=1.0, q=q)
        x, y, z = one_two**q, one_three**q, two_three**q
        sums = np.array([[x + y, x, x], [x + z, x, 0], [y + z, y + z, z]])
        squares = np.array([x**2 + y**2, x**2 + z**2, y**2 + z**2])
        np.testing.assert_allclose(found[:, :3], sums / squares[:, None], atol=1e-5)


# FISM and NAIS


def test_fism_gives_logits_to_its_loss_and_their_sigmoid_as_scores(small):
    run = small("FISM", alpha=0.5, reg_weights=[0, 0], embedding_size=1, test=[*TEST, ("u4", "e")])
    model, number = run.model, run.dataset.token2id
    with torch.no_grad():
        model.item_src_embedding.weight[:] = 2.0
        model.item_dst_embedding.weight[:] = 3.0
        model.user_bias[:], model.item_bias[:] = 0.25, -0.5
    # u1 has 2 items: 2 * (2 * 3) / sqrt(2) + .25 - .5; u4 has none.
    logit = {"u1": 12 / math.sqrt(2) - 0.25, "u4": -0.25}
    for user, expected in logit.items():
        pair = Interaction({"user_id": torch.tensor([number("user_id", user)]), "item_id": torch.tensor([3])})
        pair.update(Interaction({"label": torch.tensor([0.0])}))
        assert model.forward(pair["user_id"], pair["item_id"]).item() == pytest.approx(expected, rel=1e-6)
        assert model.calculate_loss(pair).item() == pytest.approx(math.log1p(math.exp(expected)), rel=1e-5)
        sigmoid = 1 / (1 + math.exp(-expected))
        assert model.predict(pair).item() == pytest.approx(sigmoid, rel=1e-6)
        assert model.full_sort_predict(pair)[3].item() == pytest.approx(sigmoid, rel=1e-6)


def test_nais_scores_users_without_items_by_the_bias_of_the_item():
    model, zero = SimpleNamespace(alpha=0.0, beta=0.5), torch.zeros(1, 1)
    found = NAIS.mask_softmax(model, zero, zero, torch.tensor([0.75]), zero, zero)
    assert found.tolist() == [0.75]
    # 1 / 2 ** 0.5, the power of both logits' sum exp(0) + exp(0), times the similarities 1 and 3, plus the bias.
    found = NAIS.mask_softmax(
        model,
        torch.tensor([[1.0, 3.0]]),
        torch.zeros(1, 2),
        torch.tensor([0.75]),
        2 * torch.ones(1, 1),
        torch.ones(1, 2),
    )
    assert found.item() == pytest.approx(4 / math.sqrt(2) + 0.75)


# ENMF


def test_the_padding_of_enmf_is_no_item(small):
    """Of u3, who has a, in a matrix where others have up to three items: w (s_b² + … ) + (s_a - 1)² - 1."""
    run = small(
        "ENMF", train_neg_sample_args=None, embedding_size=1, dropout_prob=0.0, negative_weight=0.5, reg_weight=0
    )
    model = run.model
    assert not model.item_embedding.weight[0].any() and not model.user_embedding.weight[0].any()
    with torch.no_grad():
        model.user_embedding.weight[1:], model.item_embedding.weight[1:], model.H_i.weight[:] = 1.0, 3.0, 1.0
    user = torch.tensor([run.dataset.token2id("user_id", "u3")])
    found = model.calculate_loss(Interaction({"user_id": user})).item()
    assert found == pytest.approx(0.5 * 4 * 3**2 + (3 - 1) ** 2 - 1)


# LINE


def test_line_draws_any_user_where_all_have_an_item():
    model = SimpleNamespace(
        n_users=4, device="cpu", used_ids={5: {1, 2, 3}, 6: {1, 2}}, random_num=lambda n: np.full(n, 3)
    )
    model.used_ids = [set(), *[set()] * 4, {1, 2, 3}, {1, 2}]
    assert LINE.sampler(model, torch.tensor([5, 5])).tolist() == [3, 3]


# NNCF


def test_neighbours_of_nncf_are_filled_up_with_the_most_similar():
    """User 1 has item 1, to which item 2 is most similar; item 2 has user 2, to whom user 1 is; item 3 has nobody."""
    matrix = coo_matrix(([1.0, 1.0, 1.0], ([1, 2, 2], [1, 1, 2])), shape=(3, 4))
    model = SimpleNamespace(interaction_matrix=matrix, n_users=3, n_items=4, neigh_num=2, device="cpu")
    users, items = NNCF.get_neigh_knn(model)
    assert users[1].tolist() == [1, 2] and items[2].tolist() == [2, 1] and items[3].tolist() == [0, 0]


# DiffRec


@pytest.mark.parametrize("options", [{"sampling_steps": 3}, {"sampling_noise": True}], ids=str)
def test_diff_rec_scores_a_user_the_same_in_each_evaluation(small, options):
    run = small("DiffRec", train_neg_sample_args=None, dims_dnn=[4], **options)
    first = scores(run)
    assert np.array_equal(scores(run), first)
    torch.testing.assert_close(
        run.model.full_sort_predict(Interaction({"user_id": USERS[1:2]})).view(-1),
        run.model.full_sort_predict(Interaction({"user_id": USERS})).view(3, -1)[1],
    )


# RippleNet


def test_ripple_net_pads_users_without_items():
    logger = SimpleNamespace(info=lambda text: None)
    model = SimpleNamespace(user_dict={}, n_users=3, n_hop=2, n_memory=4, logger=logger, device="cpu")
    ripple_set = RippleNet._build_ripple_set(model)
    assert set(ripple_set) == {0, 1, 2}
    assert [[memory.tolist() for memory in hop] for hop in ripple_set[2]] == [[[0] * 4] * 3] * 2


# KTUP


def test_ktup_takes_the_likeliest_preference_in_evaluations_and_draws_in_training():
    model = SimpleNamespace(training=False)
    model.convert_to_one_hot = lambda indices, num_classes: KTUP.convert_to_one_hot(model, indices, num_classes)
    model._masked_softmax = lambda logits: KTUP._masked_softmax(model, logits)
    logits = torch.tensor([[0.0, 0.3, 0.2], [1.0, 0.0, 0.9]])
    assert KTUP.st_gumbel_softmax(model, logits).tolist() == [[0, 1, 0], [1, 0, 0]]
    model.training = True
    drawn = torch.stack([KTUP.st_gumbel_softmax(model, logits) for _ in range(50)])
    assert (drawn.sum(dim=0) > 0).all()
