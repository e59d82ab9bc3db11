# SPDX-License-Identifier: Apache-2.0
"""The options of recognition: one table for the node, the commands and the library."""

from __future__ import annotations

from dataclasses import dataclass

from face_tracking.detection.detector_options import PRECISIONS
from face_tracking.options import Options, option

BUNDLED_MODEL = 'face_embedding'


@dataclass(frozen=True)
class EmbeddingOptions(Options):
    """Which embedding network runs, and on what."""

    recognition_model: str = option(
        BUNDLED_MODEL,
        'Path or name of the embedding network: face_embedding (bundled), sface '
        '(face_tracking fetch-model sface), or a description file',
        source=True,
    )
    recognition_runtime: str = option(
        'tvm', 'Engine that runs the embedding network: tvm, onnxruntime or opencv'
    )
    recognition_precision: str = option(
        'auto',
        'Arithmetic of the embedding network, with runtime tvm; auto = the fastest that was '
        'measured to keep its accuracy',
        choices=PRECISIONS,
    )
    recognition_threads: int = option(
        1, 'Number of CPU threads of the embedding network; 0 = chosen by the engine', 0, 256
    )


@dataclass(frozen=True)
class QualityOptions(Options):
    """Which faces are good enough to be compared."""

    min_face_size: float = option(
        36.0, 'Minimum shorter side of a face box that is recognized, in pixels', 8.0, 4096.0
    )
    min_face_score: float = option(
        0.6, 'Minimum detection score of a face that is recognized, 0 to 1', 0.0, 1.0
    )
    min_sharpness: float = option(
        0.3,
        'Minimum sharpness of a face that is recognized (0 = uniformly blurred, 1 = every '
        'detail at the resolution of the network)',
        0.0,
        1.0,
    )
    max_yaw: float = option(
        0.87,
        'Maximum angle by which a recognized face is turned to the side, in radians '
        '(0.87 rad = 50 degrees)',
        0.1,
        1.6,
    )
    max_pitch: float = option(
        0.7,
        'Maximum angle by which a recognized face is raised or lowered, in radians '
        '(0.7 rad = 40 degrees)',
        0.1,
        1.6,
    )


@dataclass(frozen=True)
class IdentityOptions(Options):
    """When a track gets a name, and when it loses it."""

    match_threshold: float = option(
        0.0,
        'Minimum cosine similarity with an enrolled person for a name, 0 to 1; 0 = the '
        'threshold measured for the embedding network',
        0.0,
        1.0,
    )
    match_margin: float = option(
        0.04,
        'Minimum lead in cosine similarity over the second-best person for a name',
        0.0,
        1.0,
    )
    name_hysteresis: float = option(
        0.06,
        'A name is taken back when the similarity falls below the threshold by more than this',
        0.0,
        1.0,
    )
    min_views: int = option(
        2,
        'Minimum number of good views of a track before it can get a name, unless one of them is '
        'very similar',
        1,
        20,
    )
    number_unknown: bool = option(
        False,
        'Call an unknown face that was seen well enough person_1, person_2 and so on, and '
        'recognize it again until the process ends; it is stored only when it is enrolled',
    )
    unknown_views: int = option(
        6, 'Number of good views that make an unknown face person_N', 2, 100
    )


@dataclass(frozen=True)
class RateOptions(Options):
    """How often faces are embedded."""

    recognition_rate: float = option(
        1.5, 'Embeddings per second and track once a track is known for a while', 0.05, 30.0
    )
    recognition_cpu_budget: float = option(
        0.05, 'CPU seconds per second that recognition may use', 0.001, 8.0
    )


@dataclass(frozen=True)
class GalleryOptions(Options):
    """Where people are kept, and what of them."""

    gallery: str = option(
        '',
        'Folder of the database of people; empty = face_tracking in the data folder of the user '
        '(~/.local/share)',
        read_only=True,
        source=True,
    )
    keep_images: bool = option(
        False,
        'Store the aligned face image beside each enrolled embedding; otherwise only embeddings '
        'are stored',
    )
    max_views: int = option(
        12, 'Maximum number of views that are kept for each enrolled person', 1, 100
    )


@dataclass(frozen=True)
class RecognitionOptions(
    EmbeddingOptions, QualityOptions, IdentityOptions, RateOptions, GalleryOptions
):
    """All options of recognition."""
