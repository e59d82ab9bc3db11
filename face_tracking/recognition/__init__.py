# SPDX-License-Identifier: Apache-2.0
"""Who a tracked face is: alignment, embeddings, a gallery of people, and decisions over time."""
