# SPDX-License-Identifier: Apache-2.0
"""The anonymizer node: the camera's image with faces hidden, on ``/faces/anonymized``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from face_tracking.anonymize import ALL
from face_tracking.nodes.diagnostics import OK, WARN, Report
from face_tracking.nodes.image_messages import to_compressed, to_header, to_image
from face_tracking.nodes.live_view import LiveView, View, ViewOptions
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.shared_options import JpegOptions
from face_tracking.nodes.spin import run
from face_tracking.options import with_default


@dataclass(frozen=True)
class AnonymizerParameters(ViewOptions, JpegOptions):
    """The parameters of the anonymizer node."""

    blur: str = with_default(ViewOptions, 'blur', ALL)
    draw_faces: bool = with_default(ViewOptions, 'draw_faces', False)


class AnonymizerNode(FaceNode[AnonymizerParameters]):
    """Publishes while there is a subscriber."""

    def __init__(self, **options: Any):
        super().__init__('anonymizer_node', AnonymizerParameters, **options)
        self._raw = self.publisher('faces/anonymized')
        self._compressed = self.publisher('faces/anonymized/compressed')
        self._view = LiveView(self, self.store.get(AnonymizerParameters), self._on_view)
        self.start()

    def apply(self, changed: set[str]) -> None:
        """Apply changed parameters."""
        self._view.options = self.parameters

    def deactivate(self) -> None:
        """Drop the images that wait."""
        self._view.clear()

    def close(self) -> bool:
        """Stop the thread."""
        return self._view.close()

    def report(self, report: Report) -> None:
        """Fill in the diagnostics."""
        rate, values = self.meter.take()
        report.values.update(values, blur=self.parameters.blur)
        if not self.active:
            return
        if not self._view.watched:
            report.say(OK, 'no subscribers')
        elif rate == 0:
            report.say(WARN, 'no images with tracks received')

    def tick(self) -> None:
        """Receive images while there is a subscriber."""
        wanted = bool(
            self._raw.get_subscription_count() or self._compressed.get_subscription_count()
        )
        if wanted != self._view.watched:
            self._view.watch(wanted)

    def _on_view(self, view: View) -> None:
        header = to_header(view.frame.stamp, view.frame.frame_id)
        if self._raw.get_subscription_count():
            self._raw.publish(to_image(view.image, header))
        if self._compressed.get_subscription_count():
            self._compressed.publish(
                to_compressed(view.image, header, self.parameters.jpeg_quality)
            )
        self.meter.add({'latency': self.age(view.frame.stamp)})


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [AnonymizerNode()]


def main() -> int:
    """Run the anonymizer node alone."""
    return run(build)
