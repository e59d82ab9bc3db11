# SPDX-License-Identifier: Apache-2.0
"""Face detection without an engine: models, families, postprocessing."""
