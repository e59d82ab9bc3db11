# SPDX-License-Identifier: Apache-2.0
"""What a rule can do; one record for each kind of action."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from face_tracking.errors import UserError
from face_tracking.events.event import FaceEvent

PLACEHOLDERS = ('person', 'zone', 'count', 'event', 'id', 'time', 'duration')
"""What a text of a rule may contain in braces."""
MAX_TEXT = 500


@dataclass(frozen=True)
class Text:
    """A text with placeholders such as ``{person}``.

    :ivar template: see :data:`PLACEHOLDERS`; ``{{`` is a brace.
    """

    template: str

    def __post_init__(self) -> None:
        if len(self.template) > MAX_TEXT:
            raise UserError(
                f'a text has {len(self.template)} characters', f'use at most {MAX_TEXT}'
            )
        try:
            fields = [
                part for part in string.Formatter().parse(self.template) if part[1] is not None
            ]
        except ValueError:
            raise UserError(
                f'braces do not match in {self.template[:60]!r}',
                'write {{ and }} for braces in the text',
            ) from None
        for _, name, form, conversion in fields:
            if name not in PLACEHOLDERS or form or conversion:
                raise UserError(
                    f'{{{name}}} in {self.template[:60]!r} is not a placeholder',
                    f'use {{{"}, {".join(PLACEHOLDERS)}}}',
                )

    def fill(self, event: FaceEvent, spoken: str = '') -> str:
        """Return the text for an event.

        :param spoken: stands for the person's name, empty for the name itself.
        """
        if '{' not in self.template and '}' not in self.template:
            return self.template
        return self.template.format(
            person=spoken or event.person or 'unknown',
            zone=event.zone or ', '.join(event.inside),
            count=event.count,
            event=event.kind,
            id=event.track_id,
            duration=f'{event.duration:.0f}',
            time=datetime.now().strftime('%H:%M'),
        )


@dataclass(frozen=True)
class Say:
    """Speak a sentence.

    :ivar text: the sentence.
    :ivar language: such as ``en`` or ``de``; empty for the person's or the default language.
    """

    text: Text
    language: str = ''


@dataclass(frozen=True)
class PublishMessage:
    """Publish a message on a ROS topic.

    :ivar topic: name of the topic.
    :ivar type: such as ``std_msgs/msg/String``.
    :ivar value: field names and values, nested for messages in messages; texts may hold
        placeholders.
    """

    topic: str
    type: str
    value: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class CallService:
    """Call a std_srvs service.

    :ivar service: name of the service.
    :ivar type: ``std_srvs/srv/Trigger``, ``SetBool`` or ``Empty``.
    :ivar data: the request of a SetBool.
    """

    service: str
    type: str = 'std_srvs/srv/Trigger'
    data: bool = True


@dataclass(frozen=True)
class PublishMqtt:
    """Publish on an MQTT topic, through the mqtt_node.

    :ivar topic: name of the topic; a person's name in it loses ``/``, ``+`` and ``#``.
    :ivar payload: text of the message.
    :ivar retain: whether the broker keeps it for later subscribers.
    """

    topic: Text
    payload: Text
    retain: bool = False


@dataclass(frozen=True)
class RunCommand:
    """Run a command of the configured list.

    :ivar name: name in the list.
    """

    name: str


@dataclass(frozen=True)
class SetPin:
    """Switch an output pin.

    :ivar pin: GPIO number (BCM).
    :ivar on: the new state.
    :ivar seconds: time after which the pin returns to the other state; 0 for never.
    :ivar active_high: whether on means 3.3 V; False for relays that switch on at 0 V.
    """

    pin: int
    on: bool = True
    seconds: float = 0.0
    active_high: bool = True


Action = Say | PublishMessage | CallService | PublishMqtt | RunCommand | SetPin
