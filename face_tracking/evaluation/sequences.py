# SPDX-License-Identifier: Apache-2.0
"""Synthetic sequences with ground truth: moving people, described by a small file and a seed.

A file of ``config/sequences`` says how many people there are, how each moves, what stands in
front of them and what the camera does; the seed decides the rest, so that a file always gives
the same images. Angles in the files are in degrees, distances in meters, times in seconds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

import cv2
import numpy as np

from face_tracking.arrays import FloatArray
from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.files import expand, malformed, read_yaml, share_dir
from face_tracking.frame import Frame
from face_tracking.simulation.rendering import GroundTruth, Renderer
from face_tracking.simulation.scene import Actor, Cutout, Look, Pose, Scene
from face_tracking.simulation.scene_file import scene_of
from face_tracking.simulation.waypoints import Path, Sway

FACE_WIDTH = 0.15  # meters, ear to ear
_EDGE = 36.0  # degrees: where a person who leaves is out of sight
_BEYOND = 58.0  # degrees: farther out
_FEWEST = 5  # people needed for the set that is held out
Waypoints = tuple[FloatArray, FloatArray, str]
"""Seconds (N,), azimuths in degrees (N,), and the interpolation between them."""


@dataclass(frozen=True)
class Person:
    """How one person moves.

    :ivar motion: a name of :data:`MOTIONS`.
    :ivar speed: degrees per second as the camera sees it.
    :ivar distance: nearest and farthest, meters; drawn once, or swept where ``swings``.
    :ivar height: elevation of the face, degrees.
    :ivar reach: farthest azimuth to either side, degrees.
    :ivar roll: how far the head leans to the side, degrees.
    :ivar turn: how far it turns away, degrees.
    :ivar swings: whether the distance is swept all the time.
    :ivar side: where ``pass`` and ``leave`` begin: -1 right, 1 left.
    :ivar start: seconds from the beginning at which ``leave`` leaves.
    :ivar away: seconds for which ``leave`` is not to be seen.
    """

    motion: str = 'stroll'
    speed: float = 8.0
    distance: tuple[float, float] = (1.2, 2.0)
    height: float = 0.0
    reach: float = 22.0
    roll: float = 4.0
    turn: float = 4.0
    swings: bool = False
    side: float = 1.0
    start: float = 3.0
    away: float = 3.0


@dataclass(frozen=True)
class Pillar:
    """An upright board in front of people: at an azimuth, or passing by at a speed."""

    azimuth: float = 0.0
    width: float = 0.25
    distance: float = 0.9
    speed: float = 0.0


@dataclass(frozen=True)
class Camera:
    """What the camera does: pans to and fro by ``pan`` degrees, and shakes."""

    pan: float = 0.0
    period: float = 6.0
    shake: float = 0.0


@dataclass(frozen=True)
class Script:
    """A sequence's description, as in its file.

    :ivar size: width and height of the images, pixels.
    :ivar field_of_view: horizontal, degrees.
    :ivar drops: share of the frames that are lost, each for itself.
    :ivar freeze: seconds of images that are lost in a row, once every three seconds.
    :ivar cast: which people act, by their number among those there are; drawn where empty.
    """

    name: str
    people: tuple[Person, ...]
    seed: int = 0
    duration: float = 10.0
    rate: float = 30.0
    size: tuple[int, int] = (640, 480)
    field_of_view: float = 62.0
    pillars: tuple[Pillar, ...] = ()
    camera: Camera = Camera()
    look: Look = field(default_factory=Look)
    drops: float = 0.0
    freeze: float = 0.0
    cast: tuple[int, ...] = ()


def sequences_dir(held_out: bool = False) -> FilePath:
    """Return the folder of the mixed set, or of the one on which nothing was ever tuned."""
    folder = share_dir() / 'config' / 'sequences'
    return folder / 'held_out' if held_out else folder


def sequence_names(held_out: bool = False) -> list[str]:
    """Return the names of the mixed set, or of the one held out."""
    return sorted(path.stem for path in sequences_dir(held_out).glob('*.yaml'))


def load_script(name: str, held_out: bool = False) -> Script:
    """Return a sequence of the mixed set, or of that held out, by its name or from a YAML file.

    :raises UserError: when there is none or it cannot be understood.
    """
    path = expand(name)
    if path.suffix not in ('.yaml', '.yml'):
        path = sequences_dir(held_out) / f'{name}.yaml'
    if not os.path.exists(path):
        raise UserError(
            f'there is no sequence "{name}"',
            f'give one of {", ".join(sequence_names(held_out))}, or a YAML file',
        )
    with malformed(path, 'sequence', f'compare it with those in {sequences_dir()}'):
        return script_of(read_yaml(path, 'sequence'), path.stem)


def script_of(content: Mapping[str, Any], name: str = 'sequence') -> Script:
    """Return the script that a file's content describes."""
    content = dict(content)
    people = tuple(_person(entry) for entry in content.pop('people'))
    for person in people:
        if person.motion not in MOTIONS:
            raise ValueError(f'motion {person.motion!r} is none of {", ".join(MOTIONS)}')
    width, height = content.pop('size', (640, 480))
    return Script(
        name,
        people,
        pillars=tuple(Pillar(**entry) for entry in content.pop('pillars', ())),
        camera=Camera(**content.pop('camera', {})),
        look=Look(**content.pop('look', {})),
        size=(width, height),
        cast=tuple(content.pop('cast', ())),
        **content,
    )


