# SPDX-License-Identifier: Apache-2.0
"""The scores as an image: HOTA and IDF1 by sequence, and identity switches in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from face_tracking.errors import UserError
from face_tracking.evaluation.tracking_metrics import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Table = Mapping[str, Mapping[str, Scores]]


def draw(tables: Mapping[int, Table], path: str | Path) -> None:
    """Draw ``{interval: {tracker: {sequence: Scores}}}`` into a file.

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
    figure, axes = pyplot.subplots(
        len(tables),
        3,
        figsize=(15, 3.6 * len(tables)),
        squeeze=False,
        width_ratios=(5, 5, 1.4),
        layout='constrained',
    )
    for row, (interval, table) in zip(axes, tables.items(), strict=True):
        _bars(row[0], table, 'HOTA', lambda scores: 100 * scores.hota)
        _bars(row[1], table, 'IDF1', lambda scores: 100 * scores.idf1)
        _switches(row[2], table)
        row[0].set_ylabel(
            f'per cent, detection in every {interval}. image'
            if interval > 1
            else 'per cent, detection in every image'
        )
    axes[0][0].legend(fontsize=8, loc='lower left')
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise UserError(
            f'the plot {path} cannot be written ({error})',
            'give a writable path that ends in .png, .svg or .pdf',
        ) from error
    finally:
        pyplot.close(figure)


def _bars(axes: Axes, table: Table, title: str, value: Callable[[Scores], float]) -> None:
    """Draw a group of bars for each sequence, a bar for each tracker."""
    sequences = list(next(iter(table.values())))
    width = 0.8 / len(table)
    for index, (name, rows) in enumerate(table.items()):
        places = [
            place + (index - (len(table) - 1) / 2) * width for place in range(len(sequences))
        ]
        axes.bar(places, [value(rows[key]) for key in sequences], width, label=name)
    axes.set_xticks(range(len(sequences)), sequences, rotation=40, ha='right', fontsize=8)
    axes.set_title(title)
    axes.set_ylim(0, 100)


def _switches(axes: Axes, table: Table) -> None:
    for index, (_, rows) in enumerate(table.items()):
        axes.bar(index, rows['all'].switches)
    axes.set_xticks(range(len(table)), list(table), rotation=40, ha='right', fontsize=8)
    axes.set_title('switches, all')
