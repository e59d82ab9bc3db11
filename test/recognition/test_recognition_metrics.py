# SPDX-License-Identifier: Apache-2.0
"""Scores of verification and identification, on embeddings whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_embeddings import near, unit

from face_tracking.errors import UserError
from face_tracking.evaluation import recognition_metrics as metrics


def test_perfect_similarities_score_one():
    same = np.array([True] * 50 + [False] * 50)
    found = metrics.verify(np.where(same, 0.8, 0.1), same, 0.5)
    assert found.accuracy == found.accuracy_given == 1
    assert found.true_rates == {0.01: 1, 0.001: 1}


def test_chance_scores_half():
    random = np.random.default_rng(0)
    same = random.random(4000) < 0.5
    found = metrics.verify(random.random(4000), same, 0.5)
    assert found.accuracy == pytest.approx(0.5, abs=0.03)
    assert found.true_rates[0.01] == pytest.approx(0.01, abs=0.02)


def test_roc_ends_in_both_corners():
    same = np.array([True, False, True, False])
    false_rates, true_rates = metrics.roc(np.array([0.9, 0.2, 0.8, 0.1]), same)
    assert (false_rates[-1], true_rates[-1]) == (1, 1)
    assert true_rates[1] == 1
    assert false_rates[1] == 0


def test_strangers_are_counted_at_the_threshold_of_known_faces():
    people, vectors = [], []
    for person in range(10):
        for view in range(4 if person < 5 else 1):
            people.append(f'person {person}')
            vectors.append(near(unit(*np.eye(10)[person]), 0.95, seed=10 * person + view))
    found = metrics.identify(np.stack(vectors), people, 5, 0.5)
    assert found.people == 5
    assert found.false_names == 0
    assert found.named_given == 1
    alike = np.stack([near(unit(1), 0.95, seed) for seed in range(len(people))])
    assert metrics.identify(alike, people, 5, 0.5).false_names > 0.5


def test_folds_are_scored_at_thresholds_of_the_others():
    """A fold whose similarities are shifted loses what the others' threshold costs it."""
    same = np.tile([True, False], 200)
    folds = np.repeat(np.arange(4), 100)
    similarities = np.where(same, 0.6, 0.4)
    found = metrics.cross_validate(similarities, same, folds)
    assert found is not None and (found.accuracy, found.error, found.folds) == (1, 0, 4)
    shifted = np.where(folds == 0, similarities + 0.3, similarities)
    found = metrics.cross_validate(shifted, same, folds)
    assert found is not None and found.accuracy == pytest.approx(0.875)
    assert metrics.cross_validate(similarities, same, np.zeros(400, int)) is None


def test_mean_of_several_views_keeps_strangers_apart():
    """Views that are noisy alone agree on the person."""
    people, vectors = [], []
    for person in range(12):
        for view in range(8):
            people.append(f'person {person}')
            vectors.append(near(unit(*np.eye(12)[person]), 0.6, seed=10 * person + view))
    single, mean = (
        metrics.identify(np.stack(vectors), people, 4, 0.5, views=views, least_views=3)
        for views in (1, 3)
    )
    assert (single.views, mean.views) == (1, 3)
    assert mean.false_names < 0.7 * single.false_names
    with pytest.raises(UserError, match='too few people with 9 images'):
        metrics.identify(np.stack(vectors), people, 4, 0.5, views=9)
