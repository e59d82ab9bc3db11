# SPDX-License-Identifier: Apache-2.0
"""The speech node: speaks sentences one after another, and greets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from std_msgs.msg import String
from std_srvs.srv import Trigger

from face_tracking.events.action_file import ActionConfig
from face_tracking.events.action_records import Say
from face_tracking.events.event import FaceEvent
from face_tracking.events.event_json import event_from_json
from face_tracking.files import expand
from face_tracking.nodes.action_file_input import ActionFileInput
from face_tracking.nodes.diagnostics import OK, Report
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.shared_options import ActionFileOptions
from face_tracking.nodes.speech_engines import ActionEngine, TopicEngine
from face_tracking.nodes.spin import run
from face_tracking.nodes.throttle import Throttle
from face_tracking.nodes.topics import SERVICES
from face_tracking.options import option
from face_tracking.speech.audio_player import MAX_KEPT, AudioEngine
from face_tracking.speech.greetings import LANGUAGES, Greeter
from face_tracking.speech.sentence import Sentence, sentence_from_message
from face_tracking.speech.speaker import Speaker
from face_tracking.speech.speech_engine import SYNTHESIZERS, SpeechEngine, create_synthesizer
from face_tracking.time_window import TimeWindow


@dataclass(frozen=True)
class SpeechParameters(ActionFileOptions):
    """The parameters of the speech node."""

    engine: str = option(
        'espeak-ng',
        'Speech engine: espeak-ng, piper, topic (publishes on say_topic), action (sends a goal '
        'to say_action)',
        choices=(*SYNTHESIZERS, 'topic', 'action'),
        read_only=True,
    )
    voice: str = option(
        '',
        'Voice of the engine: a name for espeak-ng, an .onnx file or a folder of them for piper; '
        'empty = by language',
        read_only=True,
    )
    speed: float = option(1.0, 'Speed of speech, 1 = normal', 0.5, 2.0, read_only=True)
    volume: float = option(1.0, 'Volume, 0 to 1; 0 = silent', 0.0, 1.0)
    quiet_hours: str = option(
        '',
        'Local times at which nothing is spoken, such as 22:00-07:00; several are separated by '
        'commas',
    )
    language: str = option(
        'en',
        'Language of greetings where the language of the person is not known',
        choices=LANGUAGES,
    )
    greet: bool = option(True, 'Greet everyone once per visit')
    greet_unknown: bool = option(True, 'Greet people without a name, too')
    greet_patience: float = option(
        3.0, 'Seconds to wait for a name before a person is greeted without one', 0.0, 60.0
    )
    greet_again_after: float = option(
        600.0, 'Seconds after which a person who returns is greeted again', 0.0, 86400.0
    )
    greet_unknown_again_after: float = option(
        60.0,
        'Seconds after a greeting without a name in which no other one is spoken',
        0.0,
        86400.0,
    )
    audio_folder: str = option(
        '',
        f'Keep the last {MAX_KEPT} WAV files in this folder and play nothing; empty = play',
        read_only=True,
    )
    audio_device: str = option('', 'Device of aplay; empty = the default', read_only=True)
    say_topic: str = option('/say', 'Topic of the engine "topic"', read_only=True)
    say_action: str = option('/say', 'Name of the action of the engine "action"', read_only=True)
    say_action_type: str = option(
        'audio_common_msgs/action/TTS',
        'Type of the action of the engine "action"',
        read_only=True,
    )

    def check_together(self) -> None:
        """Check the quiet hours."""
        parse_windows(self.quiet_hours)


class SpeechNode(FaceNode[SpeechParameters]):
    """Listens to sentences and events."""

    def __init__(self, **options: Any):
        super().__init__('speech_node', SpeechParameters, **options)
        self._speaker: Speaker | None = None
        self._spoken = self.publisher('faces/spoken')
        self._greeter = Greeter()
        self._config = ActionConfig()
        self._file = ActionFileInput(self, self.parameters.actions_file, self._use)
        self._file.read()
        for topic, handle in (
            ('faces/say', self._on_sentence),
            ('faces/events/json', self._on_event),
        ):
            self.add_input(topic, Throttle(self, String, handle, topic), raw=True)
        self.create_service(Trigger, SERVICES['~/hush'].name, self._on_hush)
        self.start()

    def apply(self, changed: set[str]) -> None:
        """Apply changed volume, hours and greetings."""
        if self._speaker is not None:
            self._speaker.volume = self.parameters.volume
            self._speaker.quiet = tuple(parse_windows(self.parameters.quiet_hours))
        if any(name.startswith(('greet', 'language')) for name in changed):
            self._make_greeter()

    def configure(self) -> None:
        """Start the engine; tried again where it is not installed yet."""
        self._speaker = Speaker(
            self._make_engine(),
            self.fail,
            self._on_spoken,
            parse_windows(self.parameters.quiet_hours),
            self.parameters.volume,
        )

    def deactivate(self) -> None:
        """End the sentence that is being spoken."""
        if self._speaker is not None:
            self._speaker.hush()

    def cleanup(self) -> None:
        """Release the engine."""
        self.close()
        self._speaker = None

    def close(self) -> bool:
        """End the sentence that is being spoken."""
        return self._speaker is None or self._speaker.close()

    def tick(self) -> None:
        """Greet those who have waited long enough without a name."""
        self._file.tick()
        if self.active and self.parameters.greet:
            self._greet(self._greeter.poll(time.monotonic(), datetime.now()))

    def report(self, report: Report) -> None:
        """Fill in the diagnostics."""
        _, values = self.meter.take()
        report.values.update(values, engine=self.parameters.engine)
        self._file.report(report)
        if self._speaker is not None:
            report.values.update(
                spoken=str(self._speaker.spoken), unspoken=str(self._speaker.dropped)
            )
        if self.parameters.volume == 0:
            report.say(OK, 'silent')

    def _use(self, config: ActionConfig) -> None:
        """Use the people of a file."""
        self._config = config
        self._make_greeter()

    def _make_greeter(self) -> None:
        values = self.parameters
        self._greeter = Greeter(
            self._config.people,
            values.language,
            values.greet_unknown,
            values.greet_patience,
            values.greet_again_after,
            values.greet_unknown_again_after,
        )

    def _make_engine(self) -> SpeechEngine:
        values = self.parameters
        makers: dict[str, Callable[[], SpeechEngine]] = {
            'topic': lambda: TopicEngine(self.publisher('/say', values.say_topic)),
            'action': lambda: ActionEngine(self, values.say_action, values.say_action_type),
        }
        if values.engine in makers:
            return makers[values.engine]()
        folder = expand(values.audio_folder) if values.audio_folder else None
        synthesizer = create_synthesizer(values.engine, values.voice, values.speed)
        return AudioEngine(synthesizer, folder, values.audio_device)

    def _on_sentence(self, message: String) -> None:
        self._speak(sentence_from_message(message.data))

    def _on_event(self, message: String) -> None:
        event: FaceEvent = event_from_json(message.data)
        if self.parameters.greet:
            self._greet(self._greeter.take(event, time.monotonic(), datetime.now()))

    def _greet(self, greeting: Say | None) -> None:
        if greeting is not None:
            self.meter.count('greetings')
            text = greeting.text.fill(FaceEvent('arrived', 0))
            self._speak(Sentence(text, greeting.language))

    def _speak(self, sentence: Sentence) -> None:
        if self._speaker is not None:
            self._speaker.say(sentence)

    def _on_spoken(self, sentence: Sentence, started: float) -> None:
        self.meter.add({'speech': 1e3 * (time.monotonic() - started)})
        if self.context.ok():
            self._spoken.publish(String(data=sentence.text))

    def _on_hush(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._speaker is not None:
            self._speaker.hush()
        response.success = True
        return response


def parse_windows(text: str) -> list[TimeWindow]:
    """Read times of day that are separated by commas.

    :raises UserError: one is not a time of day.
    """
    return [TimeWindow.parse(part) for part in text.split(',') if part.strip()]


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [SpeechNode()]


def main() -> int:
    """Run the speech node alone."""
    return run(build)
