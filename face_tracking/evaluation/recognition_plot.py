# SPDX-License-Identifier: Apache-2.0
"""The ROC curve of a recognition network as an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from face_tracking.arrays import FloatArray
from face_tracking.errors import UserError


def draw_roc(curves: Mapping[str, tuple[FloatArray, FloatArray]], path: str | Path) -> None:
    """Draw curves (share of pairs of two people accepted, share of pairs of one) into a file.

    :raises UserError: matplotlib is missing or the file cannot be written.
    """
    try:
        import matplotlib

        matplotlib.use('Agg')
        from matplotlib import pyplot
    except ImportError as error:
        raise UserError(
            'the plot needs matplotlib, which is missing', 'install it: pip install matplotlib'
        ) from error
    figure, axes = pyplot.subplots(figsize=(6, 4.5), layout='constrained')
    for name, (false_rates, true_rates) in curves.items():
        axes.plot(false_rates, true_rates, label=name)
    axes.set_xscale('log')
    axes.set_xlim(1e-5, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.set_xlabel('pairs of two people accepted (FAR)')
    axes.set_ylabel('pairs of one person accepted (TAR)')
    axes.legend(loc='lower right')
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise UserError(
            f'the plot {path} cannot be written ({error})',
            'give a writable path that ends in .png, .svg or .pdf',
        ) from error
    finally:
        pyplot.close(figure)
