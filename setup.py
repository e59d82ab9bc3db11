# SPDX-License-Identifier: Apache-2.0
"""ament_python package: which files are installed where."""

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'face_tracking'
SHARED = ('launch', 'config', 'models', 'urdf', 'benchmarks', 'policies', 'packaging')


def share(folder: str) -> list[tuple[str, list[str]]]:
    """List a folder's files for ``share/face_tracking``, sub-folders kept."""
    by_folder: dict[str, list[str]] = {}
    for path in sorted(Path(folder).rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            by_folder.setdefault(str(path.parent), []).append(str(path))
    return [(f'share/{PACKAGE}/{name}', files) for name, files in by_folder.items()]


def version() -> str:
    """Return the version of package.xml, the one place that states it."""
    text = Path('package.xml').read_text(encoding='utf-8')
    return re.search(r'<version>(.+?)</version>', text).group(1)


setup(
    name=PACKAGE,
    version=version(),
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={
        PACKAGE: ['py.typed'],
        f'{PACKAGE}.web': ['static/*'],
        f'{PACKAGE}.compiler': ['tuned/*.json', 'tuning/*.c'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (
            f'share/{PACKAGE}',
            ['package.xml', 'LICENSE', 'requirements.txt', 'requirements-actions.txt'],
        ),
        # On PATH after sourcing a workspace; setup.cfg puts the executables into lib/.
        ('bin', [f'scripts/{PACKAGE}']),
        *(entry for folder in SHARED for entry in share(folder)),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools'],
    # requirements-actions.txt pins versions that agree with each other.
    extras_require={
        'test': ['pytest'],  # by which colcon test runs pytest
        'web': ['aiohttp>=3.9'],
        'mqtt': ['paho-mqtt>=2.0'],
        'gpio': ['gpiozero>=2.0'],
        'record': ['rosbags>=0.10'],
    },
    zip_safe=False,
    author='face_tracking maintainers',
    maintainer='face_tracking maintainers',
    maintainer_email='maintainers@users.noreply.github.com',
    description='Face detection, tracking and a pan-tilt head for ROS 2 robots.',
    url='https://index.ros.org/p/face_tracking',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'face_tracking = face_tracking.cli.main:main',
            'camera_node = face_tracking.entry_points:camera_node',
            'detector_node = face_tracking.entry_points:detector_node',
            'tracker_node = face_tracking.entry_points:tracker_node',
            'pan_tilt_node = face_tracking.entry_points:pan_tilt_node',
            'recognizer_node = face_tracking.entry_points:recognizer_node',
            'pipeline = face_tracking.entry_points:pipeline',
            'events_node = face_tracking.entry_points:events_node',
            'speech_node = face_tracking.entry_points:speech_node',
            'web_node = face_tracking.entry_points:web_node',
            'rtsp_node = face_tracking.entry_points:rtsp_node',
            'mqtt_node = face_tracking.entry_points:mqtt_node',
            'anonymizer_node = face_tracking.entry_points:anonymizer_node',
            'recorder_node = face_tracking.entry_points:recorder_node',
            'attention_node = face_tracking.entry_points:attention_node',
            'hri_node = face_tracking.entry_points:hri_node',
            'tracks_3d_node = face_tracking.entry_points:tracks_3d_node',
            'actions = face_tracking.entry_points:actions',
        ],
    },
)
