# SPDX-License-Identifier: Apache-2.0
"""The compiler: from an ONNX file to a shared library, by TVM."""
