#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Point the CMake files of the ROS wheels at this interpreter.

The wheels were built in a container, and their exported targets name that machine's folders for
Python's and NumPy's headers. Run with the interpreter of the virtual environment.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILDERS = {
    re.compile(r'/opt/python/cp3\d+-cp3\d+/include/python3\.\d+'): sysconfig.get_path('include'),
    re.compile(
        r'/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages/numpy/(_core|core)/include'
    ): numpy.get_include(),
}


def main() -> None:
    """Rewrite every ``*.cmake`` below the folder named by the first argument."""
    for path in Path(sys.argv[1]).rglob('*.cmake'):
        text = path.read_text()
        for pattern, here in BUILDERS.items():
            text = pattern.sub(here, text)
        if text != path.read_text():
            path.write_text(text)


if __name__ == '__main__':
    main()
