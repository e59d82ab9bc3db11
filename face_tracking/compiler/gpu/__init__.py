# SPDX-License-Identifier: Apache-2.0
"""Networks on GPUs, through OpenCL and Vulkan."""
