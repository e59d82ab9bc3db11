# SPDX-License-Identifier: Apache-2.0
"""A robot to show, a server to show it, and a browser to look at it."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from face_tracking.errors import UserError
from face_tracking.web.web_options import WebServerOptions, start_web_server


class ExampleRobot:
    """A robot with two people, a few parameters, and an image that moves."""

    def __init__(self):
        self.people = ['Ada']
        self.values = {
            ('detector_node', 'score_threshold'): 0.7,
            ('tracker_node', 'annotate'): True,
        }
        self.watched, self.followed = [], []
        self.server = None
        self.closing, self.frozen = False, False
        self.thread = threading.Thread(target=self._film, daemon=True)
        self.thread.start()

    def state(self):
        return {
            'faces': [
                {'id': '3', 'person': 'Ada', 'score': 0.93, 'looking': True, 'box': [1, 2, 3, 4]},
                {'id': '4', 'person': '', 'score': 0, 'looking': None, 'box': [5, 6, 7, 8]},
            ],
            'image': [640, 480],
            'image_is_old': self.frozen,
            'head': {'pan': 0.1, 'tilt': -0.1},
            'people': list(self.people),
            'events': [
                {
                    'event': 'arrived',
                    'person': '<b>Ada</b>',
                    'id': '3',
                    'zone': None,
                    'time': '2026-11-25T12:00:00.000Z',
                    'count': 1,
                }
            ],
            'diagnostics': [
                {
                    'name': 'camera_node',
                    'level': 0,
                    'message': 'running',
                    'values': {'rate (Hz)': '30.0'},
                }
            ],
        }

    def watch_images(self, wanted):
        self.watched.append(wanted)

    def watch_state(self, wanted):
        self.followed.append(wanted)

    def page_parameters(self):
        return [
            {
                'node': 'detector_node',
                'name': 'score_threshold',
                'integer': False,
                'value': self.values['detector_node', 'score_threshold'],
                'low': 0.0,
                'high': 1.0,
                'choices': [],
                'description': 'Score from which a face is published',
                'read_only': False,
            },
            {
                'node': 'tracker_node',
                'name': 'annotate',
                'integer': False,
                'value': self.values['tracker_node', 'annotate'],
                'low': None,
                'high': None,
                'choices': [],
                'description': 'Draw',
                'read_only': False,
            },
        ]

    def change_parameter(self, node, name, value):
        if name == 'score_threshold' and not 0 <= value <= 1:
            raise UserError('score_threshold is out of range', 'set it to 0 to 1')
        self.values[node, name] = value

    def manage_people(self, action, arguments):
        name = arguments['name']
        if not name:
            raise UserError('the name is empty', 'give one')
        if action == 'enroll':
            self.people.append(name)
        elif action == 'forget':
            self.people.remove(name)
        else:
            self.people[self.people.index(name)] = arguments['new_name']
        return f'{action}: {name}'

    def _film(self):
        number = 0
        while not self.closing:
            time.sleep(0.05)
            number += 1
            image = np.full((120, 160, 3), 255 * (number // 4 % 2), np.uint8)
            if self.server is not None:
                self.server.show_image(cv2.imencode('.jpg', image)[1].tobytes())


@pytest.fixture
def serve():
    """Return a function that starts a server for a robot; all are stopped."""
    started = []

    def start(**options):
        robot = ExampleRobot()
        server = start_web_server(robot, WebServerOptions(port=0, **options))
        robot.server = server
        started.append(robot)
        return robot, server, f'http://127.0.0.1:{server.port}'

    yield start
    for robot in started:
        robot.closing = True
        robot.thread.join()
        assert robot.server.close()
