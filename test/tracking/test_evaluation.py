# SPDX-License-Identifier: Apache-2.0
"""Sequences repeat themselves exactly, metrics count what they should, and ids survive."""

import builtins
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from face_tracking.cli.main import main
from face_tracking.errors import UserError
from face_tracking.evaluation import tracking_metrics
from face_tracking.evaluation.actors import find_people
from face_tracking.evaluation.baselines import (
    DetectAndTrack,
    IdealAssociation,
    LibraryTracker,
    OwnTracker,
)
from face_tracking.evaluation.clips import Clip, find_clips
from face_tracking.evaluation.failures import FailureSheets
from face_tracking.evaluation.id_survival import absence, judge, occlusion
from face_tracking.evaluation.mot_format import track_lines, truth_lines
from face_tracking.evaluation.runner import every, follow
from face_tracking.evaluation.sequences import (
    Person,
    Script,
    Sequence,
    held_out_people,
    load_script,
    script_of,
    sequence_names,
)
from face_tracking.evaluation.tracking_metrics import Sheet, initiation_delays, score
from face_tracking.faces import Detections
from face_tracking.simulation.rendering import GroundTruth

SMALL = (320, 240)  # quicker to draw
TWO = 2  # the people that are always there: tests must not depend on those of ../shared


@pytest.fixture(scope='session')
def people():
    return find_people()[:TWO]


def seen(truth, rng=None):
    """Return what a good detector would find: faces of which more than half shows."""
    rows = np.flatnonzero(truth.visibility > 0.55)
    boxes = truth.boxes[rows].copy()
    if rng is not None:
        boxes += rng.normal(0, 1, boxes.shape)
    scores = (0.6 + 0.33 * truth.visibility[rows]).astype(np.float32)
    return Detections(truth.stamp, boxes, scores, np.full((len(rows), 5, 2), np.nan, np.float32))


def video(script, people):
    rng = np.random.default_rng(0)
    return [(frame, truth, seen(truth, rng)) for frame, truth in Sequence(script, people)]


def need_trackers():
    pytest.importorskip(
        'trackers.eval', reason='needs dev/requirements-evaluation.txt', exc_type=ImportError
    )


def test_a_script_always_gives_the_same_images(people):
    script = Script('twice', (Person(), Person('dart')), seed=5, duration=0.5, drops=0.3)
    for (one, truth), (other, again) in zip(
        Sequence(script, people), Sequence(script, people), strict=True
    ):
        assert one.stamp == other.stamp
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(truth.boxes, again.boxes)


def test_another_seed_is_another_video(people):
    scripts = [Script('seeds', (Person(),), seed=seed, duration=0.1) for seed in (1, 2)]
    first, second = (next(iter(Sequence(script, people)))[1] for script in scripts)
    assert abs(first.boxes - second.boxes).max() > 5


def test_every_sequence_of_the_set_can_be_read_and_drawn(people):
    assert len(sequence_names()) >= 10
    for name in sequence_names():
        script = load_script(name)
        frame, truth = next(iter(Sequence(script, people)))
        assert frame.image.shape == (480, 640, 3)
        assert len(truth.ids) <= len(script.people)


def test_the_set_held_out_is_another(people):
    assert len(sequence_names(held_out=True)) >= 10
    assert not set(sequence_names(held_out=True)) & set(sequence_names())
    for name in sequence_names(held_out=True):
        frame, _ = next(iter(Sequence(load_script(name, held_out=True), people)))
        assert frame.image.shape == (480, 640, 3)


def test_who_acts_in_the_mixed_set_does_not_act_in_the_one_held_out():
    crowd = tuple(range(40))
    unseen = held_out_people(crowd)
    assert 5 <= len(unseen) < 40
    for script in map(load_script, sequence_names()):
        acting = np.random.default_rng(script.seed).permutation(40)[: len(script.people)]
        assert not set(acting.tolist()) & set(unseen)
    assert held_out_people(crowd[:2]) == crowd[:2]  # too few to choose from


@pytest.mark.parametrize(
    'content', [{}, {'people': [{'motion': 'fly'}]}, {'people': [{}], 'speed': 3}, {'people': 7}]
)
def test_impossible_script_is_refused(content, tmp_path):
    path = tmp_path / 'odd.yaml'
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match='is not a valid sequence'):
        load_script(str(path))
    with pytest.raises(UserError, match='there is no sequence "nosuch"'):
        load_script('nosuch')


