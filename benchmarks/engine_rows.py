# SPDX-License-Identifier: Apache-2.0
"""The engines that `benchmarks.engines` compares, each with the fastest image conversion."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.quantized_mnn import converted_mnn, quantized_mnn
from benchmarks.quantized_onnx import quantized_onnx
from face_tracking.compiler.targets import HALF_ARITHMETIC, host_cpu
from face_tracking.detection.model import Model, ModelDescription
from face_tracking.errors import UserError
from face_tracking.runtimes.base import create_runtime

REFERENCE = 'onnxruntime'
TUNED = 'tvm float32'
BASELINES = (
    *('onnxruntime', 'openvino', 'openvino f32', 'litert', 'ncnn', 'mnn', 'opencv'),
    *('onnxruntime int8', 'openvino int8', 'litert int8', 'mnn int8', 'ncnn int8'),
)
"""The engines that one would use instead of TVM; ratios are to the fastest of the same kind."""
WITH_ALL = '"make bench" installs it and prints the complete table'


class NotAvailableError(Exception):
    """The engine cannot run; the text says what to install or why it does not apply."""


@dataclass(frozen=True)
class Loaded:
    """An engine with the model.

    :ivar prepare: from an image, uint8 (H, W, 3) BGR, to the engine's input.
    :ivar infer: from that to the model's raw outputs in the order of the description.
    """

    prepare: Callable[[np.ndarray], Any]
    infer: Callable[[Any], Sequence[np.ndarray]]


class Engine(ABC):
    """One row of the table.

    :ivar name: as in the table.
    :ivar kind: ``float`` or ``int8``.
    """

    name: str
    kind = 'float'

    @abstractmethod
    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model.

        :param folder: for temporary files.
        :raises NotAvailableError: the engine cannot run on this machine, or not this model.
        """


class PlanarTensor:
    """The fastest known conversion of an image to float32 (1, 3, H, W): planes, then one cast."""

    def __init__(self, model: Model):
        self._pixels: ModelDescription = model.description
        self._bytes = np.empty((3, model.height, model.width), np.uint8)
        order = (2, 1, 0) if model.description.color == 'rgb' else (0, 1, 2)
        self._planes = [self._bytes[index] for index in order]
        self.tensor = np.empty((1, 3, model.height, model.width), np.float32)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the tensor, which the next call overwrites."""
        cv2.split(image, self._planes)
        np.copyto(self.tensor[0], self._bytes)
        _normalize(self.tensor, self._pixels, (1, 3, 1, 1))
        return self.tensor


class InterleavedTensor:
    """The same for float32 (1, H, W, 3)."""

    def __init__(self, model: Model):
        self._pixels = model.description
        self.tensor = np.empty((1, model.height, model.width, 3), np.float32)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the tensor, which the next call overwrites."""
        np.copyto(self.tensor[0], image)
        if self._pixels.color == 'rgb':
            self.tensor = self.tensor[..., ::-1]
        _normalize(self.tensor, self._pixels, (1, 1, 1, 3))
        return self.tensor


def _normalize(tensor: np.ndarray, pixels: ModelDescription, shape: tuple[int, ...]) -> None:
    if any(pixels.mean):
        tensor -= np.array(pixels.mean, np.float32).reshape(shape)
    if pixels.scale != 1:
        tensor *= np.float32(pixels.scale)


class OfThePackage(Engine):
    """An engine of the package that takes the image itself, TVM among them."""

    def __init__(self, name: str, runtime: str, precision: str = 'auto', kind: str = 'float'):
        self.name, self.kind = name, kind
        self._runtime = runtime
        self._precision = precision

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        try:
            runtime = create_runtime(self._runtime, model, threads, precision=self._precision)
        except UserError as error:
            raise NotAvailableError(str(error)) from error

        def infer(image: np.ndarray) -> list[np.ndarray]:
            return list(runtime.infer(image))

        return Loaded(lambda image: image, infer)


class OnnxRuntime(Engine):
    """ONNX Runtime as it comes: its threads spin after an image, which the package prevents.

    That takes a core from other programs, but makes two threads faster.
    """

    name = REFERENCE

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        return self._session(self._content(model), model, threads)

    def _content(self, model: Model) -> bytes:
        return model.onnx_bytes()

    @staticmethod
    def _session(content: bytes, model: Model, threads: int) -> Loaded:
        try:
            import onnxruntime
        except ImportError as error:
            raise NotAvailableError(WITH_ALL) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(content, options)
        source = session.get_inputs()[0].name
        names = list(model.description.outputs)
        return Loaded(PlanarTensor(model), lambda tensor: session.run(names, {source: tensor}))


class OnnxRuntimeInt8(OnnxRuntime):
    """ONNX Runtime on a network that its own tool quantized (QDQ)."""

    name, kind = 'onnxruntime int8', 'int8'

    def _content(self, model: Model) -> bytes:
        try:
            return quantized_onnx(model)
        except ImportError as error:
            raise NotAvailableError(WITH_ALL) from error


