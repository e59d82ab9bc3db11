# SPDX-License-Identifier: Apache-2.0
"""Post-training static quantisation to int8, for TorchScript.

Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018. Kernels are quantised per channel, maps per tensor, by
histograms over calibration pictures. The three prediction convolutions stay in float: their
sixteen channels (logits, offsets, log sizes) share no useful scale, and they are 3% of the work.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm

from training.network import DeployedNetwork

HEADS = ('head8', 'head16', 'head32')


def quantised(network: DeployedNetwork, images: Sequence[np.ndarray],
              progress: bool = True) -> torch.jit.ScriptModule:
    """Return ``network`` in int8, traced for the size of the ``images``.

    Its input and outputs are those of the float network. It runs on the engine that PyTorch
    has for the processor (``x86``, or ``qnnpack`` on ARM).

    :param images: for calibration, uint8 (H, W, 3) BGR, all of one size.
    """
    with warnings.catch_warnings():
        # torch.ao moves to another package some day; the pinned version has it.
        warnings.simplefilter('ignore')
        from torch.ao.quantization import get_default_qconfig_mapping
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
        engine = 'x86' if 'x86' in torch.backends.quantized.supported_engines else 'qnnpack'
        torch.backends.quantized.engine = engine
        mapping = get_default_qconfig_mapping(engine)
        for head in HEADS:
            mapping.set_module_name(head, None)
        tensors = [_tensor(image) for image in images]
        prepared = prepare_fx(copy.deepcopy(network).eval(), mapping, (tensors[0],))
        with torch.no_grad():
            for tensor in tqdm(tensors, desc='calibration', unit='', disable=not progress):
                prepared(tensor)
            return torch.jit.trace(convert_fx(prepared), tensors[0])


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))[None]).float()
