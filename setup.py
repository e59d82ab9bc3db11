# SPDX-License-Identifier: Apache-2.0
"""ament_python package: which files are installed where."""

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'face_tracking'
SHARED = ('launch', 'config', 'models', 'urdf', 'benchmarks')


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
    package_data={PACKAGE: ['py.typed'], f'{PACKAGE}.compiler': ['tuned/*.json']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml', 'LICENSE', 'requirements.txt']),
        *(entry for folder in SHARED for entry in share(folder)),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools'],
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
            'pipeline = face_tracking.entry_points:pipeline',
        ],
    },
)
