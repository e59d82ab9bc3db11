# SPDX-License-Identifier: Apache-2.0
"""Every topic and service of the package, declared once.

The nodes create their publishers, subscriptions and services from these tables; the reference
pages and the security policies are checked against them. Names are relative, so that a namespace
and remapping apply; ``~`` stands for the name of the node.
"""

from __future__ import annotations

from dataclasses import dataclass

SENSOR = 'sensor'
"""Sensor data as REP 2003 asks: publishers SystemDefaultsQoS (reliable), subscribers
SensorDataQoS (best effort)."""
RELIABLE = 'reliable'
"""Reliable, volatile, the last 10 messages."""
LATCHED = 'latched'
"""Reliable, transient local, the last message: a late subscriber receives it, too."""

MEGABYTE = 1_000_000
ALL_NODES = ('*',)
"""In place of names of nodes: every node of the package."""


@dataclass(frozen=True)
class Topic:
    """One row of the topic table.

    :ivar name: the default name, relative to the namespace of the node.
    :ivar type: the ROS type, for example ``sensor_msgs/msg/Image``.
    :ivar description: one line with the content, the units and the frame.
    :ivar publishers: the nodes that publish it; empty if only nodes of other packages do.
    :ivar subscribers: the nodes that subscribe to it; empty if only other packages do.
    :ivar qos: :data:`SENSOR`, :data:`RELIABLE` or :data:`LATCHED`.
    :ivar max_bytes: the largest serialized message that is deserialized; larger ones are dropped.
        0 = checked after deserialization, for images.
    :ivar name_parameter: the parameter that replaces the default name, where there is one.
    """

    name: str
    type: str
    description: str
    publishers: tuple[str, ...] = ()
    subscribers: tuple[str, ...] = ()
    qos: str = RELIABLE
    max_bytes: int = MEGABYTE
    name_parameter: str = ''


@dataclass(frozen=True)
class ServiceRow:
    """One row of the service table.

    :ivar name: the name, relative to the namespace of the node.
    :ivar type: the ROS type, for example ``std_srvs/srv/SetBool``.
    :ivar description: one line.
    :ivar nodes: the nodes that offer it.
    """

    name: str
    type: str
    description: str
    nodes: tuple[str, ...]


VIEWERS = ('web_node', 'rtsp_node', 'mqtt_node', 'anonymizer_node')
"""The nodes that show images."""
_EVENT_BYTES = 64_000

