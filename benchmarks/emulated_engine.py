# SPDX-License-Identifier: Apache-2.0
"""Runs inside the emulator: one engine, some inferences, the last result into a file.

    emulated_engine.py tvm LIBRARY PICTURE RESULT TIMES
    emulated_engine.py opencv ONNX TENSOR RESULT TIMES
    emulated_engine.py ncnn|ncnn-fp32 PARAM TENSOR RESULT TIMES
    emulated_engine.py downscale LIBRARY PICTURE RESULT TIMES
    emulated_engine.py resize - PICTURE RESULT TIMES
    emulated_engine.py faces LIBRARY PICTURE RESULT SETTING...
    emulated_engine.py serve LIBRARY WIDTH HEIGHT

PICTURE is uint8 (H, W, 3), TENSOR float32 (1, 3, H, W), both .npy. It imports nothing of this
package, so that the emulated Python needs little. `downscale` and `resize` shrink the image to half,
with the library's own function and with OpenCV. `faces` writes what the library's own selection
finds, told the numbers of `face_tracking.detection.postprocess.PostProcessParam`; it is for our own head.
`serve` reads images from its input, each height x width x 3 bytes, and answers each with the
number of tensors, then each one's length and its float32 numbers; a number is 8 bytes, the least
first.
"""

import sys

import numpy as np


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


def faces(library, photo, result, *settings):
    import tvm
    import tvm_ffi

    tensors = load(library)(np.load(photo))
    cells = sum(tensor.size for tensor in arrays(tensors)) // 16
    rows = np.zeros((cells + 1) * 15, np.float32)
    find_faces = tvm.runtime.load_module(library).get_function('find_faces', query_imports=True)
    find_faces(*tensors, *map(tvm_ffi.from_dlpack, (np.array(settings, np.float32), rows)))
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
        'resize': resize,
        'opencv': opencv,
        'ncnn': ncnn,
        'ncnn-fp32': lambda *given: ncnn(*given, half=False),
    }[engine]
    run = prepare(model, data)
    for _ in range(int(times)):
        output = run()
    np.save(result, output)


if __name__ == '__main__':
    main()
