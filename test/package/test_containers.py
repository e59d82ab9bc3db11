# SPDX-License-Identifier: Apache-2.0
"""compose.yaml and .devcontainer agree with the launch files and with what the checks install."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from face_tracking.bringup.arguments import Chosen
from face_tracking.bringup.launch_files import LAUNCH_FILES

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'compose.yaml').read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE['services']
ROBOTS = {name: each for name, each in SERVICES.items() if each['image'] == 'face_tracking'}
PROFILES = ('pi', 'simulation', 'home')


def in_profile(profile):
    """Return the services that a profile starts, by name."""
    return {name: each for name, each in SERVICES.items() if profile in each['profiles']}


def launched(service):
    """Return the launch file of a service and its arguments, with the defaults of variables."""
    command = re.sub(r'\$\{\w+:-([^}]*)\}', r'\1', service['command'])
    word, name, *arguments = command.split()
    assert word == 'launch' and '$' not in command
    return name.partition('.')[0], dict(argument.split(':=', 1) for argument in arguments)


@pytest.mark.parametrize('name', ROBOTS)
def test_service_launches_with_arguments_that_exist(name):
    file, given = launched(SERVICES[name])
    rows = LAUNCH_FILES[file].arguments
    values = {row.name: row.default for row in rows}
    assert set(given) <= set(values)
    folder = given.get('actions_file', '').rpartition('/')[2]
    if folder:
        given['actions_file'] = str(ROOT / 'config' / folder)  # mounted as /config
    assert LAUNCH_FILES[file].plan(Chosen(rows, {**values, **given}))


@pytest.mark.parametrize('profile', PROFILES)
def test_profile_starts_one_robot_and_is_described(profile):
    services = in_profile(profile)
    assert len(set(services) & set(ROBOTS)) == 1
    assert f'--profile {profile} up' in TEXT.partition('services:')[0]


def test_every_service_belongs_to_a_profile():
    assert {word for each in SERVICES.values() for word in each['profiles']} == set(PROFILES)


def test_robot_at_home_talks_to_the_broker_beside_it():
    (robot,) = (each for name, each in in_profile('home').items() if name in ROBOTS)
    _, arguments = launched(robot)
    assert f'{arguments["mqtt"]}:1883:1883' in SERVICES['broker']['ports']


def test_robots_are_confined():
    for service in ROBOTS.values():
        assert service['read_only'] is True and service['cap_drop'] == ['ALL']
        assert 'no-new-privileges:true' in service['security_opt']
        assert 'privileged' not in service


def test_volumes_are_declared():
    used = {
        volume.partition(':')[0]
        for service in SERVICES.values()
        for volume in service.get('volumes', ())
    }
    assert {name for name in used if name[0] not in './'} == set(COMPOSE['volumes'])


@pytest.mark.parametrize('profile', PROFILES)
def test_compose_reads_the_file(profile):
    if (
        shutil.which('docker') is None
        or subprocess.run(
            ['docker', 'compose', 'version'], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip('needs docker compose')
    subprocess.run(
        ['docker', 'compose', '--profile', profile, 'config', '--quiet'], check=True, cwd=ROOT
    )


def packages_of(path):
    """Return the packages that a script or Dockerfile installs from apt."""
    text = path.read_text().replace('\\\n', ' ')
    calls = re.findall(r'apt-get[^&|;}]* install([^&|;}>]*)', text)
    return {word for call in calls for word in call.split() if not word.startswith('-')}


def test_development_container_has_what_the_checks_install():
    text = (ROOT / '.devcontainer/devcontainer.json').read_text()
    config = json.loads(re.sub(r'^\s*//.*$', '', text, flags=re.M))
    dockerfile = ROOT / '.devcontainer' / config['build']['dockerfile']
    emulator = {'qemu-user', 'gcc-aarch64-linux-gnu', 'libc6-dev-arm64-cross'}
    browser = {'chromium', 'chromium-driver'}  # Ubuntu has it as a snap only
    wanted = packages_of(ROOT / '.ci/run') - emulator - browser
    assert len(wanted) > 5 and wanted <= packages_of(dockerfile)
