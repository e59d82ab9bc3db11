# SPDX-License-Identifier: Apache-2.0
"""Training end to end, in small, on made images."""

import csv
import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from face_tracking.errors import UserError
from training import calibrate, checkpoint, dataset, evaluate, labels, plots
from training.batches import Batches
from training.compose import Composer, scenes
from training.train import HARDEST, Options, Run, learning_rate, read_data, scene_hardness, train

COMMANDS = ('train', 'evaluate', 'calibrate', 'export', 'compare', 'cost', 'plots')


def options(folder, out, **changes) -> Options:
    return Options(
        **{
            **{
                'data': str(folder),
                'out': str(out),
                'steps': 8,
                'batch': 4,
                'size': '64x64,96x64',
                'learning_rate': 5e-3,
                'warm_up': 2,
                'checkpoint_every': 4,
                'validate_every': 4,
                'holdout': 0.2,
                'workers': 0,
                'threads': 1,
                'device': 'cpu',
            },
            **changes,
        }
    )


def run(opts, **arguments):
    return train(opts, warn=pytest.fail, progress=False, **arguments)


def rows(folder):
    with (folder / 'metrics.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def test_a_few_steps_bring_the_loss_down(made_folder, tmp_path):
    opts = options(made_folder, tmp_path, warm_up=5, steps=25)
    batch = Batches([Composer(read_data(opts, pytest.fail)[0], 64, 64)], 8, seed=1)[0]
    fresh = Run(opts)
    totals = [fresh.train_step(batch)['total'] for _ in range(opts.steps)]
    assert min(totals[-3:]) < 0.8 * totals[0]


def test_a_run_leaves_figures_and_curves(made_folder, tmp_path):
    run(options(made_folder, tmp_path, steps=60, size='64x64', validate_every=50))
    first, last = rows(tmp_path)
    assert (first['step'], last['step']) == ('50', '60')
    assert float(last['total']) < float(first['total'])
    assert first['validation_ap'] != '' and last['validation_ap'] != ''
    plots.curves(tmp_path / 'metrics.csv', tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').stat().st_size > 10_000


def test_resuming_is_the_same_as_never_stopping(made_folder, tmp_path):
    whole = run(options(made_folder, tmp_path / 'whole'))
    parts = options(made_folder, tmp_path / 'parts', workers=1)
    run(parts, stop_at=4)
    torch.manual_seed(99)
    resumed = run(parts, resume=True)
    assert resumed.step == whole.step == 8
    for name in ('network', 'average'):
        own, other = (getattr(one, name).state_dict() for one in (whole, resumed))
        for key, value in own.items():
            assert torch.equal(value, other[key]), f'{name} differs in {key}'
    assert (
        rows(tmp_path / 'whole')[-1]['validation_ap']
        == rows(tmp_path / 'parts')[-1]['validation_ap']
    )


def test_fine_tuning_starts_from_the_given_weights(made_folder, tmp_path):
    first = run(options(made_folder, tmp_path / 'a', steps=3))
    weights = tmp_path / 'a' / 'weights.safetensors'
    start = run(
        options(
            made_folder, tmp_path / 'b', init=str(weights), steps=1, learning_rate=1e-9, warm_up=0
        )
    )
    for (key, value), other in zip(
        first.average.named_parameters(), start.network.parameters(), strict=True
    ):
        torch.testing.assert_close(other, value, atol=1e-6, rtol=1e-5, msg=key)


def test_scenes_in_which_the_start_sees_faces_are_harder(made_folder, tmp_path):
    run(options(made_folder, tmp_path, steps=3))
    opts = options(made_folder, tmp_path, init=str(tmp_path / 'weights.safetensors'))
    training, _ = read_data(opts, pytest.fail)
    network = checkpoint.load_network(opts.init)
    calibrate.shift_scores(network, -20.0)
    calm = scene_hardness(network, training, torch.device('cpu'))
    calibrate.shift_scores(network, 40.0)
    for head in (network.head8, network.head16, network.head32):
        head.bias.data[-1] = 20.0  # the quality
    alarmed = scene_hardness(network, training, torch.device('cpu'))
    empty = scenes(training)
    others = np.setdiff1d(np.arange(len(training)), empty)
    assert len(empty) and (alarmed[empty] > 2).all() and (calm[empty] < alarmed[empty]).all()
    assert (calm[others] == 1).all() and (alarmed[others] == 1).all()
    assert alarmed.max() <= HARDEST


def test_measures_what_it_trained(made_folder, tmp_path, capsys):
    run(options(made_folder, tmp_path / 'a', steps=2))
    sheet = tmp_path / 'sheet.png'
    assert (
        evaluate.main(
            [
                '--weights',
                str(tmp_path / 'a' / 'weights.safetensors'),
                '--data',
                str(made_folder),
                '--sheet',
                str(sheet),
                '--threshold',
                '0.01',
            ]
        )
        == 0
    )
    assert '(18 faces)' in capsys.readouterr().out
    assert sheet.stat().st_size > 10_000


def test_measures_what_the_package_found(made_folder, tmp_path, capsys):
    shown = dataset.load(labels.read_folder(made_folder, print), print)
    rows = [
        {
            'file': sample.file.relative_to(made_folder).as_posix(),
            'faces': [
                {
                    'box': [float(x) for x in (*box[:2], *box[2:] - box[:2])],
                    'score': 0.9,
                    'landmarks': points.ravel().tolist(),
                }
                for box, points, ignore in zip(
                    sample.boxes, sample.landmarks, sample.ignore, strict=True
                )
                if not ignore
            ],
        }
        for sample in shown
    ]
    found = tmp_path / 'found.json'
    found.write_text(json.dumps(rows))
    assert evaluate.main(['--data', str(made_folder), '--detections', str(found)]) == 0
    told = capsys.readouterr().out
    assert 'average precision  1.0000' in told and 'median 0.0000' in told
    # Annotations written again name images in full, and not every face has landmarks.
    rows[0]['file'] = str(made_folder / rows[0]['file'])
    for face in [face for row in rows for face in row['faces']][1:]:
        face['landmarks'] = None
    found.write_text(json.dumps(rows))
    assert evaluate.main(['--data', str(made_folder), '--detections', str(found)]) == 0
    told = capsys.readouterr().out
    assert 'average precision  1.0000' in told and 'median 0.0000' in told
    blind = [
        {**row, 'faces': [{**face, 'landmarks': None} for face in row['faces']]} for row in rows
    ]
    found.write_text(json.dumps(blind))
    assert evaluate.main(['--data', str(made_folder), '--detections', str(found)]) == 0
    assert 'unknown: no face has landmarks' in capsys.readouterr().out
    found.write_text(json.dumps(rows))
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    moved = [{**row, 'file': str(made_folder / row['file'])} for row in rows]
    (elsewhere / 'labels.json').write_text(json.dumps(moved))
    assert (
        evaluate.main(
            ['--data', str(elsewhere), '--images', str(made_folder), '--detections', str(found)]
        )
        == 0
    )
    assert 'average precision  1.0000' in capsys.readouterr().out
    found.write_text(json.dumps(rows[1:]))
    assert evaluate.main(['--data', str(made_folder), '--detections', str(found)]) == 2
    assert 'lacks' in capsys.readouterr().err.splitlines()[-1]


def test_broken_images_are_reported_and_left_out(made_folder, tmp_path):
    folder = tmp_path / 'data'
    folder.mkdir()
    for path in made_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / '01.png').write_bytes(b'nothing')
    (folder / 'more.json').write_text('{')
    said = []
    train(options(folder, tmp_path / 'out', steps=1), warn=said.append, progress=False)
    assert len(said) == 2
    assert any('01.png' in line for line in said) and any('more.json' in line for line in said)


def test_will_not_write_over_a_run(made_folder, tmp_path):
    run(options(made_folder, tmp_path, steps=1))
    with pytest.raises(UserError, match='--resume'):
        run(options(made_folder, tmp_path, steps=1))


def test_a_damaged_state_is_an_error_in_one_line(made_folder, tmp_path):
    (tmp_path / 'state.pt').write_bytes(b'gone')
    with pytest.raises(UserError, match='damaged'):
        run(options(made_folder, tmp_path), resume=True)
    with pytest.raises(UserError, match='no run'):
        run(options(made_folder, tmp_path / 'none'), resume=True)


def test_weights_of_something_else_are_refused(tmp_path):
    import safetensors.torch

    path = tmp_path / 'w.safetensors'
    safetensors.torch.save_file({'stem.weight': torch.zeros(2)}, str(path))
    with pytest.raises(UserError, match='does not hold'):
        checkpoint.load_network(path)
    path.write_bytes(b'no')
    with pytest.raises(UserError, match='does not hold'):
        checkpoint.load_network(path)


def test_the_rate_warms_up_and_falls():
    opts = Options(
        data='', out='', steps=100, warm_up=10, learning_rate=1.0, final_learning_rate=0.1
    )
    rates = [learning_rate(opts, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == pytest.approx(1.0)
    assert np.all(np.diff(rates[10:]) < 0) and rates[-1] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit, match='0'):
        importlib.import_module(f'training.{command}').main(['--help'])
    assert f'usage: python -m training.{command}' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments',
    [
        ['train', '--data', 'nowhere', '--out', '{out}'],
        ['train', '--data', '{data}', '--out', '{out}', '--size', '100'],
        ['train', '--data', '{data}', '--out', '{out}', '--init', 'nothing.safetensors'],
        ['train', '--data', '{data}', '--out', '{out}', '--resume'],
        ['train', '--data', '{data}', '--out', '{out}', '--teacher', 'missing.onnx'],
        ['evaluate', '--data', 'nowhere'],
        ['evaluate', '--data', '{data}', '--weights', 'gone.onnx'],
        ['export', 'int8', '--out', '{out}'],
        ['export', 'onnx', '--out', '{out}', '--size', 'big'],
    ],
)
def test_wrong_arguments_are_reported_in_one_line(arguments, made_folder, tmp_path, capfd):
    command = importlib.import_module(f'training.{arguments[0]}')
    filled = [text.format(data=made_folder, out=tmp_path / 'out') for text in arguments[1:]]
    assert command.main(filled) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith(f'{arguments[0]}: ') and len(error) < 300


def test_a_network_is_widened_before_training_and_loaded_by_its_shapes(made_folder, tmp_path):
    first = run(options(made_folder, tmp_path / 'a', steps=1))
    weights = str(tmp_path / 'a' / 'weights.safetensors')
    run(options(made_folder, tmp_path / 'b', steps=1, init=weights, width='28,56,144'))
    loaded = checkpoint.load_network(tmp_path / 'b' / 'weights.safetensors')
    assert loaded.widths == (28, 56, 144)
    assert first.network.widths == (24, 48, 128)


def test_faces_of_some_images_are_drawn_more_often(made_folder, tmp_path):
    plain, _ = read_data(options(made_folder, tmp_path), pytest.fail)
    text = next(sample.file.name for sample in plain if sample.weights.size)
    opts = options(made_folder, tmp_path, emphasis=f'nowhere=9,{text}=3')
    weighted, _ = read_data(opts, pytest.fail)
    for old, new in zip(plain, weighted, strict=True):
        factor = 3 if text in str(old.file) else 1
        np.testing.assert_allclose(new.weights, factor * old.weights)


@pytest.mark.parametrize('emphasis', ['fddb', 'fddb=', 'fddb=much', '=3', 'fddb=-1', 'fddb=nan'])
def test_malformed_emphasis_is_reported(made_folder, tmp_path, emphasis):
    with pytest.raises(UserError, match='TEXT=FACTOR'):
        read_data(options(made_folder, tmp_path, emphasis=emphasis), pytest.fail)


def test_time_limit_ends_a_run(made_folder, tmp_path):
    opts = options(made_folder, tmp_path, steps=1000, minutes=0.02)
    assert 0 < run(opts).step < 1000
    assert rows(tmp_path)[-1]['validation_ap'] != ''
    assert learning_rate(opts, 500, seconds=0.02 * 60) == 0


def test_two_processes_take_one_step_together_and_resume(made_folder, tmp_path):
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--nproc-per-node',
        '2',
        '--master-port',
        '29611',
        '-m',
        'training.train',
        '--data',
        str(made_folder),
        '--out',
        str(tmp_path / 'run'),
        '--batch',
        '2',
        '--size',
        '64x64',
        '--workers',
        '0',
        '--threads',
        '1',
        '--device',
        'cpu',
        '--checkpoint-every',
        '2',
        '--warm-up',
        '1',
    ]
    for steps, further in ((2, []), (4, ['--resume'])):
        done = subprocess.run(
            [*command, '--steps', str(steps), *further],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert checkpoint.load_state(tmp_path / 'run' / 'state.pt')['step'] == steps
    assert [row['step'] for row in rows(tmp_path / 'run')] == ['2', '4']