_TOPICS = (
    Topic(
        'camera/image_raw',
        'sensor_msgs/msg/Image',
        'Images of the camera, bgr8',
        ('camera_node',),
        ('detector_node', 'tracker_node', 'recognizer_node', 'hri_node', *VIEWERS),
        SENSOR,
        max_bytes=0,
    ),
    Topic(
        'camera/image_raw/compressed',
        'sensor_msgs/msg/CompressedImage',
        'The same images as JPEG, only while there is a subscriber: as the camera compressed '
        'them, otherwise encoded',
        ('camera_node',),
        ('detector_node', 'tracker_node', 'recorder_node'),
        SENSOR,
        max_bytes=0,
    ),
    Topic(
        'camera/image_small/compressed',
        'sensor_msgs/msg/CompressedImage',
        'The same images in the size of a detector as JPEG, at most small_rate per second and '
        'only while there is a subscriber; format ends with the size of the image, for example '
        '"; of 640x480"',
        ('camera_node',),
        ('detector_node', 'tracker_node'),
        SENSOR,
        max_bytes=0,
    ),
    Topic(
        'camera/camera_info',
        'sensor_msgs/msg/CameraInfo',
        'Intrinsics of the camera with the stamp of each image',
        ('camera_node',),
        ('tracker_node', 'pan_tilt_node', 'events_node', 'web_node'),
        SENSOR,
    ),
    Topic(
        'faces/detections',
        'vision_msgs/msg/Detection2DArray',
        'Faces found in one image, with scores from score_threshold; boxes in pixels',
        ('detector_node',),
        ('tracker_node', 'detector_node'),
    ),
    Topic(
        'faces/detections_low_confidence',
        'vision_msgs/msg/Detection2DArray',
        'The same with scores from low_score_threshold; used by the tracker instead of '
        'faces/detections when it is published',
        ('detector_node',),
        ('tracker_node',),
    ),
    Topic(
        'faces/detection_landmarks',
        'sensor_msgs/msg/PointCloud2',
        'The faces of faces/detections_low_confidence with their landmarks, the columns of '
        'faces/landmarks; published while there is a subscriber',
        ('detector_node',),
        ('tracker_node',),
    ),
    Topic(
        'faces/landmarks',
        'sensor_msgs/msg/PointCloud2',
        'One row per tracked face: id, u, v, width, height, score, and u and v of right_eye, '
        'left_eye, nose, right_mouth, left_mouth (px; right and left of the person), as last '
        'detected and moved with the box; NaN where not known',
        ('tracker_node',),
        ('attention_node', 'hri_node'),
    ),
    Topic(
        'faces/camera_info',
        'sensor_msgs/msg/CameraInfo',
        'Intrinsics of the images that the tracks refer to: camera/camera_info with its region '
        'of interest and binning applied, scaled to the size of the images',
        ('tracker_node',),
        ('pan_tilt_node', 'attention_node', 'tracks_3d_node', 'hri_node'),
        LATCHED,
    ),
    Topic(
        'faces/tracks',
        'vision_msgs/msg/Detection2DArray',
        'Tracked faces at the stamp of each image, with stable ids; boxes in pixels',
        ('tracker_node',),
        (
            *('detector_node', 'pan_tilt_node', 'recognizer_node', 'events_node'),
            *('recorder_node', 'tracks_3d_node', 'hri_node', *VIEWERS),
        ),
    ),
    Topic(
        'faces/people',
        'vision_msgs/msg/Detection2DArray',
        'Who the tracked faces are: id is the track id, results are hypotheses person:NAME, the '
        'best first, or unknown',
        ('recognizer_node',),
        ('tracker_node', 'pan_tilt_node', 'events_node', 'recorder_node', *VIEWERS, 'hri_node'),
    ),
    Topic(
        'faces/tracks_predicted',
        'vision_msgs/msg/Detection2DArray',
        'Tracked faces extrapolated to the time of publication; boxes in pixels',
        ('tracker_node',),
    ),
    Topic(
        'faces/track_states',
        'sensor_msgs/msg/PointCloud2',
        'One row per tracked face: id, u, v, width, height (px), u_rate, v_rate (px/s), score, '
        'age, time_since_update (s)',
        ('tracker_node',),
    ),
    Topic(
        'faces/markers',
        'visualization_msgs/msg/MarkerArray',
        'Tracked faces in space for RViz, in meters in the optical frame of the camera',
        ('tracker_node',),
    ),
    Topic(
        'faces/annotated',
        'sensor_msgs/msg/Image',
        'Images with boxes, ids and trails, drawn only while there is a subscriber',
        ('tracker_node',),
        qos=SENSOR,
        max_bytes=0,
    ),
    Topic(
        'faces/annotated/compressed',
        'sensor_msgs/msg/CompressedImage',
        'The same images as JPEG',
        ('tracker_node',),
        qos=SENSOR,
        max_bytes=0,
    ),
    Topic(
        'faces/attention',
        'vision_msgs/msg/Detection2DArray',
        'Who looks at the robot: id = track id, hypothesis looking with its probability and the '
        'pose of the head (x out of the face, z up) in the optical frame',
        ('attention_node',),
        ('pan_tilt_node', 'events_node', 'web_node', 'hri_node'),
    ),
    Topic(
        'faces/tracks_3d',
        'vision_msgs/msg/Detection3DArray',
        'Tracked faces in meters in the optical frame; the covariance is small where a depth '
        'image has measured the distance, large where it follows from face_height',
        ('tracks_3d_node',),
    ),
    Topic(
        '/humans/faces/tracked',
        'hri_msgs/msg/IdsList',
        'REP 155: ids of the tracked faces; each has /humans/faces/ID/roi, landmarks, cropped '
        'and aligned',
        ('hri_node',),
    ),
    Topic(
        '/humans/persons/tracked',
        'hri_msgs/msg/IdsList',
        'REP 155: ids of the recognized people; each has /humans/persons/ID/face_id',
        ('hri_node',),
    ),
    Topic(
        'camera/depth/image_raw',
        'sensor_msgs/msg/Image',
        'Depth image registered to the color image, 16UC1 (mm) or 32FC1 (m)',
        (),
        ('tracks_3d_node',),
        SENSOR,
        max_bytes=0,
    ),
    Topic(
        'faces/events',
        'vision_msgs/msg/Detection2DArray',
        'Events: id = track id, hypotheses: the event, then person:<name> or unknown, then '
        'zone:<name> where there is one',
        ('events_node',),
        ('recorder_node',),
    ),
    Topic(
        'faces/events/json',
        'std_msgs/msg/String',
        'The same events as JSON, one each message (config/event.schema.json)',
        ('events_node',),
        ('speech_node', 'web_node', 'mqtt_node', 'recorder_node'),
        max_bytes=_EVENT_BYTES,
    ),
    Topic(
        'faces/say',
        'std_msgs/msg/String',
        'Sentences to speak: plain text, or JSON with text, language and volume',
        ('events_node',),
        ('speech_node',),
        max_bytes=_EVENT_BYTES,
    ),
    Topic(
        'faces/spoken',
        'std_msgs/msg/String',
        'Sentences that were spoken, at their end',
        ('speech_node',),
    ),
    Topic(
        '/say',
        'std_msgs/msg/String',
        'Sentences for another speech node, with engine topic',
        ('speech_node',),
        name_parameter='say_topic',
    ),
    Topic(
        'faces/mqtt',
        'std_msgs/msg/String',
        'What rules publish on MQTT: JSON with topic, payload and retain',
        ('events_node',),
        ('mqtt_node',),
        max_bytes=_EVENT_BYTES,
    ),
    Topic(
        'faces/anonymized',
        'sensor_msgs/msg/Image',
        'Images with hidden faces, computed only while there is a subscriber',
        ('anonymizer_node',),
        qos=SENSOR,
        max_bytes=0,
    ),
    Topic(
        'faces/anonymized/compressed',
        'sensor_msgs/msg/CompressedImage',
        'The same images as JPEG',
        ('anonymizer_node',),
        qos=SENSOR,
        max_bytes=0,
    ),
    Topic(
        'faces/gaze_target',
        'geometry_msgs/msg/PointStamped',
        'The face that the head follows, in meters in the optical frame of the camera',
        ('pan_tilt_node',),
    ),
    Topic(
        'faces/gaze_marker',
        'visualization_msgs/msg/Marker',
        'The same as a sphere for RViz, which disappears after 0.5 s without a target',
        ('pan_tilt_node',),
    ),
    Topic(
        'joint_states',
        'sensor_msgs/msg/JointState',
        'Angles (rad) and velocities (rad/s) of the pan and tilt joints',
        ('pan_tilt_node',),
        ('camera_node', 'tracker_node', 'pan_tilt_node', 'web_node'),
        SENSOR,
    ),
    Topic(
        '~/state',
        'std_msgs/msg/String',
        'What the head does: tracking, searching, ...; published at each change',
        ('pan_tilt_node',),
        qos=LATCHED,
    ),
    Topic(
        'joint_trajectory_controller/joint_trajectory',
        'trajectory_msgs/msg/JointTrajectory',
        'Commands with output joint_trajectory, in radians',
        ('pan_tilt_node',),
        name_parameter='trajectory_topic',
    ),
    Topic(
        'position_controller/commands',
        'std_msgs/msg/Float64MultiArray',
        'Commands with output position: pan and tilt in radians',
        ('pan_tilt_node',),
        name_parameter='position_topic',
    ),
    Topic(
        '/diagnostics',
        'diagnostic_msgs/msg/DiagnosticArray',
        'State of each node, once per second',
        ALL_NODES,
        ('web_node',),
    ),
)
TOPICS = {topic.name: topic for topic in _TOPICS}
"""The topic table by default name."""

