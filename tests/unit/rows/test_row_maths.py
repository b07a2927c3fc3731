"""Scores of rows in closed form: equal to what autograd and refits come to, and right on labels flipped on purpose."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sgg_ray.rows import (
    align_rows,
    find_label_errors,
    fit_contrast,
    influence_ranking,
    mean_gradient,
    near_duplicates,
    opposing_rows,
    outlyingness,
    row_products,
    row_weights,
    suspects,
)
from sgg_ray.rows.contrast_model import RIDGES


def clouds(rows, labels, apart, seed, width=12):
    """Features of ``labels`` classes around centres ``apart`` standard deviations from zero, and the classes."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(labels, width))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    classes = np.arange(rows) % labels
    return centres[classes] + random.normal(size=(rows, width)) + 5.0, classes


def flipped(classes, share, labels, seed):
    random = np.random.default_rng(seed)
    wrong = np.zeros(len(classes), dtype=bool)
    wrong[random.choice(len(classes), round(share * len(classes)), replace=False)] = True
    return np.where(wrong, (classes + random.integers(1, labels, len(classes))) % labels, classes), wrong


def test_alignment_is_the_cosine_of_the_gradients_that_autograd_finds():
    features, classes = clouds(9, 3, 2.0, 0)
    shots, theirs = clouds(6, 3, 2.0, 1)
    mean, their_mean = features.mean(axis=0), shots.mean(axis=0)
    residuals, their_residuals = (np.eye(3)[one] - 1 / 3 for one in (classes, theirs))

    def gradient(row, label, middle):
        head = torch.zeros(3, features.shape[1], dtype=torch.float64, requires_grad=True)
        logits = head @ torch.tensor(row - middle)
        loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([label]))
        return torch.autograd.grad(loss, head)[0].numpy()

    own = np.stack([gradient(*pair, mean) for pair in zip(features, classes)])
    other = np.stack([gradient(*pair, their_mean) for pair in zip(shots, theirs)])
    target = mean_gradient(shots, their_residuals, theirs, their_mean)
    np.testing.assert_allclose(target, other.mean(axis=0), atol=1e-12)
    found = align_rows(features, residuals, mean, target, target)
    products = np.einsum("nch,ch->n", own, target)
    lengths = np.linalg.norm(own.reshape(9, -1), axis=1) * np.linalg.norm(target)
    np.testing.assert_allclose(found.cosine, products / lengths, atol=1e-12)
    np.testing.assert_allclose(found.influence, products, atol=1e-12)
    pairs = row_products(features - mean, residuals, shots - their_mean, their_residuals)
    np.testing.assert_allclose(pairs, np.einsum("nch,mch->nm", own, other), atol=1e-12)
    worst = opposing_rows(pairs, 2)
    assert worst[0][0] == pairs[0].argmin()
    np.testing.assert_array_equal(worst >= 0, np.sort(pairs, axis=1)[:, :2] < 0)


def test_rows_are_predicted_by_a_fit_that_has_not_seen_their_fold():
    features, classes = clouds(31, 3, 1.0, 2)
    model = fit_contrast(features, classes, 3)
    weight = (31 / 3 / np.bincount(classes))[classes]
    for fold in (0, 4):
        seen = model.folds != fold
        mean = np.mean([features[seen & (classes == c)].mean(axis=0) for c in range(3)], axis=0)
        centred = features - mean
        rows = centred[seen] * weight[seen, None]
        gram = rows.T @ centred[seen]
        level = model.ridge * np.trace(gram) / len(gram)
        fit = np.linalg.solve(gram + level * np.eye(len(gram)), rows.T @ (np.eye(3)[classes[seen]] - 1 / 3))
        np.testing.assert_allclose(model.logits[~seen], centred[~seen] @ fit, atol=1e-9)
    np.testing.assert_allclose(model.apply(features), (features - model.mean) @ model.weights, atol=1e-9)
    assert model.ridge in RIDGES


@pytest.mark.parametrize("rows", [16, 600])
def test_labels_without_meaning_are_neither_confirmed_nor_contradicted(rows):
    margins = []
    for seed in range(60 if rows == 16 else 5):
        random = np.random.default_rng(seed)
        classes = random.permutation(np.arange(rows) % 2)
        logits = fit_contrast(random.normal(size=(rows, 40)), classes, 2).logits
        margins += list(np.sign(logits[np.arange(rows), classes]))
    assert abs(np.mean(margins)) < 0.12


@pytest.mark.parametrize(
    ("labels", "share", "rate"), [(2, 0.2, 0.2), (4, 0.2, 0.2), (2, 0.4, 0.28), (4, 0.4, 0.4)]
)
def test_flipped_labels_are_found_and_counted(labels, share, rate):
    features, classes = clouds(800, labels, 3.0, 3)
    given, wrong = flipped(classes, share, labels, 4)
    found = find_label_errors([fit_contrast(features, given, labels).logits], given)
    assert roc_auc_score(wrong, found.wrong) > 0.96
    # Of two labels, four in ten of them wrong, the rate is hard to tell; it is then taken too low, not too high.
    assert found.rate == pytest.approx(rate, abs=0.06)
    assert found.wrong.mean() == pytest.approx(found.rate, abs=0.02)
    assert wrong[suspects(found.wrong)].mean() > 0.85
    assert (found.suggested == classes)[wrong].mean() > 0.85
    again = find_label_errors([fit_contrast(features, given, labels).logits], given)
    np.testing.assert_array_equal(found.wrong, again.wrong)


def test_clean_and_random_labels_are_not_called_wrong():
    features, classes = clouds(600, 2, 3.0, 5)
    assert (
        suspects(find_label_errors([fit_contrast(features, classes, 2).logits], classes).wrong).mean() < 0.02
    )
    given = np.random.default_rng(6).integers(0, 2, 600)
    found = find_label_errors([fit_contrast(features, given, 2).logits], given)
    assert (found.wrong > 0.5).mean() < 0.05  # nothing tells them from right ones


def test_evidence_from_elsewhere_finds_what_the_rows_alone_cannot():
    features, classes = clouds(300, 2, 1.0, 7)
    given, wrong = flipped(classes, 0.4, 2, 8)
    own = fit_contrast(features, given, 2).logits
    others, labels = clouds(2000, 2, 1.0, 7)  # the same centres
    elsewhere = fit_contrast(others, labels, 2).apply(features)
    alone, both = (find_label_errors(one, given) for one in ([own], [own, elsewhere]))
    assert roc_auc_score(wrong, both.wrong) > roc_auc_score(wrong, alone.wrong) + 0.03
    noise = np.random.default_rng(9).normal(size=own.shape)
    assert abs(find_label_errors([own, noise], given).strengths[1]) < 0.3


def test_of_a_source_that_contradicts_most_labels_are_wrong():
    features, classes = clouds(300, 2, 3.0, 10)
    target = fit_contrast(features, classes, 2)
    given = 1 - classes
    evidence = [fit_contrast(features, given, 2).logits, target.logits]
    assert find_label_errors(evidence, given, contradicts=True).wrong.mean() > 0.9
    assert find_label_errors(evidence, given).wrong.mean() < 0.1


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="one class only"):
        fit_contrast(np.ones((4, 3)), np.zeros(4, dtype=int), 2)


def test_duplicates_name_the_first_of_their_kind_and_outliers_lie_far_away():
    features, classes = clouds(200, 2, 3.0, 11)
    features[150] = features[20] * 1.0001
    features[160] = features[20]
    features[90] = -60.0
    found = near_duplicates(features - 5.0)
    assert (found[150], found[160], found[20]) == (20, 20, -1)
    assert outlyingness(features, classes, fit_contrast(features, classes, 2)).argmax() == 90


def test_weights_of_rows():
    wrong, influence = np.array([0.1, 0.9, 0.3, 0.2]), np.array([1.0, 5.0, 3.0, -1.0])
    assert suspects(wrong).tolist() == [False, True, True, False]  # 1.5 are expected to be wrong
    assert suspects(np.array([0.6, 0.0, 0.0])).tolist() == [True, False, False]
    assert suspects(np.zeros(3)).tolist() == [False] * 3
    ranking = influence_ranking(influence, wrong)
    assert row_weights("keep", ranking, 0.5).tolist() == [1, 0, 0, 1]
    assert row_weights("soft", ranking, 0.5).tolist() == pytest.approx([0.9, 0.1, 0.7, 0.8])
    assert row_weights("top", ranking, 0.5).tolist() == [1, 0, 0, 1]
    nearly_clean = np.array([0.0, 0.35, 0.0, 0.0])  # fewer than one in ten: what looks wrong is kept
    assert row_weights("keep", influence_ranking(influence, nearly_clean), 0.5).tolist() == [1, 1, 1, 1]
    assert row_weights("top", influence_ranking(influence, nearly_clean), 0.5).tolist() == [0, 1, 1, 0]
    nothing_left = influence_ranking(influence[:3], np.ones(3))
    assert row_weights("keep", nothing_left, 0.5).tolist() == [1, 1, 1]
