# SPDX-License-Identifier: Apache-2.0
"""The configuration of another robot, all at once, in real processes.

A namespace, all topics remapped, compressed images, simulation time, and the bridge to REP 155.
"""

from __future__ import annotations

import pytest
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage
from vision_msgs.msg import Detection2DArray

from face_tracking.camera_model import CameraModel
from face_tracking.nodes.camera_info import to_camera_info
from face_tracking.nodes.image_messages import to_compressed, to_header, to_time

hri_msgs = pytest.importorskip('hri_msgs.msg', reason='needs hri_msgs, which is not here')
REMAP = (
    'camera/image_raw/compressed:=/oak/rgb/image_raw/compressed',
    'camera/camera_info:=/oak/rgb/camera_info',
    'faces/tracks:=/perception/people',
)


def test_foreign_configuration_works(probe, launch, model, portrait):
    common = {'use_sim_time': True}
    launch(
        'pipeline',
        namespace='r2',
        remap=REMAP,
        words=('--no-camera',),
        image_transport='compressed',
        model=model,
        detect_interval=1,
        **common,
    )
    launch('hri_node', namespace='r2', remap=REMAP, **common)
    probe.hear(Detection2DArray, '/perception/people')
    probe.hear(hri_msgs.IdsList, '/humans/faces/tracked')
    height, width = portrait.shape[:2]
    camera = CameraModel.from_fov(width, height, 1.15)
    clock = probe.publisher(Clock, '/clock')
    images = probe.node.create_publisher(CompressedImage, '/oak/rgb/image_raw/compressed', 10)
    infos = probe.node.create_publisher(CameraInfo, '/oak/rgb/camera_info', 10)
    stamps = iter(range(5 * 10**9, 10**13, 50_000_000))

    def step() -> bool:
        stamp = next(stamps)
        header = to_header(stamp, 'oak_rgb_camera_optical_frame')
        clock.publish(Clock(clock=to_time(stamp)))
        infos.publish(to_camera_info(camera, header))
        images.publish(to_compressed(portrait, header, 90))
        for _ in range(5):
            probe.executor.spin_once(timeout_sec=0.02)
        people = probe.heard['/perception/people']
        faces = probe.heard['/humans/faces/tracked']
        return any(one.detections for one in people) and any(one.ids for one in faces)

    probe.until(step)
    message = next(one for one in probe.heard['/perception/people'] if one.detections)
    assert message.header.frame_id == 'oak_rgb_camera_optical_frame'
    assert message.header.stamp.sec < 10**4, 'stamps are those of the simulation'
    listed = next(one for one in probe.heard['/humans/faces/tracked'] if one.ids)
    assert listed.ids[0].startswith('f')
