# SPDX-License-Identifier: Apache-2.0
"""Faces in space, for RViz: ``visualization_msgs/MarkerArray``."""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from face_tracking.camera_model import CameraModel
from face_tracking.faces import Tracks
from face_tracking.spatial.face_positions import positions_by_height
from face_tracking.visualization import track_color

# If the tracker stops publishing, its last faces disappear.
_LIFETIME = Duration(sec=1)
_GAZE_LIFETIME = Duration(nanosec=500_000_000)
_UPRIGHT = Quaternion(w=1.0)


def to_markers(
    tracks: Tracks,
    camera: CameraModel,
    header: Header,
    face_height: float,
    names: Mapping[int, str] | None = None,
) -> MarkerArray:
    """Return a sphere and an id for each face, after word to remove those of before."""
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    places = positions_by_height(tracks.boxes, camera, face_height)
    for number, place in zip(tracks.ids.tolist(), places.tolist(), strict=True):
        markers.append(_marker(header, number, place, face_height))
        text = (names or {}).get(number, str(number))
        markers.append(_label(header, number, place, face_height, text))
    return MarkerArray(markers=markers)


def _marker(header: Header, number: int, place: list[float], height: float) -> Marker:
    x, y, z = place
    return Marker(
        header=header,
        ns='faces',
        id=number % 2**31,
        type=Marker.SPHERE,
        action=Marker.ADD,
        pose=Pose(position=Point(x=x, y=y, z=z), orientation=_UPRIGHT),
        scale=Vector3(x=0.75 * height, y=height, z=height),
        color=_color(number, 0.8),
        lifetime=_LIFETIME,
    )


def to_gaze_marker(place: tuple[float, float, float], header: Header, height: float) -> Marker:
    """Return a translucent sphere around the face that the head follows.

    It disappears by itself when no new one is received, which a PointStamped in RViz does not.

    :param place: the face in meters in the frame of ``header``.
    :param height: of a face in meters.
    """
    x, y, z = place
    return Marker(
        header=header,
        ns='gaze',
        type=Marker.SPHERE,
        action=Marker.ADD,
        pose=Pose(position=Point(x=x, y=y, z=z), orientation=_UPRIGHT),
        scale=Vector3(x=1.4 * height, y=1.4 * height, z=1.4 * height),
        color=ColorRGBA(r=0.3, g=0.85, b=1.0, a=0.3),
        lifetime=_GAZE_LIFETIME,
    )


def _color(number: int, alpha: float) -> ColorRGBA:
    """Return the color of a track in the annotated image."""
    blue, green, red = track_color(number)
    return ColorRGBA(r=red / 255, g=green / 255, b=blue / 255, a=alpha)


def _label(header: Header, number: int, place: list[float], height: float, text: str) -> Marker:
    x, y, z = place
    return Marker(
        header=header,
        ns='ids',
        id=number % 2**31,
        type=Marker.TEXT_VIEW_FACING,
        action=Marker.ADD,
        text=text,
        pose=Pose(position=Point(x=x, y=y - height, z=z), orientation=_UPRIGHT),
        scale=Vector3(z=0.6 * height),
        color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
        lifetime=_LIFETIME,
    )