def _person(entry: Mapping[str, Any]) -> Person:
    person = Person(**entry)
    near, far = person.distance
    return replace(person, distance=(near, far))


class Sequence:
    """The images of a script: every iteration gives the same images and ground truth.

    :param people: cutouts to choose from; more people than cutouts means doubles.
    :ivar count: how many images there are.
    """

    def __init__(self, script: Script, people: tuple[Cutout, ...]):
        self.script = script
        rng = np.random.default_rng(script.seed)
        cast = script.cast or rng.permutation(len(people))
        actors = [
            _actor(person, people[cast[row % len(cast)] % len(people)], script, row, rng)
            for row, person in enumerate(script.people)
        ]
        pillars = [_pillar(pillar, script) for pillar in script.pillars]
        scene = Scene(
            scene_of({'people': []}).backdrop,
            (*actors, *pillars),
            _camera(script, rng),
            script.look,
            script.duration,
            script.seed,
            script.name,
        )
        model = CameraModel.from_fov(*script.size, math.radians(script.field_of_view))
        self._renderer = Renderer(scene, model)
        self._times = _times(script, rng)
        self.count = len(self._times)

    def __iter__(self) -> Iterator[tuple[Frame, GroundTruth]]:
        camera = self._renderer.scene.camera
        for index, t in enumerate(self._times):
            stamp = round(t * 1e9)
            turning = (camera.at(t + 1e-3) - camera.at(t - 1e-3))[:2] / 2e-3
            pose = Pose.along(camera, t)
            image = self._renderer.render(pose, t, index, tuple(turning))
            yield Frame(image, stamp, sequence=index), self._renderer.truth(pose, t, stamp)


def held_out_people(people: tuple[Cutout, ...]) -> tuple[Cutout, ...]:
    """Return those of ``people`` who act in no sequence of the mixed set; all if too few."""
    seen: set[int] = set()
    for script in map(load_script, sequence_names()):
        cast = script.cast or np.random.default_rng(script.seed).permutation(len(people))
        seen.update(int(number) for number in cast[: len(script.people)])
    unseen = tuple(cutout for number, cutout in enumerate(people) if number not in seen)
    return unseen if len(unseen) >= _FEWEST else people


def _times(script: Script, rng: np.random.Generator) -> FloatArray:
    """Return the seconds of the frames that are not lost."""
    times = np.arange(round(script.duration * script.rate)) / script.rate
    kept = rng.random(len(times)) >= script.drops
    kept &= (times % 3.0 >= script.freeze) | (times < 3.0)
    return times[kept]


def _actor(
    person: Person, cutout: Cutout, script: Script, row: int, rng: np.random.Generator
) -> Actor:
    times, azimuths, interpolation = MOTIONS[person.motion](person, script.duration, rng)
    near, far = person.distance
    distances = (
        rng.uniform(near, far, len(times))
        if person.swings
        else np.full(len(times), rng.uniform(near, far))
    )
    turns = rng.uniform(-1, 1, (2, len(times))) * [[person.roll], [person.turn]]
    heights = person.height + rng.uniform(-1, 1, len(times)) * min(2.0, person.speed / 6)
    values = np.stack(
        [np.radians(azimuths), np.radians(heights), distances, *np.radians(turns)], axis=1
    )
    sway = Sway(np.radians([0.3, 0.4, 0.0, 1.5, 1.5]), 1.1 + 0.3 * row, phase=rng.uniform(0, 6))
    assert cutout.face is not None  # people are cut out by their faces
    pixel_size = FACE_WIDTH / (cutout.face[2] - cutout.face[0])
    return Actor(
        cutout, pixel_size, Path(times, values, interpolation, sway), row + 1, f'person {row + 1}'
    )