def test_dropped_frames_are_missing_and_stamps_show_it(people):
    content = {'people': [{}], 'drops': 0.3, 'freeze': 0.2, 'duration': 7, 'size': [64, 48]}
    stamps = np.array([frame.stamp for frame, _ in Sequence(script_of(content), people)])
    gaps = np.round(np.diff(stamps) * 30e-9)
    assert gaps.min() == 1 and gaps.max() >= 6
    assert 100 < len(stamps) < 170


def truth_of(ids, boxes, visibility):
    return GroundTruth(
        0,
        np.array(ids),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(visibility, np.float32),
        tuple('abc'[: len(ids)]),
    )


LEFT, RIGHT = [0, 0, 50, 60], [200, 0, 250, 60]


def test_perfect_ids_score_perfectly_and_a_switch_is_counted():
    need_trackers()
    perfect, switched = Sheet(), Sheet()
    for k in range(20):
        truth = truth_of([1, 2], [LEFT, RIGHT], [1, 1])
        perfect.add(truth, np.array([7, 9]), np.array([LEFT, RIGHT]), (640, 480), 1.0)
        switched.add(
            truth, np.array([7, 9 if k < 10 else 11]), np.array([LEFT, RIGHT]), (640, 480), 1.0
        )
    best, worse = score([perfect]), score([switched])
    assert (best.hota, best.idf1, best.mota, best.switches) == pytest.approx((1, 1, 1, 0))
    assert worse.switches == 1
    assert worse.idf1 == pytest.approx(0.75)
    assert best.milliseconds == 1.0


def test_a_face_that_hardly_shows_counts_for_nobody():
    need_trackers()
    sheet = Sheet()
    for _ in range(5):
        sheet.add(
            truth_of([1, 2], [LEFT, RIGHT], [1, 0.2]),
            np.array([1, 2]),
            np.array([LEFT, RIGHT]),
            (640, 480),
            1.0,
        )
    assert score([sheet]).mota == pytest.approx(1)


def test_initiation_delay_is_counted_in_images_of_each_person():
    sheet = Sheet()
    for k in range(6):
        boxes = np.array([LEFT] if k >= 3 else [[400, 0, 450, 60]])
        truth = truth_of([1, 2, 3], [LEFT, RIGHT, [100, 100, 150, 160]], [1, 1, 0.2])
        sheet.add(truth, np.array([7]), boxes, (640, 480), 1.0)
    assert initiation_delays(sheet) == [3, 6]


def test_recall_and_false_positives_are_counted():
    need_trackers()
    sheet = Sheet()
    for _ in range(4):
        boxes = np.array([LEFT, [400, 0, 450, 60]])
        truth = truth_of([1, 2], [LEFT, RIGHT], [1, 1])
        sheet.add(truth, np.array([7, 8]), boxes, (640, 480), 1.0)
    scores = score([sheet])
    assert (scores.recall, scores.false_positives, scores.initiation_delay) == (0.5, 4, 2.0)


def test_the_ideal_association_makes_no_mistake(people):
    need_trackers()
    watched = video(Script('ideal', (Person(), Person('dart')), duration=1.0, size=SMALL), people)
    truths = [truth for _, truth, _ in watched]
    (sheet,) = follow(watched, 1, {'ideal': lambda: IdealAssociation(truths)}).values()
    scores = score([sheet])
    assert (scores.switches, scores.false_positives) == (0, 0) and scores.idf1 > 0.95


def test_mot_lines_are_as_the_challenge_has_them():
    truth = truth_of([1], [[10, 20, 60, 80]], [0.25])
    assert truth_lines(3, truth, 0.5) == ['3,1,10.00,20.00,50.00,60.00,0,1,0.250\n']
    assert track_lines(3, [4], np.array([[10, 20, 60, 80]])) == [
        '3,4,10.00,20.00,50.00,60.00,1,-1,-1,-1\n'
    ]


def test_ours_beats_its_rivals_on_a_crossing(people):
    """A small copy of the table in docs/tracking.md, without a detector: see there."""
    need_trackers()
    script = Script(
        'crossing',
        (
            Person('pass', 14, (1.1, 1.1), side=1, reach=16),
            Person('pass', 12, (1.5, 1.5), side=-1, reach=16),
        ),
        seed=2,
        duration=4.0,
        size=SMALL,
    )
    sheets = follow(
        video(script, people),
        5,
        {
            'face_tracking': OwnTracker,
            'sort': lambda: LibraryTracker('sort'),
            'bytetrack': lambda: LibraryTracker('bytetrack'),
            'article': DetectAndTrack,
        },
    )
    scores = {name: score([sheet]) for name, sheet in sheets.items()}
    own = scores.pop('face_tracking')
    assert own.switches == 0
    assert all(own.hota > baseline.hota + 0.05 for baseline in scores.values())


