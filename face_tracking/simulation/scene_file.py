# SPDX-License-Identifier: Apache-2.0
"""Reading of scenes from YAML, with the photographs that they name.

Angles in the files are in degrees, distances in meters, times in seconds; ``config/scenes`` holds
the built-in ones, commented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

import cv2
import numpy as np
import yaml

from face_tracking.arrays import Array
from face_tracking.camera.image_file import read_image
from face_tracking.errors import UserError
from face_tracking.files import expand, read_text, share_dir
from face_tracking.simulation import room_painter
from face_tracking.simulation.scene import Actor, Backdrop, Cutout, Look, Scene
from face_tracking.simulation.waypoints import Path, Sway

DEFAULT_SCENE = 'portraits'
FACE_WIDTH = 0.15  # meters, ear to ear
ACTOR_KEYS = {'azimuth': 0.0, 'elevation': 0.0, 'distance': 1.6, 'roll': 0.0, 'turn': 0.0}
CAMERA_KEYS = {'azimuth': 0.0, 'elevation': 0.0, 'roll': 0.0, 'x': 0.0, 'y': 0.0, 'z': 0.0}
LENGTHS = ('distance', 'x', 'y', 'z')
SOFTNESS = 1.3  # pixels: the standard deviation of an outline's edge


def scenes_dir() -> FilePath:
    """Return the folder of the built-in scenes."""
    return share_dir() / 'config' / 'scenes'


def scene_names() -> list[str]:
    """Return the names of the built-in scenes."""
    return sorted(path.stem for path in scenes_dir().glob('*.yaml') if path.stem != 'library')


def load_scene(name: str = DEFAULT_SCENE) -> Scene:
    """Return a built-in scene by its name, or the scene of a YAML file.

    :raises UserError: when there is none or it is not a scene.
    """
    path = expand(name)
    if path.suffix not in ('.yaml', '.yml'):
        path = scenes_dir() / f'{name}.yaml'
        if not path.is_file():
            raise UserError(
                f'scene "{name}" does not exist',
                f"give one of {', '.join(scene_names())}, or a scene's YAML file",
            )
    return scene_of(_read_yaml(path), path)


def scene_of(content: Mapping[str, Any], path: FilePath = FilePath('scene.yaml')) -> Scene:
    """Return the scene that a scene file's content describes; ``path`` names it in errors."""
    try:
        return _Reader(content, path).scene()
    except UserError:
        raise
    except KeyError as error:
        raise UserError(
            f'the scene {path} lacks or misspells {error}',
            f'compare it with those in {scenes_dir()}',
        ) from error
    except Exception as error:  # content from outside can break any assumption
        raise UserError(
            f'the scene {path} is not valid ({" ".join(str(error).split())[:200]})',
            f'compare it with those in {scenes_dir()}',
        ) from error


def _read_yaml(path: FilePath) -> Mapping[str, Any]:
    text = read_text(path, 'scene')
    try:
        content = yaml.safe_load(text)
    except Exception as error:  # also dates that do not exist and nesting without end
        where = getattr(error, 'problem_mark', None)
        line = f' (line {where.line + 1})' if where else ''
        raise UserError(f'the scene {path} is not YAML{line}', 'correct the YAML') from error
    if not isinstance(content, Mapping):
        raise UserError(
            f'the scene {path} is not a mapping', f'compare it with those in {scenes_dir()}'
        )
    return content


@lru_cache(maxsize=1)
def _library() -> Mapping[str, Any]:
    return _read_yaml(scenes_dir() / 'library.yaml')


class _Reader:
    """Turns one scene file's content into a scene."""

    def __init__(self, content: Mapping[str, Any], path: FilePath):
        self._content = content
        self._path = path
        _known(content, {'seed', 'duration', 'room', 'camera', 'people', 'occluders', 'look'})
        self._seed = int(content.get('seed', 0))

    def scene(self) -> Scene:
        people = [
            self._person(entry, index + 1)
            for index, entry in enumerate(self._content.get('people') or [])
        ]
        occluders = [self._occluder(entry) for entry in self._content.get('occluders') or []]
        return Scene(
            backdrop=_backdrop(
                yaml.safe_dump(self._content.get('room') or {}), self._path.parent, self._seed
            ),
            actors=(*people, *occluders),
            camera=_path(self._content.get('camera') or {}, CAMERA_KEYS, phase=self._seed),
            look=Look(**(self._content.get('look') or {})),
            duration=_duration(self._content),
            seed=self._seed,
            name=self._path.stem,
        )

    def _person(self, entry: Mapping[str, Any], identity: int) -> Actor:
        _known(
            entry,
            {
                'portrait',
                'name',
                'face_width',
                'gain',
                'mirror',
                'present',
                'path',
                'interpolation',
                'sway',
            },
        )
        cutout = _portrait(
            entry['portrait'],
            self._path.parent,
            float(entry.get('gain', 1.0)),
            bool(entry.get('mirror', False)),
        )
        left, _, right, _ = np.zeros(4) if cutout.face is None else cutout.face
        pixel_size = float(entry.get('face_width', FACE_WIDTH)) / (right - left)
        return Actor(
            cutout,
            pixel_size,
            _path(entry, ACTOR_KEYS, phase=identity),
            identity,
            str(entry.get('name', entry['portrait'])),
            _present(entry),
        )

    def _occluder(self, entry: Mapping[str, Any]) -> Actor:
        _known(
            entry,
            {'image', 'color', 'width', 'height', 'present', 'path', 'interpolation', 'sway'},
        )
        width, height = float(entry['width']), float(entry['height'])
        size = (max(round(200 * width), 8), max(round(200 * height), 8))
        if 'image' in entry:
            image = cv2.resize(load_photo(entry['image'], self._path.parent), size)
        else:
            image = np.full(
                (size[1], size[0], 3), entry.get('color', [70, 80, 90])[::-1], np.uint8
            )
        alpha = np.zeros(size[::-1], np.uint8)
        alpha[2:-2, 2:-2] = 255
        cutout = Cutout.from_image(image, cv2.GaussianBlur(alpha, (0, 0), 1))
        return Actor(cutout, width / size[0], _path(entry, ACTOR_KEYS), present=_present(entry))