class OpenVino(Engine):
    """Intel's OpenVINO.

    :param precision: of the arithmetic, None for what it chooses (bf16 where there is AMX or
        AVX512_BF16).
    :param integers: run the network that ONNX Runtime's tool quantized.
    """

    def __init__(self, name: str, precision: str | None = None, integers: bool = False):
        self.name, self.kind = name, 'int8' if integers else 'float'
        self._precision, self._integers = precision, integers

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        try:
            import openvino

            content = quantized_onnx(model) if self._integers else model.onnx_bytes()
        except ImportError as error:
            raise NotAvailableError(WITH_ALL) from error
        core, pixels = openvino.Core(), model.description
        settings: dict[str, Any] = {
            'INFERENCE_NUM_THREADS': threads,
            'PERFORMANCE_HINT': 'LATENCY',
            'NUM_STREAMS': 1,
        }
        if self._precision:
            settings['INFERENCE_PRECISION_HINT'] = self._precision
        try:
            network = core.compile_model(core.read_model(content), 'CPU', settings)
        except RuntimeError:
            if self._precision or not self._integers:
                raise
            # On processors with AMX it has no bf16 kernels for the layers between integers.
            settings['INFERENCE_PRECISION_HINT'] = 'f32'
            network = core.compile_model(core.read_model(content), 'CPU', settings)
        request = network.create_infer_request()
        ports = [network.output(name) for name in pixels.outputs]

        def infer(tensor: np.ndarray) -> list[np.ndarray]:
            request.infer([tensor], share_inputs=True, share_outputs=True)
            return [np.array(request.get_tensor(port).data) for port in ports]

        return Loaded(PlanarTensor(model), infer)


class Mnn(Engine):
    """Alibaba's MNN as it comes, in float32 (low precision where the processor has it).

    :param integers: run the network that its own tool quantized.
    """

    def __init__(self, name: str, integers: bool = False):
        self.name, self.kind = name, 'int8' if integers else 'float'
        self._write = quantized_mnn if integers else converted_mnn

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        try:
            import MNN

            target = self._write(model, folder)
        except ImportError as error:
            raise NotAvailableError(WITH_ALL) from error
        interpreter = MNN.Interpreter(str(target))
        session = interpreter.createSession({'numThread': threads, 'backend': 'CPU'})
        image = interpreter.getSessionInput(session)
        shape = (1, 3, model.height, model.width)
        sizes = {}
        for name in model.description.outputs:
            output = interpreter.getSessionOutput(session, name)
            sizes[name] = (
                output,
                MNN.Tensor(
                    output.getShape(),
                    MNN.Halide_Type_Float,
                    np.zeros(output.getShape(), np.float32),
                    MNN.Tensor_DimensionType_Caffe,
                ),
            )

        def infer(tensor: np.ndarray) -> list[np.ndarray]:
            host = MNN.Tensor(shape, MNN.Halide_Type_Float, tensor, MNN.Tensor_DimensionType_Caffe)
            image.copyFrom(host)
            interpreter.runSession(session)
            found = []
            for output, copy in sizes.values():
                output.copyToHostTensor(copy)
                found.append(np.array(copy.getNumpyData(), copy=True))
            return found

        return Loaded(PlanarTensor(model), infer)


class Ncnn(Engine):
    """Tencent's ncnn as it comes: it keeps numbers in half precision where it can."""

    name = 'ncnn'

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        try:
            import ncnn
            import pnnx
        except ImportError as error:
            raise NotAvailableError(WITH_ALL) from error
        network = ncnn.Net()
        network.opt.num_threads = threads
        outputs = _converted_by_pnnx(pnnx, model, folder)
        network.load_param(str(folder / 'model.ncnn.param'))
        network.load_model(str(folder / 'model.ncnn.bin'))
        pixels = model.description
        kind = ncnn.Mat.PixelType.PIXEL_BGR
        if pixels.color == 'rgb':
            kind = ncnn.Mat.PixelType.PIXEL_BGR2RGB
        mean = list(pixels.mean) if any(pixels.mean) else []
        scale = [pixels.scale] * 3 if pixels.scale != 1 else []

        def prepare(image: np.ndarray) -> Any:
            tensor = ncnn.Mat.from_pixels(image, kind, model.width, model.height)
            if mean or scale:
                tensor.substract_mean_normalize(mean, scale)
            return tensor

        def infer(tensor: Any) -> list[np.ndarray]:
            with network.create_extractor() as extractor:
                extractor.input('in0', tensor)
                return [np.array(extractor.extract(name)[1])[None] for name in outputs]

        return Loaded(prepare, infer)


