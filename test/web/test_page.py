# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser."""

from __future__ import annotations

import json

import pytest
from browser import open_browser
from waiting import wait_until


@pytest.fixture
def browser(tmp_path):
    driver = open_browser(tmp_path / 'profile')
    yield driver
    driver.quit()


def brightness(browser):
    """Return the mean brightness of the live image as the page shows it."""
    return browser.execute_script("""
        const image = document.getElementById('live');
        if (!image.naturalWidth) return null;
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 8;
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0, 8, 8);
        return context.getImageData(0, 0, 1, 1).data[0];""")


def text_of(browser, name):
    return browser.execute_script('return document.getElementById(arguments[0]).innerText', name)


def run(browser, script, *arguments):
    return browser.execute_script(script, *arguments)


def test_image_moves_and_faces_are_listed(serve, browser):
    _, _, base = serve()
    browser.get(base)
    wait_until(lambda: 'Ada 93 %, looks here' in text_of(browser, 'faces'))
    assert 'unknown' in text_of(browser, 'faces') and 'pan 6' in text_of(browser, 'head')
    seen = set()
    wait_until(lambda: seen.add(brightness(browser)) or {0, 255} <= seen)


def test_missing_image_is_said(serve, browser):
    robot, _, base = serve()
    browser.get(base)
    wait_until(lambda: 'Ada' in text_of(browser, 'faces'))
    assert browser.find_element('id', 'no-image').text == ''
    robot.frozen = True
    wait_until(lambda: browser.find_element('id', 'no-image').text == 'No image is received.')


def test_person_is_enrolled_renamed_and_forgotten(serve, browser):
    robot, _, base = serve()
    browser.get(base)
    wait_until(lambda: 'Ada' in text_of(browser, 'people'))
    run(
        browser,
        "document.getElementById('enroll-name').value = 'Bob';"
        "document.getElementById('enroll-id').value = '4';"
        "document.querySelector('#enroll button').click()",
    )
    wait_until(lambda: 'Bob' in text_of(browser, 'people'))
    assert robot.people == ['Ada', 'Bob']
    run(browser, "document.querySelector('#people li button.quiet:last-child').click()")
    browser.switch_to.alert.accept()
    wait_until(lambda: robot.people == ['Bob'])


def test_threshold_is_changed_and_a_refusal_is_shown(serve, browser):
    robot, _, base = serve()
    browser.get(base)
    run(browser, "document.getElementById('load-parameters').click()")
    wait_until(
        lambda: run(browser, "return !!document.getElementById('detector_node.score_threshold')")
    )
    change = (
        "const field = document.getElementById('detector_node.score_threshold');"
        "field.value = arguments[0]; field.dispatchEvent(new Event('change'))"
    )
    run(browser, change, '0.35')
    wait_until(lambda: robot.values['detector_node', 'score_threshold'] == 0.35)
    run(browser, change, '9')
    wait_until(lambda: 'out of range' in text_of(browser, 'message'))
    assert (
        run(browser, "return document.getElementById('detector_node.score_threshold').value")
        == '0.35'
    )


def test_names_are_text_never_markup(serve, browser):
    _, _, base = serve()
    browser.get(base)
    wait_until(lambda: '<b>Ada</b> arrived' in text_of(browser, 'events'))


def test_token_is_typed_in(serve, browser):
    _, _, base = serve(host='0.0.0.0', token='correct-horse-battery-staple')
    browser.get(base)
    wait_until(lambda: run(browser, "return !!document.getElementById('token')"))
    run(
        browser,
        "document.getElementById('token').value = 'correct-horse-battery-staple';"
        "document.querySelector('button').click()",
    )
    wait_until(lambda: run(browser, "return !!document.getElementById('faces')"))
    wait_until(lambda: 'Ada' in text_of(browser, 'faces'))


@pytest.fixture
def phone(tmp_path):
    browser = open_browser(tmp_path / 'phone', 390, 844)
    browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        {'width': 390, 'height': 844, 'deviceScaleFactor': 2, 'mobile': True},
    )
    yield browser
    browser.quit()


def test_page_fits_a_phone(serve, phone):
    _, _, base = serve()
    phone.get(base)
    wait_until(lambda: 'Ada' in text_of(phone, 'faces'))
    assert run(phone, 'return document.documentElement.scrollWidth') <= 390
    small = run(
        phone,
        "return Array.from(document.querySelectorAll('button, input, select')).filter("
        '(b) => b.offsetParent && b.offsetHeight < 40).length',
    )
    assert small == 0
    tops = run(
        phone,
        "return ['live', 'faces', 'people', 'events', 'diagnostics', 'load-parameters'].map("
        '(name) => document.getElementById(name).getBoundingClientRect().top)',
    )
    assert tops == sorted(tops), 'what matters most comes first'


def test_everything_is_done_by_touch_on_a_phone(serve, phone):
    """Elements are clicked where they are: one that is covered or too narrow raises."""
    robot, _, base = serve()
    phone.get(base)

    def tap(selector):
        found = phone.find_element('css selector', selector)
        run(phone, "arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()
        return found

    seen = set()
    wait_until(lambda: seen.add(brightness(phone)) or {0, 255} <= seen)
    wait_until(lambda: 'Ada' in text_of(phone, 'people'))
    tap('#enroll-name').send_keys('Bob')
    tap('#enroll button')
    wait_until(lambda: robot.people == ['Ada', 'Bob'])
    tap('#load-parameters')
    wait_until(lambda: phone.find_elements('css selector', '#parameters summary'))
    tap('#parameters summary')
    field = tap('[id="detector_node.score_threshold"]')
    field.clear()
    field.send_keys('0.4\n')
    wait_until(lambda: robot.values['detector_node', 'score_threshold'] == 0.4)


def test_page_talks_to_its_own_server_only_and_logs_no_error(serve, browser):
    _, _, base = serve()
    browser.get(base)
    wait_until(lambda: 'Ada' in text_of(browser, 'faces'))
    addresses = [
        json.loads(entry['message'])['message'] for entry in browser.get_log('performance')
    ]
    asked = [
        entry['params']['request']['url']
        for entry in addresses
        if entry['method'] == 'Network.requestWillBeSent'
    ]
    network = [address for address in asked if address.startswith(('http', 'ws', 'ftp'))]
    assert network and all(address.startswith(base) for address in network)
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []
