"""Recommenders that are a formula, against numpy in double precision on small random data.

The data have users and items that are only in the test part, and a number of items that is no multiple of anything.
"""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model
from sklearn.linear_model import ElasticNet

from audit.recommenders import fit, ids, matrix_of, scores_at_once, scores_one_by_one, write_parts

SEEDS = range(4)

#: All models of this kind, with options that suit the size of the data.
MODELS = {
    "Pop": {"train_batch_size": 16},
    "Random": {},
    "ItemKNN": {"k": 5},
    "AsymKNN": {"k": 5},
    "EASE": {"reg_weight": 5.0},
    "SLIMElastic": {"alpha": 0.01},
    "ADMMSLIM": {"lambda1": 0.1, "lambda2": 1.0, "rho": 5.0},
    "NCEPLRec": {"rank": 5, "reg_weight": 1.0, "epochs": 1},
    "PrunedEASE": {"k": 5, "reg_weight": 5.0},
    "UserKNN": {"k": 5},
    "ImplicitALS": {"embedding_size": 3, "iterations": 2},
}


def random_parts(seed):
    """Training, validation and test pairs: user 0 and item 0 are not in the training part, user 1 has nearly all."""
    random = np.random.default_rng(seed)
    n_users, n_items = random.integers(25, 40), random.integers(15, 24)
    popularity = 0.6 / np.arange(1, n_items + 1) ** 0.5
    liked = random.random((n_users, n_items)) < random.permutation(popularity) + 0.05
    liked[1] = True
    liked[0], liked[:, 0] = False, False
    train = [(int(user), int(item)) for user, item in np.argwhere(liked)]
    others = np.argwhere(~liked & (np.arange(n_users) != 1)[:, None])
    held_out = [tuple(pair) for pair in others[random.permutation(len(others))[:40]].tolist()]
    return train, held_out[:20], [(0, 0), *held_out[20:]]


def fit_random(model, number, **options):
    train, valid, test = random_parts(number)
    run = fit(model, write_parts(f"random{number}", train, valid, test), **options)
    return run, matrix_of(run, train)


def assert_scores(run, expected, columns=slice(None), rows=slice(None)):
    """Compare both kinds of scores with a matrix that has a row for the padding user, and columns for all items."""
    for scores in (scores_at_once(run), scores_one_by_one(run)):
        np.testing.assert_allclose(scores[rows][:, columns], expected[1:][rows][:, columns], rtol=0, atol=1e-4)


# Pop


def test_popularity_is_the_share_of_the_most_frequent_items_users():
    run, matrix = fit_random("Pop", 0)
    counts = matrix.sum(axis=0)
    assert_scores(run, np.tile(counts / counts.max(), (len(matrix), 1)))


@pytest.mark.parametrize("negatives", [None, {"distribution": "uniform", "sample_num": 1}])
@pytest.mark.parametrize("train_batch_size", [1, 7, 100000])
def test_popularity_counts_training_users_whatever_the_batches(train_batch_size, negatives):
    run, matrix = fit_random("Pop", 1, train_batch_size=train_batch_size, train_neg_sample_args=negatives)
    assert run.model.item_cnt[:, 0].tolist() == matrix.sum(axis=0).tolist()
    assert run.model.max_cnt.tolist() == [matrix.sum(axis=0).max()]


# Random


def test_random_scores_differ_between_users_and_are_uniform():
    run, _ = fit_random("Random", 0)
    scores = scores_at_once(run)
    assert len(np.unique(scores)) == scores.size
    # A standard deviation of the mean of so many numbers is about .01.
    assert abs(scores.mean() - 0.5) < 0.05 and abs(scores.var() - 1 / 12) < 0.02
    assert scores.min() >= 0 and scores.max() < 1


def test_random_scores_depend_on_the_seed():
    train, valid, test = random_parts(0)
    dataset = write_parts("random", train, valid, test)
    first, second = (scores_at_once(fit("Random", dataset, seed=seed)) for seed in (5, 6))
    assert not np.isclose(first, second).any()


# Nearest neighbours


def cosines(matrix, shrink=0.0):
    """Cosines of the columns, 0 on the diagonal, with RecBole's shrinkage and its epsilon."""
    norms = np.sqrt(matrix.sum(axis=0))
    similarities = matrix.T @ matrix / (np.outer(norms, norms) + shrink + 1e-6)
    np.fill_diagonal(similarities, 0)
    return similarities


