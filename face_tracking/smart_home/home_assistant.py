# SPDX-License-Identifier: Apache-2.0
"""MQTT discovery for Home Assistant, and the topics behind each entity."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from face_tracking.events.event import (
    COUNT_CHANGED,
    EVENT_KINDS,
    LOOKED_AT_ME,
    RECOGNIZED,
    WHOLE_VIEW,
    FaceEvent,
)
from face_tracking.events.event_json import event_to_json

DISCOVERY_PREFIX = 'homeassistant'
HOME_ASSISTANT_STATUS = f'{DISCOVERY_PREFIX}/status'
"""Home Assistant publishes ``online`` here when it starts, and then expects discovery again."""
ORIGIN_URL = 'https://index.ros.org/p/face_tracking'


def safe_id(text: str) -> str:
    """Return text as a part of topics and ids: letters, digits, _ and - only."""
    return re.sub(r'[^A-Za-z0-9_-]+', '_', text).strip('_')[:64] or 'robot'


@dataclass(frozen=True)
class TopicNames:
    """The topics of one robot.

    :ivar base: what they begin with, such as ``face_tracking/robot1``.
    """

    base: str

    @property
    def status(self) -> str:
        """``online`` or ``offline``."""
        return f'{self.base}/status'

    @property
    def state(self) -> str:
        """Occupancy, count and last person, as JSON, retained."""
        return f'{self.base}/state'

    @property
    def event(self) -> str:
        """Each event, as JSON (config/event.schema.json)."""
        return f'{self.base}/event'

    @property
    def image(self) -> str:
        """An image now and then, as JPEG."""
        return f'{self.base}/image'

    @property
    def detection(self) -> str:
        """``ON`` or ``OFF``: whether the detector runs."""
        return f'{self.base}/detection'

    @property
    def detection_command(self) -> str:
        """``ON`` or ``OFF`` switches the detector."""
        return f'{self.base}/detection/set'

    @property
    def detection_wanted(self) -> str:
        """``ON`` or ``OFF``, retained: what was last asked for, for a robot that restarts."""
        return f'{self.base}/detection/wanted'

    def zone(self, name: str) -> str:
        """Occupancy and count of a zone, as JSON, retained."""
        return f'{self.base}/zone/{safe_id(name)}'


@dataclass
class HomeState:
    """What the entities show, from events.

    :ivar count: people in the whole view.
    :ivar last_person: the person who was last recognized.
    :ivar zones: people in each zone.
    """

    count: int = 0
    last_person: str = ''
    zones: dict[str, int] = field(default_factory=dict)

    def take(self, event: FaceEvent) -> None:
        """Update the state from an event."""
        if event.kind == COUNT_CHANGED:
            if event.zone == WHOLE_VIEW:
                self.count = event.count
            elif event.zone in self.zones:
                self.zones[event.zone] = event.count
        elif event.kind in (RECOGNIZED, LOOKED_AT_ME) and event.person:
            self.last_person = event.person

    def empty(self) -> bool:
        """Record that no person is visible any more; return whether that is a change."""
        news = bool(self.count or any(self.zones.values()))
        self.count, self.zones = 0, dict.fromkeys(self.zones, 0)
        return news

    def messages(self, topics: TopicNames) -> dict[str, str]:
        """Return the payload of each retained topic."""
        state = {
            'occupancy': 'ON' if self.count else 'OFF',
            'count': self.count,
            'last_person': self.last_person or 'unknown',
        }
        result = {topics.state: json.dumps(state, ensure_ascii=False)}
        for name, count in self.zones.items():
            result[topics.zone(name)] = json.dumps(
                {'occupancy': 'ON' if count else 'OFF', 'count': count}
            )
        return result


def event_payload(event: FaceEvent) -> str:
    """Return an event as Home Assistant's event entity takes it: our JSON plus ``event_type``."""
    record = json.loads(event_to_json(event))
    return json.dumps({'event_type': event.kind, **record}, ensure_ascii=False)


def discovery(
    device_id: str,
    name: str,
    version: str,
    topics: TopicNames,
    zones: tuple[str, ...] = (),
    images: bool = True,
) -> tuple[str, str]:
    """Return topic and payload that make a device with all its entities appear.

    :param device_id: unique in the home; see :func:`safe_id`.
    :param name: as people read it.
    :param zones: names of zones, each with an occupancy entity.
    :param images: whether images are sent; without them there is no entity for them.
    """
    components: dict[str, dict[str, Any]] = {
        'occupancy': _entity(
            'binary_sensor',
            'Occupancy',
            device_class='occupancy',
            state_topic=topics.state,
            value_template='{{ value_json.occupancy }}',
        ),
        'count': _entity(
            'sensor',
            'People',
            icon='mdi:account-group',
            state_topic=topics.state,
            state_class='measurement',
            value_template='{{ value_json.count }}',
        ),
        'last_person': _entity(
            'sensor',
            'Last person',
            icon='mdi:account',
            state_topic=topics.state,
            value_template='{{ value_json.last_person }}',
        ),
        'event': _entity(
            'event', 'Event', state_topic=topics.event, event_types=list(EVENT_KINDS)
        ),
        'detection': _entity(
            'switch',
            'Detection',
            icon='mdi:face-recognition',
            state_topic=topics.detection,
            command_topic=topics.detection_command,
        ),
    }
    if images:
        components['image'] = _entity(
            'image', 'Image', image_topic=topics.image, content_type='image/jpeg'
        )
    for zone in zones:
        components[f'zone_{safe_id(zone)}'] = _entity(
            'binary_sensor',
            f'Occupancy {zone}',
            device_class='occupancy',
            state_topic=topics.zone(zone),
            value_template='{{ value_json.occupancy }}',
        )
    for key, component in components.items():
        component['unique_id'] = f'{device_id}_{key}'
    payload = {
        'device': {
            'identifiers': [device_id],
            'name': name,
            'manufacturer': 'face_tracking',
            'model': 'Face tracking robot',
            'sw_version': version,
        },
        'origin': {'name': 'face_tracking', 'sw_version': version, 'support_url': ORIGIN_URL},
        'availability_topic': topics.status,
        'components': components,
    }
    return f'{DISCOVERY_PREFIX}/device/{device_id}/config', json.dumps(payload)


def _entity(platform: str, name: str, **more: Any) -> dict[str, Any]:
    return {'platform': platform, 'name': name, **more}
