# SPDX-License-Identifier: Apache-2.0
"""Where trackers lose HOTA: misses and false positives by cause, and what each is worth.

For each sequence and tracker: HOTA and its parts (detection recall and precision, association and
localization accuracy), then the images in which a face is missed (IoU 0.5)

* ``before`` its first track, ``between`` two tracks, ``after`` its last, or ``never`` covered,
* or while a box lies beside it (``beside``: IoU 0.3 to 0.5),

and the boxes on no face: ``beside`` one, of a track that covered a face before (``stale``), or of
one that never did (``ghost``). The last three columns say how much higher HOTA would be with exact
boxes on all faces found, without false positives, and without misses. A second table says how
accurate the boxes of face_tracking are in the images after a detection, at --coasting images
between detections: mean IoU with the ground truth.

    python benchmarks/tracking/losses.py ../shared/videos    # folders of clips
    python benchmarks/tracking/losses.py stroll party        # synthetic sequences
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from face_tracking.arrays import FloatArray, IntArray
from face_tracking.cli import arguments
from face_tracking.cli.evaluate import sequences_of
from face_tracking.detector import create_detector
from face_tracking.evaluation.baselines import IdealAssociation, LibraryTracker, OwnTracker
from face_tracking.evaluation.runner import follow, watch
from face_tracking.evaluation.tracking_metrics import Sheet, metrics_library
from face_tracking.tracking.association import assign

OWN = 'face_tracking'
FOUND, BESIDE = 0.5, 0.3  # IoU
MISSES = ('before', 'between', 'after', 'never', 'beside')
FALSE_POSITIVES = ('beside', 'stale', 'ghost')
PARTS = ('HOTA', 'DetRe', 'DetPr', 'AssA', 'LocA')

Image = tuple[IntArray, IntArray, FloatArray]
"""The people in an image, the ids of the tracks, and their overlaps (people, tracks)."""


def images_of(sheet: Sheet) -> Iterable[Image]:
    """Yield the images of a sheet."""
    return zip(sheet.truth_ids, sheet.ids, sheet.overlaps, strict=True)


def matched(overlap: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the pairs of a person and a track on it."""
    return assign(1 - overlap, overlap >= FOUND)


def misses(sheet: Sheet) -> Counter[str]:
    """Count the images in which a person is missed, by cause."""
    states: dict[int, list[tuple[bool, bool]]] = defaultdict(list)  # found, beside
    for people, _, overlap in images_of(sheet):
        rows, best = set(matched(overlap)[0].tolist()), overlap.max(axis=1, initial=0.0)
        for row, person in enumerate(people.tolist()):
            states[person].append((row in rows, best[row] >= BESIDE))
    counts: Counter[str] = Counter()
    for states_of_one in states.values():
        found = [index for index, (is_found, _) in enumerate(states_of_one) if is_found]
        for index, (is_found, beside) in enumerate(states_of_one):
            if not is_found:
                counts[
                    'beside'
                    if beside
                    else 'never'
                    if not found
                    else 'before'
                    if index < found[0]
                    else 'after'
                    if index > found[-1]
                    else 'between'
                ] += 1
    return counts


def false_positives(sheet: Sheet) -> Counter[str]:
    """Count the boxes on no face, by cause."""
    counts: Counter[str] = Counter()
    known: set[int] = set()
    for _, ids, overlap in images_of(sheet):
        columns, best = matched(overlap)[1], overlap.max(axis=0, initial=0.0)
        known.update(ids[columns].tolist())
        for column in sorted(set(range(len(ids))) - set(columns.tolist())):
            stale = int(ids[column]) in known
            counts['beside' if best[column] >= BESIDE else 'stale' if stale else 'ghost'] += 1
    return counts


def with_exact_boxes(sheet: Sheet) -> Sheet:
    """Return the sheet with exact boxes on all faces found."""
    exact = [np.zeros_like(overlap) for overlap in sheet.overlaps]
    for ones, overlap in zip(exact, sheet.overlaps, strict=True):
        ones[matched(overlap)] = 1.0
    return Sheet(sheet.truth_ids, sheet.ids, exact, sheet.milliseconds)


def without_false_positives(sheet: Sheet) -> Sheet:
    """Return the sheet without the boxes on no face."""
    kept = [matched(overlap)[1] for overlap in sheet.overlaps]
    return Sheet(
        sheet.truth_ids,
        [ids[columns] for ids, columns in zip(sheet.ids, kept, strict=True)],
        [overlap[:, columns] for overlap, columns in zip(sheet.overlaps, kept, strict=True)],
        sheet.milliseconds,
    )


