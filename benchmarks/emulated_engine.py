# SPDX-License-Identifier: Apache-2.0
"""Runs inside the emulator: one engine, some inferences, the last result into a file.

    emulated_engine.py tvm LIBRARY PICTURE RESULT TIMES
    emulated_engine.py opencv ONNX TENSOR RESULT TIMES
    emulated_engine.py ncnn|ncnn-fp32 PARAM TENSOR RESULT TIMES

PICTURE is uint8 (H, W, 3), TENSOR float32 (1, 3, H, W), both .npy. It imports nothing of this
package, so that the emulated Python needs little.
"""

import sys

import numpy as np


def tvm(library, picture):
    import tvm
    from tvm.runtime.vm import VirtualMachine
    machine = VirtualMachine(tvm.runtime.load_module(library), tvm.runtime.device('cpu'))
    image = tvm.runtime.tensor(picture.reshape(-1))
    threads = tvm.runtime.tensor(np.array([1], np.int32))
    main = machine['main']
    return lambda: np.concatenate([tensor.numpy() for tensor in main(image, threads)])


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


def main():
    engine, model, data, result, times = sys.argv[1:]
    data = np.load(data)
    prepare = {'tvm': tvm, 'opencv': opencv, 'ncnn': ncnn,
               'ncnn-fp32': lambda *given: ncnn(*given, half=False)}[engine]
    run = prepare(model, data)
    for _ in range(int(times)):
        output = run()
    np.save(result, output)


if __name__ == '__main__':
    main()