def load_photo(name: str, folder: FilePath = FilePath('.')) -> Array:
    """Return a photograph, uint8 (H, W, 3) BGR.

    :param name: ``skimage:FILE`` or ``matplotlib:FILE`` for a photograph of these packages,
        or a path, relative to ``folder``.
    """
    package, colon, file = name.partition(':')
    if colon and package == 'skimage':
        return read_image(_skimage_folder() / file)
    if colon and package == 'matplotlib':
        return read_image(_matplotlib_folder() / file)
    return read_image(folder / name)


def _skimage_folder() -> FilePath:
    try:
        import skimage.data
    except ImportError as error:
        raise UserError(
            'the photographs of this scene are part of scikit-image, which is not installed',
            'install it: pip install scikit-image, or python3-skimage',
        ) from error
    return FilePath(skimage.data.__file__).parent


def _matplotlib_folder() -> FilePath:
    try:
        import matplotlib
    except ImportError as error:
        raise UserError(
            'the photographs of this scene are part of matplotlib, which is not installed',
            'install it: pip install matplotlib, or python3-matplotlib',
        ) from error
    return FilePath(matplotlib.get_data_path()) / 'sample_data'


@lru_cache(maxsize=4)
def _backdrop(room: str, folder: FilePath, seed: int) -> Backdrop:
    """Return the painted room; cached, since several scenes share the default."""
    content = {**_library()['room'], **yaml.safe_load(room)}
    _known(content, {'photographs', 'wood', 'wall', 'ledge'})
    photographs = [
        room_painter.Framed(
            load_photo(entry['image'], folder),
            *(math.radians(entry[key]) for key in ('azimuth', 'elevation', 'width')),
        )
        for entry in content['photographs']
    ]
    x1, y1, x2, y2 = content['wood']['crop']
    wood = load_photo(content['wood']['image'], folder)[y1:y2, x1:x2]
    red, green, blue = content['wall']
    walls = room_painter.Room(wall=(blue, green, red), ledge=math.radians(content['ledge']))
    return room_painter.paint(walls, photographs, wood, seed)


@lru_cache(maxsize=16)
def _portrait(name: str, folder: FilePath, gain: float, mirror: bool) -> Cutout:
    library = _library()['portraits']
    if name not in library:
        raise UserError(f'portrait "{name}" does not exist', f'give one of {", ".join(library)}')
    entry = library[name]
    image = load_photo(entry['image'], folder)
    alpha = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(alpha, [np.array(entry['outline'], np.int32)], (255,))
    # Cut a little inside the outline, so that the old background leaves no edge.
    alpha = cv2.erode(alpha, np.ones((3, 3), np.uint8))
    alpha = cv2.GaussianBlur(alpha, (0, 0), SOFTNESS, borderType=cv2.BORDER_REPLICATE)
    if 'extend' in entry:
        image, alpha = (_extended(layer, **entry['extend']) for layer in (image, alpha))
    image = cv2.convertScaleAbs(image, alpha=gain)
    x1, y1, x2, y2 = entry['face']
    if mirror:
        image, alpha = image[:, ::-1], alpha[:, ::-1]
        x1, x2 = image.shape[1] - x2, image.shape[1] - x1
    return Cutout.from_image(image, alpha, (x1, y1, x2, y2))


def _extended(layer: Array, below: int, rows: int) -> Array:
    return cv2.copyMakeBorder(layer[:below], 0, rows, 0, 0, cv2.BORDER_REPLICATE)


def _path(entry: Mapping[str, Any], keys: Mapping[str, float], phase: float = 0.0) -> Path:
    """Return a path from waypoints; values that a waypoint omits stay unchanged."""
    waypoints = entry.get('path') or [{'t': 0}]
    values, rows = dict(keys), []
    for waypoint in waypoints:
        _known(waypoint, {'t', *keys})
        values.update({key: waypoint[key] for key in waypoint if key != 't'})
        rows.append(_si(values, keys))
    sway = entry.get('sway')
    if sway is not None:
        _known(sway, {'period', *keys})
        zero = dict.fromkeys(keys, 0.0)
        sway = Sway(
            np.array(_si({**zero, **{k: v for k, v in sway.items() if k != 'period'}}, keys)),
            float(sway.get('period', 3.0)),
            phase,
        )
    return Path(
        [float(waypoint['t']) for waypoint in waypoints],
        rows,
        entry.get('interpolation', 'smooth'),
        sway,
    )


def _si(values: Mapping[str, float], keys: Mapping[str, float]) -> list[float]:
    return [float(values[key]) if key in LENGTHS else math.radians(values[key]) for key in keys]


def _duration(content: Mapping[str, Any]) -> float:
    duration = float(content.get('duration', 20.0))
    if not 0 < duration < math.inf:
        raise ValueError(f'a duration of {duration} s')
    return duration


def _present(entry: Mapping[str, Any]) -> tuple[float, float]:
    start, end = entry.get('present', (-math.inf, math.inf))
    return float(start), float(end)


def _known(entry: Mapping[str, Any], keys: set[str]) -> None:
    for key in entry:
        if key not in keys:
            raise KeyError(key)
