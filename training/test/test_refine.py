# SPDX-License-Identifier: Apache-2.0
"""Training on from exported weights: cheap views, the optimizer, and a run that resumes."""

from __future__ import annotations

import argparse
import json

import numpy as np
import onnx
import pytest
import torch

from training.recognition.export import to_onnx
from training.recognition.light_views import LightViews
from training.recognition.muon import Muon, orthogonal
from training.recognition.network import Student
from training.recognition.refine import Refiner


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (12, 160, 160, 3), dtype=np.uint8)


def test_light_views_differ_and_come_again_with_the_seed(crops):
    maker = LightViews(crops, seed=1)
    views = [maker.make(number % 12, number % 2 == 0) for number in range(60)]
    assert all(view.shape == (112, 112, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == len(views)
    assert np.array_equal(LightViews(crops, seed=1).make(0, True), views[0])


def test_a_mirrored_light_view_shows_the_other_side(crops):
    crops[:, :, :80], crops[:, :, 80:] = 40, 220
    maker = LightViews(crops, seed=2)
    for flip in (False, True) * 10:
        view = maker.make(0, flip).astype(float)
        assert (view[:, :30].mean() > view[:, -30:].mean()) == flip


def test_orthogonal_evens_out_the_directions_of_an_update():
    torch.manual_seed(0)
    update = torch.randn(16, 40) * torch.logspace(0, -2, 40)
    values = torch.linalg.svdvals(orthogonal(update))
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_optimizer_lowers_a_loss_and_its_state_survives_saving():
    torch.manual_seed(0)
    kernel, bias = torch.nn.Parameter(torch.randn(8, 4, 3, 3)), torch.nn.Parameter(torch.randn(8))
    groups = [{'params': [kernel], 'orthogonal': True}, {'params': [bias]}]
    optimizer = Muon(groups, 0.05)

    def loss():
        return kernel.square().sum() + bias.square().sum()

    before = float(loss().detach())
    for _ in range(50):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < 0.5 * before
    again = Muon(groups, 0.05)
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(again.state[kernel]['momentum'], optimizer.state[kernel]['momentum'])
    assert again.state[bias]['step'] == 50


def test_a_run_begins_with_exported_weights_and_resumes(tmp_path, crops, monkeypatch):
    monkeypatch.setattr('training.recognition.refine.START_VIEWS', 8)
    random = np.random.default_rng(3)
    embeddings = random.normal(size=(12, 128)).astype(np.float32)
    np.savez(tmp_path / 'crops.npz', crops=crops, names=np.full(12, 'face'))
    np.savez(tmp_path / 'clean.npz', rows=np.arange(12), embeddings=embeddings)
    views = crops[:, 24:-24, 24:-24]
    np.savez(tmp_path / 'views_000.npz', views=views, embeddings=embeddings)
    np.savez(tmp_path / 'validation.npz', views=views, embeddings=embeddings)
    onnx.save(to_onnx(Student().eval()), str(tmp_path / 'start.onnx'))
    options = argparse.Namespace(
        run=tmp_path, start=tmp_path / 'start.onnx', batch=4, rate=1e-3, seed=0, seconds=0.5
    )
    first = Refiner(options)
    first.train()
    row = json.loads((tmp_path / 'log.jsonl').read_text().splitlines()[-1])
    assert row['steps'] == first.steps > 0
    assert row['crowd'] >= 0
    second = Refiner(options)
    assert second.steps == first.steps
    assert all(
        torch.equal(a, b)
        for a, b in zip(second.network.parameters(), first.network.parameters(), strict=True)
    )
