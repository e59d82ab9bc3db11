# SPDX-License-Identifier: Apache-2.0
"""ament_python package: what is installed where."""

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


setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={f'{PACKAGE}.compiler': ['tuned/*.json']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        *(entry for folder in SHARED for entry in share(folder)),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools'],
    zip_safe=False,
    author='face_tracking maintainers',
    maintainer='face_tracking maintainers',
    maintainer_email='maintainers@users.noreply.github.com',
    description='Eyes for faces: find, follow and turn towards the faces a camera sees.',
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
