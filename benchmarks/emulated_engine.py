# SPDX-License-Identifier: Apache-2.0
"""Runs inside the emulator: one engine, some inferences, the last result into a file.

    emulated_engine.py tvm LIBRARY IMAGE RESULT TIMES
    emulated_engine.py opencv ONNX TENSOR RESULT TIMES
    emulated_engine.py ncnn|ncnn-fp32 PARAM TENSOR RESULT TIMES
    emulated_engine.py mnn|mnn-fp16 MNN TENSOR RESULT TIMES
    emulated_engine.py litert TFLITE TENSOR RESULT TIMES
    emulated_engine.py downscale LIBRARY IMAGE RESULT TIMES
    emulated_engine.py yuyv_half|yuyv_gray LIBRARY IMAGE RESULT TIMES
    emulated_engine.py resize - IMAGE RESULT TIMES
    emulated_engine.py faces LIBRARY IMAGE RESULT PARAMETER...
    emulated_engine.py serve LIBRARY WIDTH HEIGHT

IMAGE is uint8 (H, W, 3), TENSOR the engine's input, both .npy. This script imports nothing of the
package, so that the emulated Python needs little. `downscale` and `resize` halve the image, with
the function of the library and with OpenCV; `yuyv_half` and `yuyv_gray` are functions of the
library for an image in YUYV, uint8 (H, W, 2). `faces` writes what the postprocessing of the
library finds with the numbers of `face_tracking.detection.postprocess.PostProcessParam`; it is for
the family of the bundled detector. `serve` reads images from its input, each height x width x 3
bytes, and answers each with the number of tensors, then each one's length and its float32 numbers;
a number is 8 bytes, little-endian. All others run their function some times, the last TIMES
between two marks.
"""

import contextlib
import os
import sys

import numpy as np

WARM_UP = 2
MARK = 0x7ACE


def load(library):
    """Return a function from an image to what TVM computes; both stay where they lie."""
    import tvm
    import tvm_ffi
    from tvm.runtime.vm import VirtualMachine

    machine = VirtualMachine(tvm.runtime.load_module(library), tvm.runtime.device('cpu'))
    threads = tvm.runtime.tensor(np.array([1], np.int32))
    main = machine['main']

    def run(photo):
        return main(tvm_ffi.from_dlpack(photo.reshape(-1)), threads)

    return run


def tvm(library, photo):
    run = load(library)
    return lambda: np.concatenate(arrays(run(photo)))


def arrays(tensors):
    return [np.from_dlpack(tensor) for tensor in tensors]


def faces(library, photo, result, *parameters):
    import tvm
    import tvm_ffi

    tensors = load(library)(np.load(photo))
    cells = sum(tensor.size for tensor in arrays(tensors)) // 16
    rows = np.zeros((cells + 1) * 15, np.float32)
    find_faces = tvm.runtime.load_module(library).get_function('find_faces', query_imports=True)
    find_faces(*tensors, *map(tvm_ffi.from_dlpack, (np.array(parameters, np.float32), rows)))
    np.save(result, rows)


