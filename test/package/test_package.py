# SPDX-License-Identifier: Apache-2.0
"""The package as ROS sees it: manifest, installed files, executables, messages."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path

import pytest

import face_tracking

ROOT = Path(__file__).resolve().parents[2]

# REP 2016 hashes of vision_msgs 4.1.1 and hri_msgs 2.0.0, as their own definitions give them.
TYPE_HASHES = {
    'vision_msgs/Detection2DArray': (
        'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968'
    ),
    'vision_msgs/Detection2D': (
        'RIHS01_0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea'
    ),
    'hri_msgs/FacialLandmarks': (
        'RIHS01_f1d6b0ba159f4d6be1632e5dfc9cb79ce5e35da73888da2a4789bd9b35112a63'
    ),
    'hri_msgs/IdsList': 'RIHS01_7e0812d1ac945c98fd3e393568d581ad0ab567f37b24eff633eab778c1bfe62d',
    'hri_msgs/NormalizedPointOfInterest2D': (
        'RIHS01_cc1d2f720c82afeb850ff1dbf66f41ecb7caf19f842987f1247e66160cf03953'
    ),
    'hri_msgs/NormalizedRegionOfInterest2D': (
        'RIHS01_2e50c93f1ca166ee77af9a5424dc951ae4e452b740162a7f83c082d917dcaff5'
    ),
}
# Python modules that come with no package of their own name.
KNOWN_BY = {
    'cv2': 'python3-opencv',
    'yaml': 'python3-yaml',
    'numpy': 'python3-numpy',
    'scipy': 'python3-scipy',
    'tqdm': 'python3-tqdm',
    'psutil': 'python3-psutil',
}
# From PyPI, pinned in requirements.txt: rosdep has no key for them.
OPTIONAL = {'hri_msgs'}
"""Packages that a node imports only where they are installed, and does without elsewhere."""
FROM_PYPI = {'tvm', 'tvm_ffi', 'onnx'}


@pytest.fixture(scope='module')
def manifest():
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def test_versions_agree(manifest):
    assert manifest.get('format') == '3'
    version = manifest.findtext('version')
    assert face_tracking.__version__ == version
    assert f'\nversion: {version}\n' in (ROOT / 'CITATION.cff').read_text()
    assert f'\n## [{version}] - 20' in (ROOT / 'CHANGELOG.md').read_text()


def test_manifest_names_author_and_web_page(manifest):
    assert manifest.findtext('url').startswith('https://')
    assert manifest.findtext('author')


def test_version_is_read_from_the_manifest_only():
    assert 'version=version()' in (ROOT / 'setup.py').read_text()
    with pytest.raises(AttributeError, match='no attribute'):
        face_tracking.__getattr__('anything_else')


def test_list_of_files_without_type_check_is_up_to_date():
    config = (ROOT / 'pyrightconfig.json').read_text()
    excluded = re.findall(r'"(face_tracking/[^"]+)"', config)
    for name in excluded:
        assert (ROOT / name).is_file(), f'take {name} from the list in pyrightconfig.json'


@pytest.mark.parametrize('name', TYPE_HASHES)
def test_type_hash_is_the_originals(name, ros_domain):
    import rclpy

    package, _, kind = name.partition('/')
    message = getattr(pytest.importorskip(f'{package}.msg'), kind)
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    try:
        node = rclpy.create_node('type_hash', context=context)
        node.create_publisher(message, 'hashed', 1)
        (info,) = node.get_publishers_info_by_topic('hashed')
        assert str(info.topic_type_hash) == TYPE_HASHES[name]
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)


def test_every_ros_import_is_a_dependency(manifest):
    declared = {tag.text for kind in ('depend', 'exec_depend') for tag in manifest.findall(kind)}
    pattern = re.compile(r'^\s*(?:from|import)\s+([a-z_0-9]+)', re.MULTILINE)
    for path in [*ROOT.glob('face_tracking/nodes/*.py'), *ROOT.glob('launch/*.py')]:
        for module in pattern.findall(path.read_text()):
            if module in sys.stdlib_module_names or module in {*FROM_PYPI, *OPTIONAL}:
                continue
            if module == 'face_tracking':
                continue
            assert KNOWN_BY.get(module, module) in declared, f'{path.name} imports {module}'


def test_executables_answer_to_help():
    entry = re.compile(r"'(\w+) = ([\w.]+):(\w+)'")
    entries = entry.findall((ROOT / 'setup.py').read_text())
    assert {'camera_node', 'detector_node', 'tracker_node', 'pipeline', 'face_tracking'} <= {
        name for name, _, _ in entries
    }
    for _, module, function in entries:
        assert callable(getattr(import_module(module), function))


def test_share_folder_is_complete(tmp_path):
    """Install as colcon does and look for what is read at run time."""
    done = subprocess.run(
        [
            sys.executable,
            'setup.py',
            '--quiet',
            'egg_info',
            '--egg-base',
            str(tmp_path),
            'build',
            '--build-base',
            str(tmp_path / 'build'),
            'install',
            '--prefix',
            str(tmp_path / 'prefix'),
            '--single-version-externally-managed',
            '--record',
            str(tmp_path / 'record'),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    share = tmp_path / 'prefix' / 'share'
    assert (share / 'ament_index/resource_index/packages/face_tracking').is_file()
    for folder in ('launch', 'config', 'models'):
        for path in (ROOT / folder).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                assert (share / 'face_tracking' / path.relative_to(ROOT)).is_file(), path
    assert (share / 'face_tracking/LICENSE').is_file()
    assert list((tmp_path / 'prefix').rglob('face_tracking/py.typed'))
    for name in ('camera_node', 'detector_node', 'tracker_node', 'pipeline'):
        assert (tmp_path / 'prefix/lib/face_tracking' / name).is_file()


def test_rosdep_keys_have_the_versions_of_the_requirements():
    import yaml

    keys = yaml.safe_load((ROOT / 'rosdep/face_tracking.yaml').read_text())
    pinned = (ROOT / 'requirements.txt').read_text().splitlines()
    for systems in keys.values():
        for system in systems.values():
            assert set(system['pip']['packages']) <= set(pinned)


@pytest.mark.parametrize(('value', 'wanted'), [('1', True), ('', False)])
def test_rosdep_installs_by_pip_on_request_only(value, wanted):
    catkin_package = pytest.importorskip('catkin_pkg.package', reason='needs catkin_pkg')
    package = catkin_package.parse_package(str(ROOT / 'package.xml'))
    package.evaluate_conditions({'FACE_TRACKING_PIP': value})
    needed = {depend.name for depend in package.exec_depends if depend.evaluated_condition}
    assert ('face_tracking_python' in needed) is wanted
    assert 'vision_msgs' in needed
