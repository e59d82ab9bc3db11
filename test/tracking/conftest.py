# SPDX-License-Identifier: Apache-2.0
"""Make ``tracking_stage`` importable: with importlib's import mode, test folders are not."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
