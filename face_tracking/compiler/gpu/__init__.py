# SPDX-License-Identifier: Apache-2.0
"""Networks on graphics processors, through OpenCL and Vulkan."""