def asymmetric_cosines(matrix, alpha):
    """Aiolli's similarity of column j to column i in row i, column j; 0 on the diagonal."""
    counts = matrix.sum(axis=0)
    similarities = matrix.T @ matrix / (np.outer(counts**alpha, counts ** (1 - alpha)) + 1e-6)
    np.fill_diagonal(similarities, 0)
    return similarities


def nearest(similarities, k):
    """Keep the k largest of each row; and which rows have no tie for the last place."""
    k = min(k, len(similarities))
    kept, clear = np.zeros_like(similarities), np.ones(len(similarities), dtype=bool)
    for row, values in enumerate(similarities):
        order = np.argsort(-values, kind="stable")
        kept[row, order[:k]] = values[order[:k]]
        if k < len(values):
            clear[row] = values[order[k]] == 0 or values[order[k - 1]] - values[order[k]] > 1e-5
    return kept, clear


@pytest.mark.parametrize("options", [{"k": 1000}, {"k": 6}, {"k": 3, "shrink": 2.5}, {"k": 1000, "shrink": 10}])
@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_of_items(seed, options):
    run, matrix = fit_random("ItemKNN", seed, **options)
    weights, clear = nearest(cosines(matrix, options.get("shrink", 0)), options["k"])
    assert clear.sum() >= 2
    assert_scores(run, matrix @ weights.T, columns=clear)


@pytest.mark.parametrize("options", [{"k": 1000}, {"k": 4}, {"k": 3, "shrink": 2.5}])
@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_of_users(seed, options):
    run, matrix = fit_random("ItemKNN", seed, knn_method="user", **options)
    weights, clear = nearest(cosines(matrix.T, options.get("shrink", 0)), options["k"])
    assert clear[1:].sum() >= 2
    assert_scores(run, weights @ matrix, rows=clear[1:])


def asymmetric_scores(matrix, method, k, alpha, beta, q):
    """Scores of Aiolli (RecSys 2013), where each weight is raised to q; and which users and items have no ties."""
    weights, clear = nearest(asymmetric_cosines(matrix.T if method == "user" else matrix, alpha), k)
    weights **= q
    norms = np.sqrt((weights**2).sum(axis=1))
    if method == "user":
        other = np.sqrt(matrix.sum(axis=0))
        return weights @ matrix / (np.outer(norms ** (2 * beta), other ** (2 - 2 * beta)) + 1e-6), clear
    other = np.sqrt(matrix.sum(axis=1))
    return matrix @ weights.T / (np.outer(other ** (2 * beta), norms ** (2 - 2 * beta)) + 1e-6), clear


ASYMMETRIC = [
    {"k": 1000, "alpha": 0.5, "beta": 1.0, "q": 1},
    {"k": 6, "alpha": 0.2, "beta": 1.0, "q": 1},
    {"k": 6, "alpha": 1.0, "beta": 1.0, "q": 1},
    {"k": 6, "alpha": 0.3, "beta": 0.4, "q": 1},
    {"k": 1000, "alpha": 0.0, "beta": 0.0, "q": 1},
    {"k": 6, "alpha": 0.3, "beta": 1.0, "q": 3},
    {"k": 1000, "alpha": 0.3, "beta": 0.7, "q": 2},
]


