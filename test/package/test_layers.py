# SPDX-License-Identifier: Apache-2.0
"""The layers of the subpackages and modules: imports point downwards."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / 'face_tracking'

LAYERS = (
    ('errors', 'exit_codes'),
    (
        *('__init__', 'arrays', 'backoff', 'child_process', 'files', 'heap'),
        *('native_exceptions', 'options', 'texts', 'time_units', 'time_window'),
    ),
    ('boxes', 'image_header', 'server_access', 'encoded_images'),
    ('camera_model', 'faces', 'frame', 'scaled_image', 'system_health'),
    ('load_shedder',),
    # Algorithms, free of ROS and of the engines.
    (
        *('anonymize', 'attention', 'detection', 'events', 'pan_tilt', 'spatial', 'tracking'),
        'visualization',
    ),
    ('recording', 'smart_home', 'speech', 'streaming', 'web'),
    ('compiler',),
    ('runtimes',),
    ('detector', 'multi_size_detector'),
    # A face embedding is a network as well.
    ('recognition',),
    ('camera',),
    ('simulation',),
    ('evaluation',),
    ('nodes',),
    ('bringup', 'entry_points'),
    ('cli',),
)
"""From the lowest layer to the highest; those of one layer do not import each other, unless
`WITHIN` says so."""
WITHIN = {('visualization', 'tracking'), ('multi_size_detector', 'detector')}
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix('').parts[0]


def imported_packages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and target of each import within the package, also of those inside functions."""
    packages = {package_of(file) for file in PACKAGE.rglob('*.py')}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno} imports relatively'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        for name in names:
            words = name.split('.')
            if words[0] == 'face_tracking' and len(words) > 1 and words[1] in packages:
                yield node.lineno, words[1]


FILES = sorted(PACKAGE.rglob('*.py'))


def test_every_package_has_a_layer():
    packages = {package_of(path) for path in FILES}
    assert packages <= set(LEVEL), f'add {sorted(packages - set(LEVEL))} to LAYERS'


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    package = package_of(path)
    for line, other in imported_packages(path):
        if other == package or (package, other) in WITHIN:
            continue
        assert LEVEL[other] < LEVEL[package], f'{path}:{line}: {package} imports {other}'


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_importing_changes_neither_environment_nor_modules(path):
    """Statements at module level neither set environment variables nor touch sys.modules."""
    tree = ast.parse(path.read_text())
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            continue
        if _is_main_guard(statement):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f'{node.value.id}.{node.attr}'
                assert name not in ('os.putenv', 'sys.modules', 'sys.path'), (
                    f'{path}:{node.lineno}'
                )
            if isinstance(node, ast.Assign | ast.Delete | ast.Call):
                text = ast.unparse(node)
                assert not text.startswith(('os.environ[', 'del os.environ')), text
                assert not text.startswith(('os.environ.setdefault', 'os.environ.update')), text


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and '__main__' in ast.unparse(statement.test)
