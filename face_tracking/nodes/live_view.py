# SPDX-License-Identifier: Apache-2.0
"""Images with the faces in them, for streams: received only while there is a viewer.

An image is joined with the tracks of the same stamp. Faces are hidden before anything is drawn,
and where faces are to be hidden an image without tracks is never shown.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.exceptions import InvalidHandle
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from face_tracking.anonymize import (
    BLUR_POLICIES,
    NONE,
    BlurPolicy,
    BoxToHide,
    DelayedHiding,
)
from face_tracking.arrays import ImageArray
from face_tracking.faces import Tracks
from face_tracking.frame import Frame
from face_tracking.nodes.image_input import read_image
from face_tracking.nodes.image_messages import from_time
from face_tracking.nodes.messages import tracks_from_message
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.people_messages import Names, names_from_message
from face_tracking.nodes.throttle import Throttle
from face_tracking.nodes.worker import Worker
from face_tracking.options import Options, option
from face_tracking.visualization import annotate

_WAITING = 4  # images that wait for their tracks
_PATIENCE = 0.4  # seconds that an image waits for its tracks
_NAMES_HOLD = 2.0  # seconds


@dataclass(frozen=True)
class BlurOptions(Options):
    """Whose faces are hidden."""

    blur: str = option(
        NONE,
        'Whose faces are hidden: none, all, unknown (everyone without a name), all_but_named '
        '(everyone but blur_except)',
        choices=BLUR_POLICIES,
    )
    blur_except: str = option(
        '', 'People whose faces blur = all_but_named shows, separated by commas'
    )
    blur_delay: float = option(
        0.4,
        'Seconds by which images are delayed where faces are hidden, so that a face is hidden '
        'before its track is confirmed, too',
        0.0,
        3.0,
    )


@dataclass(frozen=True)
class ViewOptions(BlurOptions):
    """What a stream shows."""

    view_rate: float = option(15.0, 'Maximum rate of the stream, in images per second', 0.1, 60.0)
    draw_faces: bool = option(True, 'Draw boxes, ids and names into the stream')


@dataclass(frozen=True, eq=False)
class View:
    """An image that is ready to be shown.

    :ivar image: uint8 (height, width, 3), BGR.
    :ivar frame: the image as it was received.
    :ivar tracks: the tracked faces, None where none were received.
    """

    image: ImageArray
    frame: Frame
    tracks: Tracks | None


class LiveView:
    """Receives images and tracks while they are watched, and hands on what is to be shown.

    :param node: subscribes.
    :param options: what is shown; may be replaced at any time.
    :param handle: called in a thread of its own with each :class:`View`.
    """

    def __init__(self, node: FaceNode[Any], options: ViewOptions, handle: Callable[[View], None]):
        self.options = options
        self._node = node
        self._handle = handle
        self._wanted = False
        self._images: OrderedDict[int, tuple[float, Frame]] = OrderedDict()
        self._names: Names = {}
        self._names_at = float('-inf')
        self._next = 0.0
        self._hiding: DelayedHiding[tuple[Frame, Tracks, Names]] = DelayedHiding()
        self._size: tuple[int, int] | None = None
        self._worker: Worker[tuple[Frame, Tracks | None]] = node.worker(
            self._show, capacity=2, name='view'
        )
        for topic, callback in (
            (
                'camera/image_raw',
                Throttle(node, Image, self._on_image, 'images', wanted=self._is_due),
            ),
            (
                'faces/tracks',
                Throttle(
                    node,
                    Detection2DArray,
                    self._on_tracks,
                    'tracks',
                    wanted=lambda stamp: self._key(stamp) is not None,
                ),
            ),
            (
                'faces/people',
                Throttle(node, Detection2DArray, self._on_names, 'names', period=0.1),
            ),
        ):
            node.add_input(topic, callback, raw=True, needed=lambda: self._wanted)
        # Subscriptions change in the executor's thread only.
        self._switch = node.create_guard_condition(self._apply)

    @property
    def watched(self) -> bool:
        """Whether images are received."""
        return self._wanted

    def watch(self, wanted: bool) -> None:
        """Begin or stop to receive images; thread-safe."""
        self._wanted = wanted
        # A thread of a server may report that its client left after the node is destroyed.
        with contextlib.suppress(InvalidHandle):
            self._switch.trigger()

    def clear(self) -> None:
        """Drop the images that wait."""
        self._images.clear()
        self._worker.clear()
        self._hiding.clear()

    def close(self) -> bool:
        """Stop the thread; return whether it has ended."""
        return self._worker.close()

    def _apply(self) -> None:
        self._node.update_inputs()
        if not self._wanted:
            self.clear()

    def _is_due(self, stamp: int) -> bool:
        """Return whether an image is due; pass on those that waited too long for tracks."""
        now = time.monotonic()
        while self._images:
            waiting, (since, frame) = next(iter(self._images.items()))
            if now - since < _PATIENCE and len(self._images) < _WAITING:
                break
            del self._images[waiting]
            if self.options.blur == NONE:
                self._worker.submit((frame, None))
        if now < self._next:
            return False
        period = 1 / self.options.view_rate
        self._next = max(self._next + period, now - period)
        return True

    def _on_image(self, message: Image) -> None:
        frame = read_image(message, self._node.now())
        self._images[from_time(message.header.stamp)] = time.monotonic(), frame

    def _on_tracks(self, message: Detection2DArray) -> None:
        tracks, _ = tracks_from_message(message)
        key = self._key(tracks.stamp)
        if key is not None:
            _, frame = self._images.pop(key)
            self._worker.submit((frame, tracks))

    def _key(self, stamp: int) -> int | None:
        """Return under which stamp the image of some tracks waits, None if there is none."""
        if stamp in self._images:
            return stamp
        # A driver without stamps: the newest image may be later than the tracks, which is near
        # enough for boxes that are drawn, but not for faces that are to be hidden.
        return 0 if 0 in self._images and self.options.blur == NONE else None

    def _on_names(self, message: Detection2DArray) -> None:
        self._names, self._names_at = names_from_message(message), time.monotonic()

    # The worker's thread.

    def _show(self, work: tuple[Frame, Tracks | None]) -> None:
        frame, tracks = work
        names = self._names if time.monotonic() - self._names_at < _NAMES_HOLD else {}
        if self.options.blur == NONE or tracks is None:
            self._hand_on(frame.image, frame, tracks, names)
            return
        if (frame.width, frame.height) != self._size:
            self._size = frame.width, frame.height
            self._hiding.clear()
        self._hiding.delay = round(self.options.blur_delay * self.options.view_rate)
        policy = BlurPolicy.parse(self.options.blur, self.options.blur_except)
        faces = [
            BoxToHide(str(number), tuple(box), names.get(str(number), ('', 0))[0])
            for number, box in zip(tracks.ids.tolist(), tracks.boxes.tolist(), strict=True)
        ]
        for image, tag in self._hiding.push(frame.image, (frame, tracks, names), faces, policy):
            self._hand_on(image, *tag)

    def _hand_on(
        self, image: ImageArray, frame: Frame, tracks: Tracks | None, names: Names
    ) -> None:
        if self.options.draw_faces and tracks is not None:
            labels = {
                number: names[str(number)][0]
                for number in tracks.ids.tolist()
                if names.get(str(number), ('', 0))[0]
            }
            image = annotate(image, tracks, labels=labels)
        self._handle(View(image, frame, tracks))