@pytest.mark.parametrize(
    'script', [occlusion(0), occlusion(1), absence(0)], ids=lambda script: script.name
)
def test_an_id_survives(script, people):
    watched = video(replace(script, size=SMALL), people)
    outcome = judge(
        [(frame, truth) for frame, truth, _ in watched], every(5, watched), OwnTracker()
    )
    assert outcome.hidden >= (3 if 'absence' in script.name else 1)
    assert outcome.survived


def test_missing_trackers_package_is_reported_in_one_line(monkeypatch, capsys):
    real = builtins.__import__

    def missing(name, *args, **options):
        if name.split('.')[0] == 'trackers':
            raise ImportError(f'No module named {name!r}')
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, '__import__', missing)
    with pytest.raises(UserError, match='needs the package trackers'):
        tracking_metrics.metrics_library()
    assert main(['evaluate', 'stroll']) == 2
    assert 'pip install --no-deps -r dev/requirements-evaluation.txt' in capsys.readouterr().err


@pytest.mark.parametrize('seed', range(8))
def test_who_has_left_is_not_seen_before_their_time(people, seed):
    script = replace(absence(seed), size=(64, 48))
    sequence = Sequence(script, people)
    there = np.array([1 in truth.ids for _, truth in sequence])
    (first,) = np.flatnonzero(np.diff(there.astype(int)) == -1)[:1]
    assert not there[first + 1 : first + 1 + 3 * 30].any()
    assert there[-1]


def write_clip(folder, people):
    """Write a clip of one second as a folder of images with ground truth."""
    folder.mkdir()
    (folder / 'img').mkdir()
    script = Script('clip', (Person('stay', reach=0),), duration=1.0, size=SMALL)
    lines = []
    for frame, truth in Sequence(script, people):
        cv2.imwrite(str(folder / 'img' / f'{frame.sequence:05d}.png'), frame.image)
        lines += truth_lines(frame.sequence + 1, truth, 0.5)
    (folder / 'gt.txt').write_text(''.join(lines))
    (folder / 'info.json').write_text('{"fps": 30}')


def test_a_folder_of_clips_is_read_with_its_ground_truth(tmp_path, people):
    write_clip(tmp_path / 'one', people)
    assert [folder.name for folder in find_clips(tmp_path)] == ['one']
    clip = Clip(find_clips(tmp_path / 'one')[0])
    pairs = list(clip)
    assert clip.rate == 30 and len(pairs) == 30
    assert all(len(truth) == 1 and truth.visibility[0] == 1 for _, truth in pairs)
    stamps = [frame.stamp for frame, _ in pairs]
    assert np.diff(stamps).min() > 30e6


@pytest.mark.parametrize('lines', ['1,2,three', '1,1,0,0,-5,5,1'])
def test_ground_truth_that_cannot_be_read_is_reported(tmp_path, lines):
    (tmp_path / 'img').mkdir()
    (tmp_path / 'gt.txt').write_text(lines)
    with pytest.raises(UserError, match='ground truth'):
        Clip(tmp_path)
    with pytest.raises(UserError, match='no clips were found'):
        find_clips(tmp_path / 'img')


def test_each_failure_gets_a_tile_on_its_sheet(tmp_path):
    sheets, image = FailureSheets(), np.full((240, 320, 3), 90, np.uint8)
    for k in range(10):
        ids = np.array([4 if k < 5 else 5, 9])
        boxes = np.array([LEFT, [100, 100, 140, 150]])
        sheets.add(k, image, truth_of([1, 2], [LEFT, RIGHT], [1, 1]), ids, boxes)
    assert sheets.counts == {'missed': 10, 'stolen': 1, 'false-positive': 10}
    written = sheets.write(tmp_path / 'sheets', 'clip')
    assert sorted(path.name for path in written) == [
        'clip-false-positive.jpg',
        'clip-missed.jpg',
        'clip-stolen.jpg',
    ]
    assert cv2.imread(str(written[0])).shape[0] >= 200
