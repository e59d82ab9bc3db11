# SPDX-License-Identifier: Apache-2.0
"""Exit codes of the nodes' executables, as sysexits.h numbers them."""

OK = 0
CONFIGURATION = 78
"""The arguments or parameters cannot be used (EX_CONFIG): a restart does not help, so the launch
files and the systemd unit do not start the process again."""
STUCK = 70
"""A thread did not return (EX_SOFTWARE): a restart helps."""
