# SPDX-License-Identifier: Apache-2.0
"""Pins are switched, through gpiozero's mock pins."""

from __future__ import annotations

import time

import pytest
from waiting import wait_until

from face_tracking.errors import UserError
from face_tracking.events.action_records import SetPin
from face_tracking.smart_home.output_pins import OutputPins

gpiozero = pytest.importorskip('gpiozero', reason='needs gpiozero')


@pytest.fixture
def board(monkeypatch):
    """Return a mock board and the pins."""
    from gpiozero.pins.mock import MockFactory

    factory = MockFactory()
    monkeypatch.setattr(gpiozero.Device, 'pin_factory', factory)
    errors = []
    pins = OutputPins(errors.append)
    yield factory, pins, errors
    pins.close()
    factory.close()


def test_pin_is_switched(board):
    factory, pins, _ = board
    pins.apply(SetPin(17))
    assert factory.pin(17).state == 1
    pins.apply(SetPin(17, on=False))
    assert factory.pin(17).state == 0


def test_pin_returns_after_its_time(board):
    factory, pins, errors = board
    pins.apply(SetPin(17, seconds=1.0))
    assert pins.state(17) is True
    wait_until(lambda: factory.pin(17).state == 0)
    assert not errors


def test_new_action_replaces_the_timer(board):
    factory, pins, _ = board
    pins.apply(SetPin(17, seconds=0.5))
    pins.apply(SetPin(17, seconds=0))
    time.sleep(0.7)
    assert factory.pin(17).state == 1


def test_relay_that_is_active_low(board):
    factory, pins, _ = board
    pins.apply(SetPin(22, active_high=False))
    assert factory.pin(22).state == 0 and pins.state(22) is True


def test_lock_does_not_stay_open_when_the_node_ends(board):
    factory, pins, _ = board
    pins.apply(SetPin(17))
    states = []
    factory.pin(17)._event_count = 0
    states.append(factory.pin(17).state)
    device = pins._devices[17]
    pins.close()
    assert states == [1] and device.closed and pins.state(17) is None


def test_pin_that_fails_keeps_no_other_on(board, monkeypatch):
    factory, pins, errors = board
    for pin in (4, 17, 22):
        pins.apply(SetPin(pin))

    def fail():
        raise OSError('gone')

    monkeypatch.setattr(pins._devices[17], 'off', fail)
    others = [pins._devices[pin] for pin in (4, 22)]
    with pytest.raises(UserError, match='GPIO 17 cannot be used: OSError: gone'):
        pins.apply(SetPin(17, on=False))
    pins.close()
    assert all(device.closed for device in others) and 'GPIO 17' in str(errors[0])


def test_pin_that_does_not_exist_is_one_clear_line(board):
    with pytest.raises(UserError, match='GPIO 53 cannot be used'):
        board[1].apply(SetPin(53))


def test_missing_hardware_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(gpiozero.Device, 'pin_factory', None)
    monkeypatch.setenv('GPIOZERO_PIN_FACTORY', 'lgpio')
    with pytest.raises(UserError, match='GPIO 17 cannot be used'):
        OutputPins(print).apply(SetPin(17))
