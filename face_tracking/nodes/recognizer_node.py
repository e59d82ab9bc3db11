# SPDX-License-Identifier: Apache-2.0
"""The recognizer node: publishes the names of the tracked faces, and enrolls people on request."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from face_tracking.backoff import Retry
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.frame import Frame
from face_tracking.nodes.diagnostics import ERROR, WARN, Report
from face_tracking.nodes.image_input import read_serialized_image
from face_tracking.nodes.image_messages import to_header
from face_tracking.nodes.log_limiter import as_user_error
from face_tracking.nodes.messages import tracks_from_message
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.people_messages import Names, people_to_message, track_names
from face_tracking.nodes.spin import run
from face_tracking.nodes.throttle import stamp_of
from face_tracking.nodes.worker import Worker
from face_tracking.options import option, rows_of
from face_tracking.recognition.identity import Identity
from face_tracking.recognition.recognition_options import (
    EmbeddingOptions,
    IdentityOptions,
    QualityOptions,
    RateOptions,
    RecognitionOptions,
)
from face_tracking.recognition.recognizer import FaceRecognizer, create_recognizer


@dataclass(frozen=True)
class RecognizerParameters(RecognitionOptions):
    """The parameters of the recognizer node."""

    person_name: str = option('', 'Name of the person for ~/enroll, ~/rename and ~/forget')
    person_new_name: str = option('', 'New name of person_name for ~/rename')
    person_id: str = option(
        '', 'Track id of the face that ~/enroll enrolls; empty = the face nearest the image center'
    )


_OF_THE_NETWORK = {row.name for row in rows_of(EmbeddingOptions)}
_AT_ONCE = {
    row.name
    for options in (IdentityOptions, QualityOptions, RateOptions)
    for row in rows_of(options)
} | {'keep_images', 'max_views'}
_WAITING_IMAGES = 6  # kept until the tracks of the same stamp are received
_MAX_LOADING = 900.0  # seconds, compiling the networks included
Hook = Callable[[Names], None]


class RecognizerNode(FaceNode[RecognizerParameters]):
    """Recognizes in a thread of its own; images that arrive while it is busy are passed over.

    :param subscribe: take images and tracks from topics; otherwise from :meth:`submit`.
    :ivar on_people: called in that thread with the names of the tracks that have one.
    """

    def __init__(self, subscribe: bool = True, **options: Any):
        super().__init__('recognizer_node', RecognizerParameters, **options)
        self.on_people: list[Hook] = []
        self._people = self.publisher('faces/people')
        self._recognizer: FaceRecognizer | None = None
        self._lock = threading.Lock()
        self._loading = Retry()
        self._known = 0
        self._tracks = Tracks()
        self._width, self._height = 0, 0
        self._images: OrderedDict[int, bytes] = OrderedDict()
        self._waiting: Tracks | None = None
        if subscribe:
            self.add_input('camera/image_raw', self._on_image, raw=True)
            self.add_input('faces/tracks', self._on_tracks)
        self._worker: Worker[tuple[Frame, Tracks] | None] = self.worker(
            self._work, name='recognizer'
        )
        for name, serve in (
            ('enroll', self._enroll),
            ('rename', self._rename),
            ('forget', self._forget),
            ('list_people', self._list),
        ):
            self.create_service(Trigger, f'~/{name}', serve)
        self.start()

    def configure(self) -> None:
        """Begin to load the networks and to open the gallery."""
        self._loading.request()
        self._worker.submit(None)

    def tick(self) -> None:
        """Ask the worker to load again if that has failed."""
        if self._loading.failures and self._loading.due:
            self._worker.submit(None)

    def submit(self, frame: Frame, tracks: Tracks) -> None:
        """Queue an image and its tracks by reference and return immediately. Thread-safe."""
        if self.active:
            self._worker.submit((frame, tracks))

    def apply(self, changed: set[str]) -> None:
        """Apply changed thresholds immediately; the worker loads a changed model."""
        if changed & _OF_THE_NETWORK:
            self._loading.request()
            self._worker.submit(None)
        elif changed & _AT_ONCE and self._recognizer is not None:
            self._recognizer.configure(self.parameters)

    def close(self) -> bool:
        """Stop the worker and close the database."""
        if not self._worker.close():
            return False
        with self._lock:
            if self._recognizer is not None:
                self._recognizer.close()
                self._recognizer = None
        return True

    def report(self, report: Report) -> None:
        """Report what runs, how many people are known, and what is wrong."""
        rate, values = self.meter.take()
        report.values.update(values, recognized=str(self._known))
        recognizer = self._recognizer
        if recognizer is not None:
            report.values.update(
                model=recognizer.embedder.model.name, gallery=str(recognizer.gallery.path)
            )
        if self._loading.problem is not None:
            report.say(ERROR, str(self._loading.problem))
        elif not self.active:
            return
        elif recognizer is None:
            report.say(WARN, 'loading the embedding network')
        elif rate == 0:
            report.say(WARN, 'no images with tracks received')

    # Topics

    def _on_image(self, serialized: bytes) -> None:
        self._images[stamp_of(serialized)] = serialized
        while len(self._images) > _WAITING_IMAGES:
            self._images.popitem(last=False)
        self._pair()

    def _on_tracks(self, message: Detection2DArray) -> None:
        self._waiting, refused = tracks_from_message(message)
        self.refuse('entries of faces/tracks', refused)
        self._pair()

    def _pair(self) -> None:
        """Hand the newest tracks on with the image of their stamp, whichever came first."""
        tracks = self._waiting
        if tracks is None:
            return
        image = self._images.pop(tracks.stamp, None)
        if image is None:  # a driver without stamps: the newest image is the best guess
            image = self._images.pop(0, None)
        if image is None:
            return
        self._waiting = None
        try:
            self.submit(read_serialized_image(image, Image, self.now()), tracks)
        except UserError as error:
            self.refuse_message('images', error)

    # In the worker's thread

    def _work(self, item: tuple[Frame, Tracks] | None) -> None:
        if self._loading.due:
            self._load()
        recognizer = self._recognizer
        if item is None or recognizer is None:
            return
        frame, tracks = item
        with self._lock:
            identities = recognizer.update(frame.image, tracks)
            self._tracks, self._width, self._height = tracks, frame.width, frame.height
        self._publish(frame, tracks, identities)
        self.meter.add({**recognizer.timings, 'latency': self.age(frame.stamp)})

    def _publish(self, frame: Frame, tracks: Tracks, identities: list[Identity]) -> None:
        names = track_names(tracks, identities)
        self._known = len(names)
        for hook in self.on_people:
            hook(names)
        if self._people.get_subscription_count():
            header = to_header(frame.stamp, frame.frame_id)
            self._people.publish(people_to_message(tracks, identities, header))

    def _load(self) -> None:
        """Load the network that the parameters name; keep the one before where that fails."""
        self._loading.begin()
        try:
            with self._worker.pulse.allow(_MAX_LOADING):
                loaded = create_recognizer(self.parameters)
        except Exception as error:
            problem = as_user_error(
                error,
                'recognition cannot be loaded',
                'choose another recognition_model or gallery',
            )
            if self._loading.failed(problem):
                self.get_logger().error(f'{problem} (tried again with growing pauses)')
            return
        with self._lock:
            before, self._recognizer = self._recognizer, loaded
            if before is not None:
                before.close()
        if self._loading.succeeded():
            self.get_logger().info('recognition was loaded on retry')

    # Services

    def _enroll(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._serve(response, self._enroll_face)

    def _rename(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def rename(recognizer: FaceRecognizer) -> str:
            name, new_name = self.parameters.person_name, self.parameters.person_new_name
            recognizer.rename(name, new_name)
            return f'{name} is now {new_name}'

        return self._serve(response, rename)

    def _forget(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def forget(recognizer: FaceRecognizer) -> str:
            recognizer.forget(self.parameters.person_name)
            return f'{self.parameters.person_name} is forgotten'

        return self._serve(response, forget)

    def _list(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def listed(recognizer: FaceRecognizer) -> str:
            names = [person.name for person in recognizer.gallery.people()]
            return json.dumps([*names, *recognizer.numbered()], ensure_ascii=False)

        return self._serve(response, listed)

    def _serve(
        self, response: Trigger.Response, action: Callable[[FaceRecognizer], str]
    ) -> Trigger.Response:
        """Do something with the recognizer and say how it went."""
        with self._lock:
            try:
                if self._recognizer is None:
                    raise self._loading.problem or UserError(
                        'the embedding network is still being loaded', 'try again in some seconds'
                    )
                response.message, response.success = action(self._recognizer), True
            except UserError as error:
                response.message, response.success = str(error), False
        return response

    def _enroll_face(self, recognizer: FaceRecognizer) -> str:
        name, wanted = self.parameters.person_name, self.parameters.person_id.strip()
        track = self._track_id(wanted) if wanted else self._nearest_to_center()
        if track is None or track not in self._tracks.ids:
            raise UserError(
                f'there is no face with track id {wanted[:20]!r} in view'
                if wanted
                else 'there is no face in view',
                'show the face to the camera, and see /faces/tracks for the ids',
            )
        added = recognizer.enroll_track(track, name)
        return f'{name} is enrolled from track {track} ({added} views added)'

    @staticmethod
    def _track_id(text: str) -> int | None:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None

    def _nearest_to_center(self) -> int | None:
        if not len(self._tracks):
            return None
        boxes = self._tracks.boxes
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        offsets = centers - np.array([self._width, self._height]) / 2
        return int(self._tracks.ids[np.hypot(*offsets.T).argmin()])


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [RecognizerNode()]


def main() -> int:
    """Run the recognizer node alone."""
    return run(build)
