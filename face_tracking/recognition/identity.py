# SPDX-License-Identifier: Apache-2.0
"""Who a track is, decided over its life: a name needs evidence, and can be taken back.

Each good view of a track adds to the mean of its embeddings, which says more than any one view.
A track whose views stop agreeing with each other was taken over by another face: its evidence is
then dropped.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from face_tracking.arrays import FloatArray
from face_tracking.recognition.gallery import Gallery, Match
from face_tracking.recognition.recognition_options import IdentityOptions
from face_tracking.time_units import SECOND

UNKNOWN = 'unknown'
MAX_VIEWS = 10
"""Views of a track of which the mean is taken, the newest."""
MAX_NUMBERED = 200
"""People without a name that are remembered at once."""
_SURE = 0.15  # a single view so far above the threshold is enough for a name
_CONTRADICTION = 0.2  # views so far below the threshold from the others are another face's
_CONTRADICTIONS = 2  # in a row, before the evidence is dropped
_MIN_SPAN = SECOND  # over which an unknown face must have been seen before it gets a number


@dataclass(frozen=True)
class Identity:
    """What is known of a track.

    :ivar name: of the person; ``unknown`` where the face is clearly of no enrolled person, ''
        while it is undecided.
    :ivar similarity: cosine with that person, 0 to 1.
    :ivar candidates: the most similar people, best first.
    :ivar views: how many good views there are of the track.
    """

    name: str = ''
    similarity: float = 0.0
    candidates: tuple[Match, ...] = ()
    views: int = 0

    @property
    def is_named(self) -> bool:
        """Whether the track has the name of a person."""
        return self.name not in ('', UNKNOWN)


def name_of_view(gallery: Gallery, options: IdentityOptions, embedding: FloatArray) -> Match:
    """Return who a single view shows: a person, or ``unknown`` with the similarity of the best.

    :param embedding: float32 (D,), of length 1.
    """
    found = gallery.match(embedding, 2)
    if not found:
        return Match(UNKNOWN, 0.0)
    best = found[0]
    second = found[1].similarity if len(found) > 1 else -1.0
    threshold = options.match_threshold or gallery.threshold
    if best.similarity < threshold or best.similarity - second < options.match_margin:
        return Match(UNKNOWN, best.similarity)
    return best


@dataclass
class _Evidence:
    """What was seen of one track."""

    embeddings: list[FloatArray] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    first: int = 0
    contradictions: int = 0
    identity: Identity = field(default_factory=Identity)

    def add(self, embedding: FloatArray, weight: float, stamp: int) -> None:
        if not self.embeddings:
            self.first = stamp
        self.embeddings = [*self.embeddings[1 - MAX_VIEWS :], embedding]
        self.weights = [*self.weights[1 - MAX_VIEWS :], weight]

    def mean(self) -> FloatArray:
        """Return the weighted mean of the embeddings, of length 1."""
        total = np.average(np.stack(self.embeddings), axis=0, weights=self.weights)
        return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)


class IdentityTracker:
    """Decides on the names of tracks.

    :param gallery: the people who are known.
    :param options: when a name is given and taken back.
    """

    def __init__(self, gallery: Gallery, options: IdentityOptions):
        self.gallery, self.options = gallery, options
        self._tracks: dict[int, _Evidence] = {}
        self._numbered: dict[str, FloatArray] = {}
        self._count = 0

    @property
    def threshold(self) -> float:
        """The cosine similarity from which a name is given."""
        return self.options.match_threshold or self.gallery.threshold

    def identity(self, track: int) -> Identity:
        """Return what is known of a track."""
        evidence = self._tracks.get(track)
        return evidence.identity if evidence else Identity()

    def views(self, track: int) -> list[FloatArray]:
        """Return the embeddings of a track's good views, for enrolling it."""
        evidence = self._tracks.get(track)
        return list(evidence.embeddings) if evidence else []

    def observe(self, track: int, embedding: FloatArray, weight: float, stamp: int) -> Identity:
        """Add a good view of a track; return its identity now.

        :param embedding: float32 (D,), of length 1.
        :param weight: how much the view counts, 0 to 1.
        :param stamp: of the image, nanoseconds.
        """
        evidence = self._tracks.setdefault(track, _Evidence())
        if evidence.embeddings and float(evidence.mean() @ embedding) < (
            self.threshold - _CONTRADICTION
        ):
            evidence.contradictions += 1
            if evidence.contradictions < _CONTRADICTIONS:
                return evidence.identity  # a single odd view decides nothing
            evidence = self._tracks[track] = _Evidence()
        evidence.contradictions = 0
        evidence.add(embedding, weight, stamp)
        evidence.identity = self._decide(track, evidence, stamp)
        return evidence.identity

    def retain(self, tracks: Collection[int]) -> None:
        """Forget the tracks that are not among these."""
        for track in self._tracks.keys() - set(tracks):
            del self._tracks[track]

    def reconsider(self) -> None:
        """Decide again on all tracks, after the gallery changed."""
        for track, evidence in self._tracks.items():
            if evidence.embeddings:
                evidence.identity = self._decide(track, evidence, evidence.first)

    def numbered(self) -> dict[str, FloatArray]:
        """Return the mean embeddings of the people without a name, ``person_1`` and so on."""
        return dict(self._numbered)

    def drop_numbered(self, name: str) -> None:
        """Forget a person without a name; there need not be one."""
        self._numbered.pop(name, None)

    def _decide(self, track: int, evidence: _Evidence, stamp: int) -> Identity:
        mean, views = evidence.mean(), len(evidence.embeddings)
        candidates = self._candidates(mean)
        name, similarity = self._choose(evidence.identity.name, candidates, views)
        if name == UNKNOWN and self.options.number_unknown:
            name = self._number(evidence, mean, stamp) or name
            similarity = 1.0 if name != UNKNOWN else similarity
        if self._yields_name(name, similarity, track):
            name = UNKNOWN
        return Identity(name, similarity, tuple(candidates[:3]), views)

    def _candidates(self, mean: FloatArray) -> list[Match]:
        numbered = [Match(name, float(vector @ mean)) for name, vector in self._numbered.items()]
        found = [*self.gallery.match(mean), *numbered]
        return sorted(found, key=lambda match: -match.similarity)

    def _choose(self, before: str, candidates: list[Match], views: int) -> tuple[str, float]:
        """Return the name for the candidates, '' while there is too little evidence."""
        if not candidates:
            return (UNKNOWN if views >= self.options.min_views else ''), 0.0
        best = candidates[0]
        second = candidates[1].similarity if len(candidates) > 1 else -1.0
        kept = best.name == before
        needed = self.threshold - (self.options.name_hysteresis if kept else 0.0)
        margin = 0.0 if kept else self.options.match_margin
        if best.similarity >= needed and best.similarity - second >= margin:
            enough = views >= self.options.min_views or kept
            if enough or best.similarity >= self.threshold + _SURE:
                return best.name, best.similarity
            return '', best.similarity
        return (UNKNOWN if views >= self.options.min_views else ''), best.similarity

    def _number(self, evidence: _Evidence, mean: FloatArray, stamp: int) -> str | None:
        """Return the name of a new person without a name, None if the views do not suffice."""
        seen_long = stamp - evidence.first >= _MIN_SPAN
        if len(evidence.embeddings) < self.options.unknown_views or not seen_long:
            return None
        self._count += 1
        name = f'person_{self._count}'
        self._numbered[name] = mean
        if len(self._numbered) > MAX_NUMBERED:
            del self._numbered[next(iter(self._numbered))]
        return name

    def _yields_name(self, name: str, similarity: float, track: int) -> bool:
        """Let the most similar track keep a name; return whether that is another track."""
        if name in ('', UNKNOWN):
            return False
        for other, evidence in self._tracks.items():
            if other == track or evidence.identity.name != name:
                continue
            if evidence.identity.similarity >= similarity:
                return True
            found = evidence.identity
            evidence.identity = Identity(UNKNOWN, found.similarity, found.candidates, found.views)
        return False