def downscale(library, photo):
    import tvm
    import tvm_ffi

    function = tvm.runtime.load_module(library).get_function('downscale', query_imports=True)
    half = np.zeros((photo.shape[0] // 2, photo.shape[1] // 2, 3), np.uint8)
    tensors = [tvm_ffi.from_dlpack(image.reshape(-1)) for image in (photo, half)]

    def run():
        function(*tensors)
        return half

    return run


def of_yuyv(name, divisor, channels):
    def prepare(library, pixels):
        import tvm
        import tvm_ffi

        function = tvm.runtime.load_module(library).get_function(name, query_imports=True)
        height, width = (side // divisor for side in pixels.shape[:2])
        small = np.zeros((height, width, *channels), np.uint8)
        tensors = [tvm_ffi.from_dlpack(image.reshape(-1)) for image in (pixels, small)]

        def run():
            function(*tensors, width, height)
            return small

        return run

    return prepare


def resize(_, photo):
    import cv2

    cv2.setNumThreads(1)
    size = photo.shape[1] // 2, photo.shape[0] // 2
    return lambda: cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR)


def opencv(model, tensor):
    import cv2

    cv2.setNumThreads(1)
    network = cv2.dnn.readNetFromONNX(model)
    names = network.getUnconnectedOutLayersNames()

    def run():
        network.setInput(tensor)
        return np.concatenate([output.ravel() for output in network.forward(names)])

    return run


def ncnn(param, tensor, half=True):
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = 1
    if not half:
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = False
        network.opt.use_fp16_arithmetic = False
    network.load_param(param)
    network.load_model(param.replace('.param', '.bin'))
    source = ncnn.Mat(tensor[0]).clone()
    inputs, outputs = network.input_names(), network.output_names()

    def run():
        extractor = network.create_extractor()
        extractor.input(inputs[0], source)
        return np.concatenate([np.array(extractor.extract(name)[1]).ravel() for name in outputs])

    return run


def mnn(path, tensor, half=False):
    import MNN

    interpreter = MNN.Interpreter(path)
    precision = 'low' if half else 'high'
    session = interpreter.createSession({'numThread': 1, 'backend': 'CPU', 'precision': precision})
    source = interpreter.getSessionInput(session)
    layout = MNN.Tensor_DimensionType_Caffe

    def run():
        host = MNN.Tensor(tensor.shape, MNN.Halide_Type_Float, tensor, layout)
        source.copyFrom(host)
        interpreter.runSession(session)
        found = []
        for _, output in sorted(interpreter.getSessionOutputAll(session).items()):
            shape = output.getShape()
            copy = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), layout)
            output.copyToHostTensor(copy)
            found.append(np.array(copy.getNumpyData(), copy=True).ravel())
        return np.concatenate(found)

    return run


def litert(path, tensor):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]['index']
    outputs = [row['index'] for row in interpreter.get_output_details()]

    def run():
        interpreter.set_tensor(source, tensor)
        interpreter.invoke()
        return np.concatenate([interpreter.get_tensor(index).ravel() for index in outputs])

    return run


def serve(library, width, height):
    run = load(library)
    photo = np.zeros((int(height), int(width), 3), np.uint8)
    while sys.stdin.buffer.readinto(memoryview(photo).cast('B')) == photo.nbytes:
        tensors = arrays(run(photo))
        sys.stdout.buffer.write(len(tensors).to_bytes(8, 'little'))
        for tensor in tensors:
            sys.stdout.buffer.write(tensor.size.to_bytes(8, 'little') + tensor.tobytes())
        sys.stdout.buffer.flush()


def main():
    if sys.argv[1] == 'serve':
        return serve(*sys.argv[2:])
    if sys.argv[1] == 'faces':
        return faces(*sys.argv[2:])
    engine, model, data, result, times = sys.argv[1:]
    data = np.load(data)
    prepare = {
        'tvm': tvm,
        'downscale': downscale,
        'yuyv_half': of_yuyv('yuyv_half', 2, (3,)),
        'yuyv_gray': of_yuyv('yuyv_gray', 4, ()),
        'resize': resize,
        'opencv': opencv,
        'ncnn': ncnn,
        'mnn': mnn,
        'mnn-fp16': lambda *given: mnn(*given, half=True),
        'litert': litert,
        'ncnn-fp32': lambda *given: ncnn(*given, half=False),
    }[engine]
    run = prepare(model, data)
    for _ in range(WARM_UP):
        run()
    mark()
    for _ in range(int(times)):
        output = run()
    mark()
    np.save(result, output)


def mark():
    """Make the plugin `count_instructions.c` print what was executed until now."""
    with contextlib.suppress(OSError):
        os.getpriority(MARK, 0)


if __name__ == '__main__':
    main()
