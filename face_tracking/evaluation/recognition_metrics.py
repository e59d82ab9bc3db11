# SPDX-License-Identifier: Apache-2.0
"""How well embeddings distinguish people: verification of pairs, identification with strangers.

Verification follows Labeled Faces in the Wild (G. B. Huang et al., 2007): pairs of images show one
person or two. Open-set identification follows P. J. Phillips, P. Grother and R. Micheals
("Evaluation methods in face recognition", Handbook of Face Recognition, 2011): some people are
enrolled, and strangers are looked up, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from face_tracking.arrays import BoolArray, FloatArray, IntArray
from face_tracking.errors import UserError

GALLERY_SIZES = (5, 10, 50)
"""People who are enrolled in each trial: a couple, a family, an office."""
ENROLLED_VIEWS = 2
SEVERAL_VIEWS = 3
"""Views of one face whose mean is looked up, as of a track."""
TRIALS = 200
KNOWN_RATE = 0.9
"""The share of the faces of enrolled people that get the right name, where strangers count."""


@dataclass(frozen=True)
class Verification:
    """Scores of pairs.

    :ivar accuracy: at the best threshold for these pairs.
    :ivar threshold: that threshold.
    :ivar accuracy_given: at the threshold of the network.
    :ivar true_rates: share of pairs of one person that are accepted, by the share of pairs of two
        that are.
    """

    accuracy: float
    threshold: float
    accuracy_given: float
    true_rates: dict[float, float]


@dataclass(frozen=True)
class Identification:
    """Scores of an open-set identification.

    :ivar people: how many are enrolled in each trial.
    :ivar views: of each face that is looked up.
    :ivar threshold: at which 90 % of the faces of enrolled people get the right name.
    :ivar false_names: share of strangers who get a name at that threshold.
    :ivar named_given: share of the faces of enrolled people that get the right name at the
        network's own threshold.
    :ivar false_names_given: share of strangers who get a name at that threshold.
    """

    people: int
    views: int
    threshold: float
    false_names: float
    named_given: float
    false_names_given: float


def verify(similarities: FloatArray, same: BoolArray, threshold: float) -> Verification:
    """Return the scores of pairs.

    :param similarities: (N,), of each pair.
    :param same: (N,), whether it shows one person.
    :param threshold: of the network.
    """
    found = np.unique(similarities)
    # Halfway between neighbors: a threshold of one set of pairs is applied to others, too.
    edges = np.concatenate([found[:1], (found[:-1] + found[1:]) / 2])
    accuracies = np.array([((similarities >= edge) == same).mean() for edge in edges])
    best = int(accuracies.argmax())
    return Verification(
        float(accuracies[best]),
        float(edges[best]),
        float(((similarities >= threshold) == same).mean()),
        {rate: true_rate(similarities, same, rate) for rate in (0.01, 0.001)},
    )


@dataclass(frozen=True)
class Folds:
    """Accuracy by cross-validation.

    :ivar accuracy: mean over the folds, each at the threshold that is best on all others.
    :ivar error: standard error of that mean.
    :ivar folds: how many there are.
    """

    accuracy: float
    error: float
    folds: int


def cross_validate(similarities: FloatArray, same: BoolArray, folds: IntArray) -> Folds | None:
    """Return the accuracy over folds, None if there is only one.

    :param folds: (N,), the fold of each pair.
    """
    numbers = np.unique(folds)
    if len(numbers) < 2:
        return None
    found = []
    for number in numbers:
        held_out = folds == number
        threshold = verify(similarities[~held_out], same[~held_out], 0.0).threshold
        found.append(((similarities[held_out] >= threshold) == same[held_out]).mean())
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    return Folds(float(np.mean(found)), float(error), len(found))


def true_rate(similarities: FloatArray, same: BoolArray, false_rate: float) -> float:
    """Return the share of pairs of one person accepted where ``false_rate`` of the others are."""
    others = np.sort(similarities[~same])[::-1]
    edge = others[min(int(false_rate * len(others)), len(others) - 1)]
    return float((similarities[same] > edge).mean())


def roc(similarities: FloatArray, same: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the shares of other pairs and of pairs of one person accepted, at all thresholds."""
    order = np.argsort(-similarities, kind='stable')
    hits = np.cumsum(same[order])
    misses = np.cumsum(~same[order])
    return misses / max(int(misses[-1]), 1), hits / max(int(hits[-1]), 1)