_SERVICES = (
    ServiceRow(
        '~/enable',
        'std_srvs/srv/SetBool',
        'Activate (true) or deactivate (false) the node, as the lifecycle transitions do',
        ALL_NODES,
    ),
    ServiceRow(
        '~/set_camera_info',
        'sensor_msgs/srv/SetCameraInfo',
        'Use a calibration and write it to camera_info_url, as the button Commit of '
        'camera_calibration does',
        ('camera_node',),
    ),
    ServiceRow(
        '~/next_target',
        'std_srvs/srv/Trigger',
        'Follow the visible face with the next id',
        ('pan_tilt_node',),
    ),
    ServiceRow(
        '~/hold_target',
        'std_srvs/srv/Trigger',
        'Follow the present face until it is released',
        ('pan_tilt_node',),
    ),
    ServiceRow(
        '~/release_target',
        'std_srvs/srv/Trigger',
        'Choose the face by the parameter target again',
        ('pan_tilt_node',),
    ),
    ServiceRow(
        '~/enroll',
        'std_srvs/srv/Trigger',
        'Enroll the face with track id person_id, or nearest the center, as person_name',
        ('recognizer_node',),
    ),
    ServiceRow(
        '~/rename',
        'std_srvs/srv/Trigger',
        'Rename person_name to person_new_name',
        ('recognizer_node',),
    ),
    ServiceRow(
        '~/forget',
        'std_srvs/srv/Trigger',
        'Delete person_name permanently',
        ('recognizer_node',),
    ),
    ServiceRow(
        '~/list_people',
        'std_srvs/srv/Trigger',
        'Return the names of the people as a JSON list in the message',
        ('recognizer_node',),
    ),
    ServiceRow(
        '~/reload',
        'std_srvs/srv/Trigger',
        'Read actions_file again; a file with a mistake changes nothing',
        ('events_node',),
    ),
    ServiceRow(
        '~/hush',
        'std_srvs/srv/Trigger',
        'End the sentence that is being spoken and drop those that wait',
        ('speech_node',),
    ),
)
SERVICES = {row.name: row for row in _SERVICES}
"""The service table by default name, without those that rclpy gives to every managed node."""


def topics_of(node: str) -> tuple[tuple[Topic, ...], tuple[Topic, ...]]:
    """Return what a node publishes and what it subscribes to.

    :param node: the default name of the node.
    """
    return (
        tuple(topic for topic in _TOPICS if _has(topic.publishers, node)),
        tuple(topic for topic in _TOPICS if _has(topic.subscribers, node)),
    )


def services_of(node: str) -> tuple[ServiceRow, ...]:
    """Return the services that a node offers, besides those of rclpy."""
    return tuple(row for row in _SERVICES if _has(row.nodes, node))


def _has(nodes: tuple[str, ...], node: str) -> bool:
    return nodes == ALL_NODES or node in nodes
