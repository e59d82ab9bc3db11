# SPDX-License-Identifier: Apache-2.0
"""Parameters of a real node: ranges, reasons, types, and slips of the pen."""

import math
from dataclasses import dataclass

import pytest
import rclpy
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter as RosParameter

from face_tracking.errors import UserError
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.parameters import (
    warn_about_unknown_nodes,
    warn_about_unknown_parameters,
)
from face_tracking.options import Options, option


@dataclass(frozen=True)
class SampleParameters(Options):
    """One option of each kind."""

    threshold: float = option(0.7, 'Minimum score', 0.0, 1.0)
    interval: int = option(5, 'Every Nth image', 1, 100)
    engine: str = option('tvm', 'Engine', choices=('tvm', 'opencv'))
    loop: bool = option(True, 'Start again')
    address: str = option('', 'Address')
    serial: str = option('', 'Serial number of the device', read_only=True)
    output: str = option('servos', 'Output', choices=('servos', 'none'), required=True)

    def check_together(self):
        """Refuse a pair of values that are each allowed."""
        if self.interval == 50 and self.engine == 'opencv':
            raise UserError('opencv does not support interval 50', 'set it to 49')


@dataclass(frozen=True)
class OtherParameters(Options):
    """One option that no other node has."""

    speed: float = option(1.0, 'Speed')


class Sample(FaceNode):
    """A node that notes what changes."""

    def __init__(self, **options):
        self.changes, self.said = [], []
        super().__init__('sample', SampleParameters, **options)
        self.start()

    def apply(self, changed):
        """Record the call."""
        self.changes.append(changed)


@pytest.fixture
def sample(make):
    """Return a node with its defaults."""
    return make(Sample)


def test_defaults_are_attributes(sample):
    values = sample.parameters
    assert (values.threshold, values.interval, values.engine, values.loop) == (0.7, 5, 'tvm', True)


def test_descriptors_have_ranges_and_choices(probe, sample):
    answer = probe.call(
        DescribeParameters,
        '/sample/describe_parameters',
        names=['threshold', 'interval', 'engine', 'serial'],
    )
    threshold, interval, engine, serial = answer.descriptors
    assert threshold.floating_point_range[0].to_value == 1.0
    assert interval.integer_range[0].from_value == 1
    assert engine.additional_constraints == 'one of tvm, opencv'
    assert answer.descriptors[0].description == 'Minimum score'
    assert serial.read_only and threshold.description == 'Minimum score'


def test_a_valid_value_is_used(probe, sample):
    results = probe.set('sample', threshold=0.5, engine='opencv')
    assert all(result.successful for result in results)
    assert (sample.parameters.threshold, sample.parameters.engine) == (0.5, 'opencv')
    assert {'threshold'} in sample.changes


def test_a_group_that_was_read_follows_its_parameters(probe, sample):
    group = sample.store.get(SampleParameters)
    assert sample.store.get(SampleParameters) is group and group.threshold == 0.7
    assert probe.set('sample', threshold=0.5)[0].successful
    assert sample.store.get(SampleParameters).threshold == 0.5


def test_an_integer_is_accepted_for_a_float(probe, sample):
    assert probe.set('sample', threshold=1)[0].successful
    assert sample.parameters.threshold == 1.0
    assert sample.get_parameter('threshold').type_ == RosParameter.Type.DOUBLE


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('threshold', 1.5, '1'),
        ('threshold', math.nan, 'nan'),
        ('threshold', math.inf, 'inf'),
        ('threshold', 'high', 'Wrong parameter type'),
        ('threshold', -1, '0'),
        ('interval', 0, '1'),
        ('interval', 2.5, 'Wrong parameter type'),
        ('interval', True, 'Wrong parameter type'),
        ('engine', 'caffe', 'opencv'),
        ('loop', 1, 'Wrong parameter type'),
        ('serial', 'x', 'read-only'),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(probe, sample, name, value, reason):
    before = sample.parameters
    (result,) = probe.set('sample', **{name: value})
    assert not result.successful and reason in result.reason and '\n' not in result.reason
    assert sample.parameters == before and not sample.changes


def test_values_that_do_not_go_together_are_refused(sample):
    result = sample.set_parameters_atomically(
        [RosParameter('interval', value=50), RosParameter('engine', value='opencv')]
    )
    assert (
        not result.successful
        and result.reason == 'opencv does not support interval 50: set it to 49'
    )
    assert sample.parameters.interval == 5