def all_pairs(embeddings: FloatArray, people: Sequence[str]) -> tuple[FloatArray, BoolArray]:
    """Return the similarities of all pairs of images, and whether each shows one person.

    :param embeddings: (N, D), of length 1.
    """
    # Numbers instead of names: a whole copy of LFW has tens of millions of pairs.
    numbers = np.unique(np.array(people), return_inverse=True)[1].astype(np.int32)
    above = np.triu(np.ones((len(embeddings),) * 2, bool), 1)
    return (embeddings @ embeddings.T)[above], (numbers[:, None] == numbers)[above]


def identify(
    embeddings: FloatArray,
    people: Sequence[str],
    enrolled: int,
    threshold: float,
    seed: int = 0,
    views: int = 1,
    least_views: int = 1,
) -> Identification:
    """Return the scores of looking up faces of enrolled people and of strangers.

    In each of many trials, ``enrolled`` people with more than two images are drawn; two images of
    each are enrolled and the others are looked up. One image of every other person is a stranger.
    A face gets the name of the most similar enrolled view if that reaches the threshold.

    With several views, the mean of so many images is looked up instead of one. To compare with
    single images of the same people, give ``least_views`` there.

    :param views: images whose mean is looked up.
    :param least_views: strangers have at least so many images, enrolled people two more.
    :param embeddings: (N, D), of length 1.
    :param people: the names, (N,).
    :param threshold: of the network.
    :raises UserError: too few people have so many images.
    """
    random = np.random.default_rng(seed)
    images: dict[str, IntArray] = {}
    names = np.array(people)
    for name in sorted(set(people)):
        images[name] = np.flatnonzero(names == name)
    least = max(views, least_views)
    candidates = [name for name, rows in images.items() if len(rows) >= ENROLLED_VIEWS + least]
    enrolled = min(enrolled, len(candidates))
    others = [name for name, rows in images.items() if len(rows) >= least]
    if not candidates or len(others) <= enrolled:
        raise UserError(
            f'there are too few people with {least} images', 'give the images of more people'
        )
    known: list[tuple[float, bool]] = []
    strangers: list[float] = []
    for _ in range(TRIALS):
        chosen = set(random.choice(candidates, enrolled, replace=False).tolist())
        gallery, owners, probes = [], [], []
        for name in sorted(chosen):
            rows = random.permutation(images[name])
            gallery += rows[:ENROLLED_VIEWS].tolist()
            owners += [name] * ENROLLED_VIEWS
            rest = rows[ENROLLED_VIEWS:]
            rest = rest[: len(rest) // views * views]
            probes += rest.reshape(-1, views).tolist()
        looked_up = [
            random.choice(rows, views, replace=False).tolist()
            for name, rows in images.items()
            if name not in chosen and len(rows) >= least
        ]
        vectors, owner = embeddings[gallery], np.array(owners)
        found = _mean_of_views(embeddings, probes) @ vectors.T
        best = found.argmax(1)
        right = owner[best] == names[[rows[0] for rows in probes]]
        known += list(zip(found.max(1).tolist(), right.tolist(), strict=True))
        strangers += (_mean_of_views(embeddings, looked_up) @ vectors.T).max(1).tolist()
    scores = np.array([score for score, _ in known])
    right = np.array([is_right for _, is_right in known])
    unknown = np.array(strangers)
    # A wrong name is never right, whatever the threshold.
    ranked = np.sort(np.where(right, scores, -1.0))[::-1]
    edge = float(ranked[max(int(np.ceil(KNOWN_RATE * len(ranked))) - 1, 0)])
    return Identification(
        enrolled,
        views,
        edge,
        float((unknown >= edge).mean()),
        float((right & (scores >= threshold)).mean()),
        float((unknown >= threshold).mean()),
    )


def _mean_of_views(embeddings: FloatArray, rows: list[list[int]]) -> FloatArray:
    """Return the mean of each list of rows, of length 1."""
    means = embeddings[np.array(rows)].mean(1)
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