def without_misses(sheet: Sheet) -> Sheet:
    """Return the sheet with an exact box on each face missed, under the person's usual id."""
    usual: dict[int, Counter[int]] = defaultdict(Counter)
    for people, ids, overlap in images_of(sheet):
        for row, column in zip(*matched(overlap), strict=True):
            usual[int(people[row])][int(ids[column])] += 1
    new = 1 + max((int(ids.max(initial=0)) for ids in sheet.ids), default=0)
    result = Sheet(milliseconds=sheet.milliseconds)
    for people, ids, overlap in images_of(sheet):
        missed = np.setdiff1d(np.arange(len(people)), matched(overlap)[0])
        names = np.array(
            [
                usual[person].most_common(1)[0][0] if usual[person] else new + person
                for person in people[missed].tolist()
            ],
            int,
        )
        others = ~np.isin(ids, names)
        result.truth_ids.append(people)
        result.ids.append(np.concatenate([ids[others], names]))
        result.overlaps.append(np.hstack([overlap[:, others], np.eye(len(people))[:, missed]]))
    return result


def parts_of_hota(sheets: Iterable[Sheet]) -> dict[str, float]:
    """Return HOTA and its parts over all sheets together, per cent."""
    library = metrics_library()
    parts = []
    for sheet in sheets:
        names = [np.unique(np.concatenate(ids)) for ids in (sheet.truth_ids, sheet.ids)]
        counted = [
            [np.searchsorted(known, row) for row in ids]
            for known, ids in zip(names, (sheet.truth_ids, sheet.ids), strict=True)
        ]
        parts.append(library.compute_hota_metrics(*counted, sheet.overlaps))
    total = library.aggregate_hota_metrics(parts)
    return {name: 100 * float(total[name]) for name in PARTS}


def line(sequence: str, name: str, sheets: list[Sheet]) -> str:
    """Return a line of the table."""
    parts = parts_of_hota(sheets)
    missed = sum((misses(sheet) for sheet in sheets), Counter())
    false = sum((false_positives(sheet) for sheet in sheets), Counter())
    changes: tuple[Callable[[Sheet], Sheet], ...] = (
        with_exact_boxes,
        without_false_positives,
        without_misses,
    )
    gains = [parts_of_hota(map(change, sheets))['HOTA'] - parts['HOTA'] for change in changes]
    return ' '.join(
        [
            f'{sequence:12} {name:13}',
            *(f'{parts[part]:7.1f}' for part in PARTS),
            ' |',
            *(f'{missed[cause]:7d}' for cause in MISSES),
            ' |',
            *(f'{false[cause]:7d}' for cause in FALSE_POSITIVES),
            ' |',
            *(f'{gain:+7.1f}' for gain in gains),
        ]
    )


def accuracy_after_detection(sheets: Iterable[Sheet], interval: int) -> list[float]:
    """Return the mean IoU of faces found, by images since the last detection, per cent."""
    overlaps: list[list[float]] = [[] for _ in range(interval)]
    for sheet in sheets:
        for index, overlap in enumerate(sheet.overlaps):
            overlaps[index % interval] += overlap[matched(overlap)].tolist()
    return [100 * float(np.mean(row)) for row in overlaps]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('sequences', nargs='*', help='as of "face_tracking evaluate"')
    parser.add_argument('--coasting', type=arguments.positive, default=5, metavar='N')
    parser.add_argument('--input-size', type=arguments.size, metavar='WxH')
    arguments.add_detector_arguments(parser)
    args = parser.parse_args()
    chosen = {**arguments.detector_options(args), 'score_threshold': 0.3}
    detector = create_detector(input_size=args.input_size, **chosen)
    sheets: dict[str, dict[str, Sheet]] = {}
    coasted: list[Sheet] = []
    for sequence, images, _ in sequences_of(args.sequences):
        watched = watch(images, detector)
        truths = [truth for _, truth, _ in watched]
        makers = {
            OWN: OwnTracker,
            'botsort': lambda: LibraryTracker('botsort'),
            'ideal': lambda truths=truths: IdealAssociation(truths),
        }
        sheets[sequence] = follow(watched, 1, makers)
        coasted.append(follow(watched, args.coasting, {OWN: OwnTracker})[OWN])
    detector.close()
    columns = (
        f'{"sequence":12} {"tracker":13}',
        *(f'{part:>7}' for part in PARTS),
        ' |',
        *(f'{cause:>7}' for cause in MISSES),
        ' |',
        *(f'{cause:>7}' for cause in FALSE_POSITIVES),
        ' |',
        *(f'{gain:>7}' for gain in ('exact', 'no FP', 'no miss')),
    )
    print(' '.join(columns))
    for name in next(iter(sheets.values())):
        for sequence, found in sheets.items():
            print(line(sequence, name, [found[name]]))
        print(line('all', name, [found[name] for found in sheets.values()]))
    row = accuracy_after_detection(coasted, args.coasting)
    print(f'\ndetection in every {args.coasting}. image, mean IoU by images since the detection:')
    print('  '.join(f'{index}: {value:.1f}' for index, value in enumerate(row)))


if __name__ == '__main__':
    main()