@pytest.mark.parametrize(
    ('name', 'value', 'default'),
    [
        ('threshold', 3.0, 0.7),
        ('threshold', math.nan, 0.7),
        ('threshold', 'x', 0.7),
        ('interval', 5.0, 5),
        ('interval', -1, 5),
        ('engine', 'caffe', 'tvm'),
        ('loop', 'yes', True),
    ],
)
def test_a_bad_value_at_the_start_leaves_the_default(make, probe, name, value, default):
    node = make(Sample, **{name: value})
    assert getattr(node.parameters, name) == default
    (problem,) = node.store.problems
    assert name in problem and repr(default) in problem
    probe.until(lambda: 'sample' in probe.status)
    assert probe.status['sample'].level == b'\x01' and problem == probe.status['sample'].message


def test_values_that_contradict_each_other_at_start_refuse_the_node(probe, make):
    with pytest.raises(UserError, match='set it to 49') as caught:
        make(Sample, interval=50, engine='opencv')
    probe.until(lambda: 'sample' not in probe.node.get_node_names())
    assert caught.value.remedy


def test_a_bad_required_value_at_start_refuses_the_node(make):
    with pytest.raises(UserError, match="output is 'servo': set it to one of servos, none"):
        make(Sample, output='servo')


def test_a_misspelled_name_is_a_warning_with_the_nearest_name(make, capfd):
    node = make(Sample, treshold=0.5, zzz=1)
    warn_about_unknown_parameters([(node, node.store)])
    said = capfd.readouterr().err
    assert 'parameter treshold does not exist: did you mean threshold?' in said
    assert 'parameter zzz does not exist: ros2 param list' in said
    assert not node.has_parameter('treshold')


def test_a_parameter_of_a_sibling_is_not_misspelled(make, capfd):
    @dataclass(frozen=True)
    class SiblingParameters(Options):
        speed: float = option(1.0, 'Speed')

    class Sibling(FaceNode):
        def __init__(self, **options):
            super().__init__('sibling', SiblingParameters, **options)

    nodes = [make(Sample, speed=2.0), make(Sibling, speed=2.0)]
    warn_about_unknown_parameters([(node, node.store) for node in nodes])
    assert 'does not exist' not in capfd.readouterr().err
    assert nodes[1].parameters.speed == 2.0 and rclpy.ok()


def test_an_empty_text_is_accepted_as_ros2_param_load_sends_it(probe, make):
    node = make(Sample, engine='opencv')
    nothing = ParameterMessage(name='address', value=ParameterValue())
    address = ParameterMessage(
        name='address', value=ParameterValue(type=ParameterType.PARAMETER_STRING, string_value='x')
    )
    for message, value in ((address, 'x'), (nothing, '')):
        (result,) = probe.call(
            SetParameters, '/sample/set_parameters', parameters=[message]
        ).results
        assert result.successful, result.reason
        assert node.parameters.address == value


@pytest.mark.parametrize(('given', 'expected'), [(2, '2'), ('2', '2'), ('virtual', 'virtual')])
def test_a_number_is_accepted_for_a_name(probe, make, given, expected):
    node = make(Sample, address=given)
    assert node.parameters.address == expected and not node.store.problems
    assert probe.set('sample', address=7)[0].successful
    assert node.parameters.address == '7'


@pytest.mark.parametrize('value', ['x' * 5000, '\x1b[2J'])
def test_text_is_bounded_and_printable(probe, sample, value):
    (result,) = probe.set('sample', address=value)
    assert not result.successful and len(result.reason) < 250 and result.reason.isprintable()


def test_a_misspelled_name_is_reported_under_the_node_that_it_belongs_to(make, capfd):
    class Other(FaceNode):
        def __init__(self, **options):
            super().__init__('other', OtherParameters, **options)

    nodes = [make(Other, treshold=0.5), make(Sample, treshold=0.5)]
    warn_about_unknown_parameters([(node, node.store) for node in nodes])
    (line,) = [line for line in capfd.readouterr().err.splitlines() if 'treshold' in line]
    assert '[sample]' in line and 'did you mean threshold?' in line


def test_a_misspelled_node_in_a_parameter_file_is_reported(make, capfd, tmp_path, monkeypatch):
    path = tmp_path / 'robot.yaml'
    path.write_text('detectr_node: {ros__parameters: {threads: 1}}\n/**: {}\nother_package: {}\n')
    monkeypatch.setattr('sys.argv', ['x', '--ros-args', '--params-file', str(path)])
    node = make(Sample)
    warn_about_unknown_nodes(node.get_logger(), ['sample'])
    logged = capfd.readouterr().err
    assert logged.count('detectr_node') == 1 and 'did you mean detector_node?' in logged
    assert 'other_package' not in logged
