# SPDX-License-Identifier: Apache-2.0
"""Post-training static quantization to int8, for TorchScript.

Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018. Kernels are quantized per channel, maps per tensor, by
histograms over calibration images. The three prediction convolutions stay in float: their
sixteen channels (logits, offsets, log sizes) share no useful scale, and they are 3% of the work.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from training.network import DeployedNetwork

HEADS = ('head8', 'head16', 'head32')


def quantized(
    network: DeployedNetwork, images: Sequence[np.ndarray], progress: bool = True
) -> torch.jit.ScriptModule:
    """Return ``network`` in int8, traced for the size of the ``images``.

    Its input and outputs are those of the float network. It runs on the engine that PyTorch
    has for the processor (``x86``, or ``qnnpack`` on ARM).

    :param images: for calibration, uint8 (H, W, 3) BGR, all of one size.
    """
    return quantized_on(network, [_tensor(image) for image in images], HEADS, progress)


def quantized_on(
    network: nn.Module,
    tensors: Sequence[torch.Tensor],
    floats: Sequence[str],
    progress: bool = False,
) -> torch.jit.ScriptModule:
    """Return any network in int8, as :func:`quantized`.

    :param tensors: for calibration, inputs of the network, all of one size.
    :param floats: names of the modules that stay in float.
    """
    with warnings.catch_warnings():
        # torch.ao moves to another package some day; the pinned version has it.
        warnings.simplefilter('ignore')
        from torch.ao.quantization import get_default_qconfig_mapping
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

        engine = 'x86' if 'x86' in torch.backends.quantized.supported_engines else 'qnnpack'
        torch.backends.quantized.engine = engine
        mapping = get_default_qconfig_mapping(engine)
        for name in floats:
            mapping.set_module_name(name, None)
        prepared = prepare_fx(copy.deepcopy(network).eval(), mapping, (tensors[0],))
        with torch.no_grad():
            for tensor in tqdm(tensors, desc='calibration', unit='', disable=not progress):
                prepared(tensor)
            return torch.jit.trace(convert_fx(prepared), tensors[0])


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None])).float()