def _stroll(person: Person, duration: float, rng: np.random.Generator) -> Waypoints:
    """Go to one place after the other, at about the stated speed."""
    times, places = [0.0], [rng.uniform(-person.reach, person.reach)]
    while times[-1] < duration:
        places.append(rng.uniform(-person.reach, person.reach))
        times.append(times[-1] + max(abs(places[-1] - places[-2]) / person.speed, 0.7))
    return np.array(times), np.array(places), 'smooth'


def _dart(person: Person, duration: float, rng: np.random.Generator) -> Waypoints:
    """Jerk: short dashes with sharp corners and stops between them."""
    times, places = [0.0], [rng.uniform(-person.reach, person.reach)]
    while times[-1] < duration:
        dash = rng.uniform(0.15, 0.4)
        goal = places[-1] + rng.choice([-1, 1]) * person.speed * dash
        goal = np.clip(goal, -person.reach, person.reach)
        times += [times[-1] + dash, times[-1] + dash + rng.uniform(0.05, 0.3)]
        places += [goal, goal]
    return np.array(times), np.array(places), 'linear'


def _pass(person: Person, duration: float, rng: np.random.Generator) -> Waypoints:
    """Walk from one side to the other and back, past whoever comes the other way."""
    lap = 2 * person.reach / person.speed
    laps = math.ceil(duration / lap) + 1
    times = np.arange(laps + 1) * lap - rng.uniform(0, 0.1) * lap
    places = person.side * person.reach * np.where(np.arange(laps + 1) % 2, -1, 1)
    return times, places, 'linear'


def _leave(person: Person, duration: float, rng: np.random.Generator) -> Waypoints:
    """Stay, walk out of sight, come back after ``away`` seconds on either side, and again.

    Who comes back on the other side has gone round behind the camera: a full turn more.
    """
    home, side, now, turn = person.side * person.reach * rng.uniform(0.2, 0.6), person.side, 0, 0
    times, places = [0.0], [home]
    while now < duration:
        out = now + person.start + abs(side * _EDGE - home) / person.speed
        back_side = side * rng.choice([-1, 1])
        new_turn = turn + 360 * side * (back_side != side)
        middle = (turn + side * _EDGE + new_turn + back_side * _EDGE) / 2
        if back_side == side:
            middle = turn + side * _BEYOND
        new_home = back_side * person.reach * rng.uniform(0.2, 0.6)
        back = out + person.away + abs(back_side * _EDGE - new_home) / person.speed
        times += [now + person.start, out, out + person.away / 2, out + person.away, back]
        places += [
            turn + home,
            turn + side * _EDGE,
            middle,
            new_turn + back_side * _EDGE,
            new_turn + new_home,
        ]
        home, side, now, turn = new_home, back_side, back, new_turn
    return np.array(times), np.array(places), 'linear'


def _stay(person: Person, duration: float, rng: np.random.Generator) -> Waypoints:
    """Stay in one place."""
    place = person.side * person.reach
    return np.array([0.0, duration]), np.array([place, place]), 'smooth'


MOTIONS: dict[str, Callable[[Person, float, np.random.Generator], Waypoints]] = {
    'stroll': _stroll,
    'dart': _dart,
    'pass': _pass,
    'leave': _leave,
    'stay': _stay,
}


def _pillar(pillar: Pillar, script: Script) -> Actor:
    """Return a board with stripes, tall enough to hide a person."""
    width = round(200 * pillar.width)
    rows, columns = np.mgrid[:400, :width]
    grain = 20 * np.sin(rows / 7.0) + 12 * np.sin(columns / 3.0 + rows / 31.0)
    image = np.clip(np.array([70, 95, 120]) + grain[..., None], 0, 255).astype(np.uint8)
    alpha = np.zeros((400, width), np.uint8)
    alpha[2:-2, 2:-2] = 255
    cutout = Cutout.from_image(image, cv2.GaussianBlur(alpha, (0, 0), 1))
    azimuths = pillar.azimuth + pillar.speed * np.array([0.0, script.duration])
    values = np.zeros((2, 5))
    values[:, 0], values[:, 2] = np.radians(azimuths), pillar.distance
    return Actor(cutout, pillar.width / width, Path([0.0, script.duration], values, 'linear'))


def _camera(script: Script, rng: np.random.Generator) -> Path:
    camera = script.camera
    shaking = camera.shake > 0
    times = np.arange(0, script.duration + 0.1, 0.08 if shaking else 0.25)
    values = np.zeros((len(times), 6))
    values[:, 0] = camera.pan * np.sin(2 * math.pi * times / camera.period)
    values[:, 1] = camera.pan / 4 * np.sin(2 * math.pi * times / camera.period * 1.3)
    if shaking:
        values[:, :3] += rng.normal(0, camera.shake, (len(times), 3))
    return Path(times, np.radians(values), 'smooth')
