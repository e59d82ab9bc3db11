# SPDX-License-Identifier: Apache-2.0
"""The events node: who arrived, left, was recognized or looked here, and what is done about it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from face_tracking.events.action_file import ActionConfig
from face_tracking.events.event import FaceEvent, ObservedFace
from face_tracking.events.event_detector import EventDetector, EventTiming
from face_tracking.events.event_json import event_to_json
from face_tracking.events.rules import RuleTable
from face_tracking.faces import Tracks
from face_tracking.frame import Frame
from face_tracking.nodes.action_file_input import ActionFileInput
from face_tracking.nodes.camera_info import image_size
from face_tracking.nodes.diagnostics import WARN, Report
from face_tracking.nodes.image_messages import to_header
from face_tracking.nodes.messages import tracks_from_message
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.people_messages import (
    Names,
    attention_from_message,
    events_to_message,
    names_from_message,
    observed_faces,
)
from face_tracking.nodes.rule_actions import RuleActions
from face_tracking.nodes.rule_needs import missing_need
from face_tracking.nodes.shared_options import ActionFileOptions
from face_tracking.nodes.spin import run
from face_tracking.nodes.throttle import Throttle
from face_tracking.nodes.topics import SERVICES
from face_tracking.nodes.worker import Worker
from face_tracking.options import Options, option

_SILENCE = 1.0  # seconds without tracks after which no person counts as visible
_FORGET = 2.0  # seconds for which names and attention hold


@dataclass(frozen=True)
class EventTimingOptions(Options):
    """Minimum times before a change is an event."""

    arrive_after: float = option(0.5, 'Seconds a face must be visible to have arrived', 0, 60)
    leave_after: float = option(3.0, 'Seconds a face must be missing to have left', 0, 3600)
    recognize_after: float = option(0.3, 'Seconds a name must hold to be reported', 0, 60)
    look_after: float = option(0.6, 'Seconds a person must look at the camera', 0, 60)
    look_away_after: float = option(1.0, 'Seconds a person must look elsewhere', 0, 60)
    count_after: float = option(0.5, 'Seconds a number of people must hold', 0, 60)


@dataclass(frozen=True)
class EventsParameters(EventTimingOptions, ActionFileOptions):
    """The parameters of the events node."""

    event_rate: float = option(
        10.0, 'Rate at which tracks are examined, in Hz; tracks between are ignored', 1.0, 60.0
    )
    run_rules: bool = option(True, 'Apply the rules of actions_file; false = only publish events')


class EventsNode(FaceNode[EventsParameters]):
    """Turns tracks, names and attention into events, and events into actions.

    :param subscribe: whether to receive tracks and names from topics; otherwise by :meth:`submit`
        and :meth:`set_names`, and events are made in a thread of their own.
    """

    def __init__(self, subscribe: bool = True, **options: Any):
        super().__init__('events_node', EventsParameters, **options)
        self._typed = self.publisher('faces/events')
        self._json = self.publisher('faces/events/json')
        self._sentences = self.publisher('faces/say')
        self._mqtt = self.publisher('faces/mqtt')
        self._names: Names = {}
        self._attention: dict[str, bool] = {}
        self._heard = dict.fromkeys(('tracks', 'names', 'attention'), float('-inf'))
        self._taken = float('-inf')
        self._image_size: tuple[int, int] | None = None
        self._last_event = ''
        self._config = ActionConfig()
        self._rules = RuleTable()
        self._actions: RuleActions | None = None
        self._detector = EventDetector(self._timing())
        self._lock = threading.Lock()
        self._file = ActionFileInput(self, self.parameters.actions_file, self._use)
        self._file.read()
        period = 1 / self.parameters.event_rate
        detections = Detection2DArray
        self._tracks = Throttle(self, detections, self._on_tracks, 'tracks', period)
        self._worker: Worker[tuple[Frame, Tracks]] | None = None
        attention = Throttle(self, detections, self._on_attention, 'faces/attention', period)
        self.add_input('faces/attention', attention, raw=True)
        if subscribe:
            self.add_input('faces/tracks', self._tracks, raw=True)
            names = Throttle(self, detections, self._on_names, 'faces/people', period)
            self.add_input('faces/people', names, raw=True)
            self.add_input(
                'camera/camera_info',
                Throttle(self, CameraInfo, self._on_camera_info, 'camera_info', 1.0),
                raw=True,
                needed=lambda: bool(self._config.zones),
            )
        else:
            self._worker = self.worker(self._work, name='events')
        self.create_service(Trigger, SERVICES['~/reload'].name, self._on_reload)
        self.start()

    def submit(self, frame: Frame, tracks: Tracks) -> None:
        """Queue the tracks of an image by reference and return immediately. Thread-safe."""
        now = time.monotonic()
        if (
            self._worker is None
            or not self.active
            or now - self._taken < 0.9 * self._tracks.period
        ):
            return
        self._taken = now
        self._worker.submit((frame, tracks))

    def set_names(self, names: Names) -> None:
        """Set the names of the tracks that have one. Thread-safe."""
        self._names, self._heard['names'] = names, time.monotonic()

    def apply(self, changed: set[str]) -> None:
        """Apply changed parameters; visits go on."""
        self._detector.timing = self._timing()
        self._tracks.period = 1 / self.parameters.event_rate

    def deactivate(self) -> None:
        """Drop the visits: who is present when the node is activated again is not known."""
        with self._lock:
            self._detector = EventDetector(self._timing(), self._config.zones)

    def close(self) -> bool:
        """End commands and switch pins off."""
        ended = self._worker is None or self._worker.close()
        if self._actions is not None:
            self._actions.close()
            self._actions = None
        return ended

    def report(self, report: Report) -> None:
        """Fill in the diagnostics."""
        _, values = self.meter.take()
        report.values.update(
            values,
            people=str(len(self._detector.present())),
            rules=str(len(self._rules.rules)),
            suppressed=str(self._rules.suppressed),
            last_event=self._last_event,
        )
        self._file.report(report)
        if not self.active or self._file.problem is not None:
            return
        if time.monotonic() - self._heard['tracks'] > _SILENCE:
            report.say(WARN, 'no tracks received')
        elif self._config.zones and self._image_size is None:
            report.say(WARN, 'no camera/camera_info received: zones cannot be located')
        elif need := self._missing_need():
            report.say(WARN, need)

    def _missing_need(self) -> str:
        """Return why a rule cannot work with the nodes that run, '' if all can."""
        readers = {'faces/say': self._sentences, 'faces/mqtt': self._mqtt}
        named = self._heard['names'] > float('-inf')  # they may come by reference
        return missing_need(
            self._rules.rules if self.parameters.run_rules else (),
            lambda topic: (named and topic == 'faces/people') or self.publishers_of(topic) > 0,
            lambda topic: readers[topic].get_subscription_count() > 0,
        )

    def _timing(self) -> EventTiming:
        options = self.store.get(EventTimingOptions)
        return EventTiming(**{name: getattr(options, name) for name in vars(options)})

    def _use(self, config: ActionConfig) -> None:
        """Use the rules and zones of a file."""
        actions = RuleActions(self, config, self._sentences, self._mqtt)
        if self._actions is not None:
            self._actions.close()
        with self._lock:
            self._config, self._actions = config, actions
            self._rules = RuleTable(config.rules)
            if config.zones != self._detector.zones:
                self._detector = EventDetector(self._timing(), config.zones)
        self.update_inputs()

    def _on_reload(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._file.read()
        response.success = self._file.problem is None
        response.message = str(self._file.problem or f'{len(self._rules.rules)} rules')
        return response

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._image_size = image_size(message)

    def _on_names(self, message: Detection2DArray) -> None:
        self._names, self._heard['names'] = names_from_message(message), time.monotonic()

    def _on_attention(self, message: Detection2DArray) -> None:
        self._attention = attention_from_message(message)
        self._heard['attention'] = time.monotonic()

    def _on_tracks(self, message: Detection2DArray) -> None:
        tracks, refused = tracks_from_message(message)
        self.refuse('entries of faces/tracks', refused)
        self._examine(tracks, message.header.frame_id)

    def _work(self, work: tuple[Frame, Tracks]) -> None:
        frame, tracks = work
        self._image_size = frame.width, frame.height
        self._examine(tracks, frame.frame_id)

    def _examine(self, tracks: Tracks, frame_id: str) -> None:
        now = time.monotonic()
        self._heard['tracks'] = now
        names = self._names if now - self._heard['names'] < _FORGET else {}
        attention = self._attention if now - self._heard['attention'] < _FORGET else {}
        faces = observed_faces(tracks, names, attention)
        self._update(faces, now, max(tracks.stamp, 0), frame_id)
        self.meter.add(
            {'examine': 1e3 * (time.monotonic() - now), 'latency': self.age(tracks.stamp)}
        )

    def tick(self) -> None:
        """Notice that people left where no tracks are received any more."""
        self._file.tick()
        now = time.monotonic()
        if self.active and now - self._heard['tracks'] > _SILENCE:
            self._update([], now, max(self.now(), 0), '')

    def _update(self, faces: list[ObservedFace], now: float, stamp: int, frame_id: str) -> None:
        with self._lock:
            events = self._detector.update(faces, now, stamp, self._image_size)
        if not events:
            return
        self._typed.publish(events_to_message(events, to_header(stamp, frame_id)))
        for event in events:
            self._last_event = event.kind
            self.meter.count(event.kind)
            self._json.publish(String(data=event_to_json(event)))
            if self.parameters.run_rules:
                self._apply_rules(event, now)

    def _apply_rules(self, event: FaceEvent, now: float) -> None:
        for rule in self._rules.match(event, now, datetime.now()):
            self.meter.count('rules applied')
            for action in rule.actions:
                if self._actions is not None:
                    self._actions.apply(action, event)


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [EventsNode()]


def main() -> int:
    """Run the events node alone."""
    return run(build)
