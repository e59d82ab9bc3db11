# SPDX-License-Identifier: Apache-2.0
"""What nodes and boards tell about themselves."""

import itertools

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile

from face_tracking.nodes.diagnostics import ERROR, OK, WARN, Diagnostics, Meter, Report
from face_tracking.nodes.process_state import ProcessState
from face_tracking.system_health import BoardState, read_board


def write(root, files):
    """Lay out files below a root."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def test_a_board_without_sensors(tmp_path):
    assert read_board(tmp_path) == BoardState(None, None, ())


def test_a_throttled_pi_is_reported(tmp_path):
    write(
        tmp_path,
        {
            'sys/class/thermal/thermal_zone0/type': 'cpu-thermal\n',
            'sys/class/thermal/thermal_zone0/temp': '81250\n',
            'sys/class/thermal/thermal_zone1/type': 'rp1_adc\n',
            'sys/class/thermal/thermal_zone1/temp': '99000\n',
            'sys/devices/platform/soc@107c000000/soc:firmware/get_throttled': '50005\n',
        },
    )
    state = read_board(tmp_path)
    assert state == BoardState(
        81.25, ('under-voltage', 'throttled'), ('under-voltage', 'throttled')
    )


def test_the_firmware_is_read_by_its_command(tmp_path):
    command = tmp_path / 'usr/bin/vcgencmd'
    write(tmp_path, {'usr/bin/vcgencmd': '#!/bin/sh\necho "throttled=0x20002"\n'})
    command.chmod(0o755)
    assert read_board(tmp_path).throttling == ('frequency capped',)
    command.write_text('#!/bin/sh\necho nonsense; exit 1\n')
    assert read_board(tmp_path).throttling is None


@pytest.mark.parametrize('content', ['', 'hot', '-'])
def test_a_sensor_with_invalid_content_is_ignored(tmp_path, content):
    write(
        tmp_path,
        {
            'sys/class/thermal/thermal_zone0/type': 'cpu-thermal',
            'sys/class/thermal/thermal_zone0/temp': content,
        },
    )
    assert read_board(tmp_path).temperature is None


def test_the_meter_returns_rate_and_latencies_since_the_last_call():
    now = [0.0]
    meter = Meter(lambda: now[0])
    for milliseconds in (2.0, 4.0):
        meter.add({'detect': milliseconds})
    meter.count('failures')
    now[0] = 0.5
    rate, values = meter.take()
    assert rate == 4 and values['detect (ms)'] == '3.00' and values['rate (Hz)'] == '4.0'
    assert values['detect, longest (ms)'] == '4.00' and values['failures'] == '1'
    now[0] = 1.0
    rate, values = meter.take()
    assert rate == 0 and 'detect (ms)' not in values
    assert values['images'] == '2' and values['failures'] == '1'


def test_the_worst_remark_is_the_message():
    report = Report()
    for level, text in (
        (OK, 'paused'),
        (WARN, 'warm'),
        (ERROR, 'dead'),
        (WARN, 'late'),
        (ERROR, 'deader'),
    ):
        report.say(level, text)
    assert (report.level, report.message) == (ERROR, 'dead')


def test_a_hot_and_throttled_board_is_a_warning(probe):
    state = BoardState(85.0, ('throttled',), ('under-voltage',))
    node = probe.add(rclpy.create_node('warm', namespace='robot'))
    publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
    diagnostics = Diagnostics(
        node,
        lambda report: report.values.update(fps='3'),
        publisher,
        ProcessState(lambda: state),
    )
    status = diagnostics.status()
    values = {entry.key: entry.value for entry in status.values}
    assert status.level == DiagnosticStatus.WARN and '85 C' in status.message
    assert status.name == 'robot/warm' and status.hardware_id == 'robot'
    assert values['throttling'] == 'throttled' and values['fps'] == '3'
    assert values['throttled since boot'] == 'under-voltage'
    assert float(values['memory (MB)']) > 10 and float(values['CPU (%)']) >= 0


def test_the_status_is_computed_without_a_subscriber_and_published_to_one(probe):
    node = probe.add(rclpy.create_node('quiet'))
    kept = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    numbers, received = itertools.count(1), []
    diagnostics = Diagnostics(
        node,
        lambda report: report.say(WARN, f'report {next(numbers)}'),
        node.create_publisher(DiagnosticArray, '/unheard', kept),
        ProcessState(lambda: BoardState(None, None, ())),
    )
    diagnostics.publish()
    node.create_subscription(DiagnosticArray, '/unheard', received.append, kept)
    probe.until(lambda: node.count_subscribers('/unheard'))

    def arrived():
        diagnostics.publish()
        return received

    probe.until(arrived)
    # The publisher keeps what it published: the first report would come first.
    assert received[0].status[0].message != 'report 1'


def test_board_and_process_are_read_once_for_all_nodes():
    now, readings = [0.0], []

    def read():
        readings.append(now[0])
        return BoardState(float(len(readings)))

    state = ProcessState(read, lambda: now[0])
    assert [state.board.temperature for _ in range(5)] == [1.0] * 5
    first = state.use()
    assert first[0] > 10 and state.use() is first
    now[0] = 6.0
    assert state.board.temperature == 2.0 and readings == [0.0, 6.0]
    assert state.use() is not first and state.use()[1] >= 0
