"""Fit the confidence of a starter bundle's answers, on the bundle as it is shipped.

Half of the shared clips and some Flickr8k dev images are the library; their captions are the
queries with a match. The captions of the other half and of other images have none in it, and
absurd queries have none anywhere.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finecut.bundle.load import Bundle
from finecut.learn.starter.data import flickr, shared_data
from finecut.learn.starter.shipped import recall_of_images, recall_of_sentences
from finecut.search.calibrate import Fit, fit_calibration
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec

IMAGES = 150  # dev images in the library, and as many captions of others
SIZES = (3, 10, 30, 100, 180)  # clips in a drawn library
_OTHERS = 500  # the first dev image that is not in the library but asked for

# Asked of any library of ordinary videos, these have no answer.
ABSURD = (
    "a purple elephant playing chess on the moon",
    "an octopus conducting a symphony orchestra",
    "a dinosaur ironing a shirt in a laundry",
    "the signing of the treaty of Versailles",
    "a penguin refuelling a jet fighter in the desert",
    "a medieval knight using a photocopier",
    "an x-ray picture of a broken leg",
    "a walrus getting a haircut at the barber",
    "microscope view of bacteria dividing",
    "a submarine parked in a shopping mall",
)


def fit_confidence(bundle: Bundle) -> Fit:
    """The numbers of the manifest's calibration.

    Raises:
        UsageError: the shared data is not named.
    """
    root = shared_data() / "panda70m_samples"
    lines = (root / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    inside, outside = rows[::2], rows[1::2]
    clips, match = _clip_vectors(bundle, [root / row["clip"] for row in inside])
    captions, others = (
        np.stack([t.recall for t in bundle.encode_text([row["caption"] for row in part])])
        for part in (inside, outside)
    )
    dev = flickr("dev")
    views = 1 + bundle.manifest.video.n_patches
    images = recall_of_images(
        bundle.files.read(bundle.manifest.video.graph), dev.images[:IMAGES].numpy(), views
    )
    text = bundle.files.read(bundle.manifest.text.graph)
    half = len(inside)  # as many human captions as machine-made ones
    human = recall_of_sentences(text, dev.captions[:half, 0].numpy())
    human_others = recall_of_sentences(text, dev.captions[_OTHERS : _OTHERS + half, 0].numpy())
    absurd = np.stack([t.recall for t in bundle.encode_text(list(ABSURD))])
    bank = bundle.query_bank()
    return fit_calibration(
        bank.recall,
        np.concatenate([clips, images]),
        np.concatenate([captions, human]),
        np.concatenate([match, len(clips) + np.arange(half)]),
        np.concatenate([others, human_others, absurd]),
        sizes=SIZES,
    )


def _clip_vectors(bundle: Bundle, paths: list[Path]) -> tuple[NDArray, NDArray]:
    """Recall vectors [G, R] of the videos' clips, and each video's first clip [V]."""
    spec = DecodeSpec.from_manifest(bundle.manifest)
    vectors: list[NDArray] = []
    firsts = []
    for path in paths:
        firsts.append(len(vectors))
        tokens = bundle.encode_clips([clip.frames for clip in decode_clips(path, spec)])
        vectors += [item.recall for item in tokens]
    return np.stack(vectors), np.array(firsts)
