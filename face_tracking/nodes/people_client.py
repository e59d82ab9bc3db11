# SPDX-License-Identifier: Apache-2.0
"""Enrolls, renames and forgets people through the services of the recognizer node.

The recognizer's services are ``std_srvs/Trigger``; what they are about is in its parameters, which
are set first: ``person_name``, ``person_id`` (a track id, empty for the face nearest the center)
and ``person_new_name``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from face_tracking.errors import UserError
from face_tracking.nodes.service_caller import ServiceCaller

NODE = 'recognizer_node'
SERVICES = ('enroll', 'rename', 'forget', 'list_people')
"""Services of the recognizer that are called."""
_SERVICES = {'enroll': 'enroll', 'rename': 'rename', 'forget': 'forget', 'list': 'list_people'}
_PARAMETERS = {'name': 'person_name', 'id': 'person_id', 'new_name': 'person_new_name'}
_MOST = 1000


class PeopleClient:
    """Manages people; every method waits for the recognizer and belongs beside the executor.

    :param caller: calls services.
    """

    def __init__(self, caller: ServiceCaller):
        self._caller = caller
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return who is enrolled.

        :raises UserError: there is no recognizer, or its answer is not a list of names.
        """
        answer = self._call('list', {})
        try:
            names = json.loads(answer)
        except ValueError:
            names = [name.strip() for name in answer.split(',') if name.strip()]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError('the recognizer answered with something other than names', '')
        return names[:_MOST]

    def manage(self, action: str, arguments: Mapping[str, str]) -> str:
        """Do what ``RobotPort.manage_people`` describes."""
        if not arguments.get('name'):
            raise UserError('the name is empty', 'give a name')
        return self._call(action, arguments) or f'{action}: {arguments["name"]}'

    def _call(self, action: str, arguments: Mapping[str, str]) -> str:
        with self._lock:  # parameters and call belong together
            if arguments:
                self._set_parameters(arguments)
            answer = self._caller.call(Trigger, f'{NODE}/{_SERVICES[action]}', Trigger.Request())
        if not answer.success:
            raise UserError(answer.message or f'{action} was refused')
        return answer.message

    def _set_parameters(self, arguments: Mapping[str, str]) -> None:
        request = SetParameters.Request(
            parameters=[
                Parameter(_PARAMETERS[key], value=value).to_parameter_msg()
                for key, value in arguments.items()
            ]
        )
        for result in self._caller.call(SetParameters, f'{NODE}/set_parameters', request).results:
            if not result.successful:
                raise UserError(result.reason or 'the recognizer refused the name')
