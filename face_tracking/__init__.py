# SPDX-License-Identifier: Apache-2.0
"""Face perception for robots: detect faces, track each with a stable id, turn to them."""

__version__: str


def __getattr__(name: str) -> str:
    """Return the version of the installed package, which setup.py takes from package.xml.

    Looked up on demand: reading the metadata of a distribution slows an import down.
    """
    if name != '__version__':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import metadata

    try:
        return metadata.version('face_tracking')
    except metadata.PackageNotFoundError:
        return 'unknown'