@pytest.mark.parametrize("options", ASYMMETRIC, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_asymmetric_neighbours_of_items(seed, options):
    run, matrix = fit_random("AsymKNN", seed, knn_method="item", **options)
    expected, clear = asymmetric_scores(matrix, "item", **options)
    assert clear.sum() >= 2
    assert_scores(run, expected, columns=clear)


@pytest.mark.parametrize("options", ASYMMETRIC, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_asymmetric_neighbours_of_users(seed, options):
    run, matrix = fit_random("AsymKNN", seed, knn_method="user", **options)
    expected, clear = asymmetric_scores(matrix, "user", **options)
    assert clear[1:].sum() >= 2
    assert_scores(run, expected, rows=clear[1:])


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_of_users_by_our_own_model(seed, k):
    run, matrix = fit_random("UserKNN", seed, k=k)
    norms = np.maximum(np.sqrt(matrix.sum(axis=1)), 1e-12)
    similarities = matrix @ matrix.T / np.outer(norms, norms)
    np.fill_diagonal(similarities, 0)
    weights, clear = nearest(similarities, k)
    assert_scores(run, weights @ matrix, rows=clear[1:])


# Linear autoencoders


def ease_weights(matrix, reg_weight):
    inverse = np.linalg.inv(matrix.T @ matrix + reg_weight * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("reg_weight", [0.5, 5.0, 250.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_ease(seed, reg_weight):
    run, matrix = fit_random("EASE", seed, reg_weight=reg_weight)
    assert_scores(run, matrix @ ease_weights(matrix, reg_weight))


@pytest.mark.parametrize("k", [1, 4, 10])
@pytest.mark.parametrize("seed", SEEDS)
def test_ease_with_the_largest_weights_of_each_item(seed, k):
    run, matrix = fit_random("PrunedEASE", seed, reg_weight=5.0, k=k)
    weights = ease_weights(matrix[:, 1:], 5.0)
    for row in weights:
        row[np.argsort(-np.abs(row))[k:]] = 0
    assert_scores(run, np.pad(matrix[:, 1:] @ weights, ((0, 0), (1, 0))))


SLIM = [
    {},
    {"alpha": 0.05, "l1_ratio": 0.3},
    {"alpha": 0.01, "positive_only": False},
    {"alpha": 0.05, "hide_item": False},
]


@pytest.mark.parametrize("options", SLIM, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_slim_reaches_the_least_objective(seed, options):
    """RecBole stops at a tolerance of 1e-4, so its weights are near those of the solution, and its objective is it.

    As in RecBole, the padding user counts as a sample.
    """
    run, matrix = fit_random("SLIMElastic", seed, **options)
    alpha, l1_ratio, positive, hide = (run.config[name] for name in ("alpha", "l1_ratio", "positive_only", "hide_item"))
    found = run.model.item_similarity.toarray().astype(np.float64)
    solution = np.zeros_like(found)
    for item, target in enumerate(matrix.T):
        others = matrix.copy()
        if hide:
            others[:, item] = 0
        solver = ElasticNet(
            alpha=alpha, l1_ratio=l1_ratio, positive=positive, fit_intercept=False, max_iter=10**6, tol=1e-12
        )
        solution[:, item] = solver.fit(others, target).coef_

        def objective(weights, others=others, target=target):
            error = ((target - others @ weights) ** 2).sum() / (2 * len(target))
            l1, l2 = np.abs(weights).sum(), (weights**2).sum()
            return error + alpha * (l1_ratio * l1 + (1 - l1_ratio) / 2 * l2)

        assert objective(found[:, item]) <= objective(solution[:, item]) + 1e-4
    np.testing.assert_allclose(found, solution, rtol=0, atol=3e-3)
    assert not (found < 0).any() or not positive
    assert not hide or not np.diag(found).any()
    assert_scores(run, matrix @ found)


@pytest.mark.parametrize(
    "options",
    [
        {"lambda1": 0.5, "lambda2": 3.0, "alpha": 0.7, "rho": 5.0, "k": 30},
        {"lambda1": 0.5, "lambda2": 3.0, "alpha": 0.7, "rho": 5.0, "k": 30, "positive_only": False},
        {"lambda1": 0.1, "lambda2": 20.0, "alpha": 0.2, "rho": 50.0, "k": 7, "center_columns": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", SEEDS)
def test_admm_slim(seed, options):
    """Steck et al., WSDM 2020, by its formulas. As in RecBole, the padding user counts for the means."""
    run, matrix = fit_random("ADMMSLIM", seed, **options)
    means, centred = matrix.mean(axis=0), matrix - matrix.mean(axis=0)
    center, positive = options.get("center_columns", False), options.get("positive_only", True)
    used = centred if center else matrix
    gram, rho = used.T @ used, options["rho"]
    inverse = np.linalg.inv(gram + np.diag(options["lambda2"] * means ** options["alpha"] + rho))
    dual = sparse = np.zeros_like(gram)
    for _ in range(options["k"]):
        dense = inverse @ (gram + rho * sparse - dual)
        dense = dense - inverse * (np.diag(dense) / np.diag(inverse))
        sparse = dense + dual / rho
        sparse = np.sign(sparse) * np.maximum(np.abs(sparse) - options["lambda1"] / rho, 0)
        sparse = np.maximum(sparse, 0) if positive else sparse
        dual = dual + rho * (dense - sparse)
    assert_scores(run, centred @ sparse + means if center else matrix @ sparse)


# Factorisations


@pytest.mark.parametrize("options", [{"rank": 450}, {"rank": 6}, {"rank": 6, "beta": 1.4, "reg_weight": 0.5}], ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_noise_contrastive_projection(seed, options):
    """Wu et al., SIGIR 2019. As in RecBole, the padding user is one of the users."""
    run, matrix = fit_random("NCEPLRec", seed, epochs=1, **options)
    beta, rank = options.get("beta", 1.0), min(options["rank"], *matrix.shape)
    with np.errstate(divide="ignore"):
        weight = np.maximum(np.log(len(matrix) / matrix.sum(axis=0) ** beta), 0)
    _, values, vectors = np.linalg.svd(matrix * np.where(matrix.sum(axis=0) > 0, weight, 0), full_matrices=False)
    embedding = matrix @ (vectors[:rank].T * np.sqrt(values[:rank]))
    gram = embedding.T @ embedding + options.get("reg_weight", 100.0) * np.eye(rank)
    assert_scores(run, embedding @ np.linalg.solve(gram, embedding.T @ matrix))


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("seed", SEEDS)
def test_alternating_least_squares_by_hand(seed, iterations):
    """Hu et al., ICDM 2008; to the library, alpha is the confidence of an interaction, and 1 that of the others."""
    size, reg_weight, alpha = 3, 0.7, 2.5
    options = {"embedding_size": size, "reg_weight": reg_weight, "alpha": alpha, "iterations": iterations}
    run, matrix = fit_random("ImplicitALS", seed, **options)
    matrix = matrix[:, 1:]

    def solve(rows, factors):
        solutions = []
        for row in rows:
            confidence = np.where(row > 0, alpha, 1.0)
            gram = factors.T @ (confidence[:, None] * factors) + reg_weight * np.eye(size)
            solutions.append(np.linalg.solve(gram, factors.T @ (confidence * row)))
        return np.array(solutions)

    random = np.random.default_rng(run.config["seed"])
    random.random(matrix.shape[:1] + (size,), dtype=np.float32)  # the users' first factors, which are not used
    factors = random.random(matrix.shape[1:] + (size,), dtype=np.float32).astype(np.float64) * 0.01
    for _ in range(iterations):
        factors = solve(matrix.T, solve(matrix, factors))
    assert_scores(run, np.pad(solve(matrix, factors) @ factors.T, ((0, 0), (1, 0))))


# All


@pytest.mark.parametrize("model", MODELS)
def test_both_kinds_of_scores_agree_and_are_numbers(model):
    run, _ = fit_random(model, 2, **MODELS[model])
    at_once = scores_at_once(run)
    assert np.isfinite(at_once).all()
    np.testing.assert_allclose(scores_one_by_one(run), at_once, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_the_same_a_second_time_and_in_other_batches(model):
    run, _ = fit_random(model, 2, **MODELS[model])
    first = scores_at_once(run)
    np.testing.assert_array_equal(scores_at_once(run), first)
    np.testing.assert_allclose(scores_at_once(run, batch_size=4), first, rtol=0, atol=1e-6)
    users = torch.tensor([3, 2, 3])
    again = run.model.full_sort_predict(Interaction({"user_id": users})).view(3, -1)
    np.testing.assert_allclose(again.numpy(), first[users - 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_a_second_evaluation_and_a_loaded_checkpoint_give_the_same_figures(model):
    run, _ = fit_random(model, 3, **MODELS[model])
    assert run.trainer.evaluate(run.test_data) == run.figures
    _, loaded, _, _, _, test_data = load_data_and_model(run.trainer.saved_model_file)
    run.trainer.model = loaded
    assert run.trainer.evaluate(test_data, load_best_model=False) == run.figures


@pytest.mark.parametrize("where", ["beside the first", "at the end"])
@pytest.mark.parametrize("model", MODELS)
def test_repeated_lines_change_nothing(model, where):
    train, valid, test = random_parts(3)
    once = fit(model, write_parts("once", train, valid, test), **MODELS[model])
    repeated = [pair for pair in train for _ in range(1 + pair[0] % 4)]
    if where == "at the end":
        repeated = train + repeated[::-1]
    again = fit(model, write_parts("repeated", repeated, valid, test), **MODELS[model])
    np.testing.assert_array_equal(scores_at_once(again), scores_at_once(once))
    np.testing.assert_array_equal(ids(again, train), ids(once, train))
    assert again.figures == once.figures