class NcnnInt8(Engine):
    """ncnn in int8, which needs two of its tools that no wheel contains."""

    name, kind = 'ncnn int8', 'int8'

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Report what is missing."""
        raise NotAvailableError('needs ncnn2table and ncnn2int8, which no wheel contains')


class Litert(Engine):
    """LiteRT (TensorFlow Lite) in float32, with XNNPACK."""

    name = 'litert'

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        try:
            from ai_edge_litert.interpreter import Interpreter

            from benchmarks.float_tflite import float_tflite

            content = float_tflite(model)
        except ImportError as error:
            raise NotAvailableError(WITH_ALL) from error
        except UserError as error:
            raise NotAvailableError(str(error)) from error
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]['index']
        by_name = {row['name']: row['index'] for row in interpreter.get_output_details()}
        indices = [by_name[name] for name in model.description.outputs]

        def infer(tensor: np.ndarray) -> list[np.ndarray]:
            interpreter.set_tensor(source, tensor)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in indices]

        return Loaded(InterleavedTensor(model), infer)


class LitertInt8(Engine):
    """LiteRT in int8, on the file that the package exports."""

    name, kind = 'litert int8', 'int8'

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        from face_tracking.compiler.tflite.tflite_export import export_tflite
        from face_tracking.runtimes.accelerator_files import file_name

        try:
            export_tflite(model, folder / file_name(model, '.tflite'))
            # It is searched for beside the model.
            copied = replace(model, path=folder / model.path.name)
            runtime = create_runtime('tflite', copied, threads)
        except UserError as error:
            raise NotAvailableError(str(error)) from error
        return Loaded(lambda image: image, lambda image: list(runtime.infer(image)))


class OpenCv(Engine):
    """OpenCV's own module for networks."""

    name = 'opencv'

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        network = cv2.dnn.readNetFromONNX(np.frombuffer(model.onnx_bytes(), np.uint8))
        names = list(model.description.outputs)

        def infer(tensor: np.ndarray) -> list[np.ndarray]:
            network.setInput(tensor)
            return list(network.forward(names))

        return Loaded(PlanarTensor(model), infer)


class Torch(Engine):
    """PyTorch as it computes a model that is not compiled."""

    name = 'pytorch'

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        try:
            import torch

            from benchmarks.torch_network import TorchNetwork
        except ImportError as error:
            raise NotAvailableError(WITH_ALL) from error
        from face_tracking.compiler.onnx_import import read_network

        torch.set_num_threads(threads)
        described = read_network(model.path, model.input_size)
        try:
            network = TorchNetwork(described).eval()
        except ValueError as error:
            raise NotAvailableError(str(error)) from error
        names = [output.name for output in described.outputs]
        order = [names.index(name) for name in model.description.outputs]

        def infer(tensor: np.ndarray) -> list[np.ndarray]:
            with torch.inference_mode():
                outputs = network(torch.from_numpy(tensor))
            return [outputs[index].numpy() for index in order]

        return Loaded(PlanarTensor(model), infer)


class NaiveTvm(Engine):
    """TVM as in its tutorial: without layouts and schedules."""

    name = 'tvm naive'

    def load(self, model: Model, threads: int, folder: Path) -> Loaded:
        """Load the model, see :meth:`Engine.load`."""
        import onnx
        import tvm
        from tvm import relax
        from tvm.relax.frontend.onnx import from_onnx

        module = from_onnx(onnx.load_from_string(model.onnx_bytes()), keep_params_in_input=False)
        module = relax.get_pipeline('zero')(module)
        machine = relax.VirtualMachine(tvm.compile(module, target='llvm'), tvm.cpu())
        names = [value.name for value in onnx.load(model.path).graph.output]
        order = [names.index(name) for name in model.description.outputs]

        def infer(tensor: np.ndarray) -> list[np.ndarray]:
            outputs = machine['main'](tvm.runtime.tensor(tensor))
            outputs = [outputs] if len(names) == 1 else outputs
            return [outputs[index].numpy() for index in order]

        return Loaded(PlanarTensor(model), infer)


ENGINES: tuple[Engine, ...] = (
    Torch(),
    OnnxRuntime(),
    OpenVino('openvino'),
    OpenVino('openvino f32', 'f32'),
    Litert(),
    Ncnn(),
    Mnn('mnn'),
    OpenCv(),
    NaiveTvm(),
    OfThePackage(TUNED, 'tvm', 'float32'),
    *([OfThePackage('tvm float16', 'tvm', 'float16')] if host_cpu() in HALF_ARITHMETIC else []),
    OnnxRuntimeInt8(),
    OpenVino('openvino int8', integers=True),
    LitertInt8(),
    Mnn('mnn int8', integers=True),
    NcnnInt8(),
    OfThePackage('tvm int8', 'tvm', 'int8', 'int8'),
)


def _converted_by_pnnx(pnnx: Any, model: Model, folder: Path) -> list[str]:
    """Convert the model into ``folder``; return ncnn's names of the outputs in our order."""
    import onnx

    onnx_model = onnx.load_from_string(model.onnx_bytes())
    source = folder / 'model.onnx'
    onnx.save(onnx_model, source)
    done = subprocess.run(
        [pnnx.EXEC_PATH, str(source), f'inputshape=[1,3,{model.height},{model.width}]'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if not (folder / 'model.ncnn.bin').is_file():
        raise NotAvailableError(
            f'pnnx cannot convert it ({done.stderr.strip().splitlines()[-1:]})'
        )
    names = [output.name for output in onnx_model.graph.output]
    return [f'out{names.index(name)}' for name in model.description.outputs]
