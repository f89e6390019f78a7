"""Enough of torchvision's names for open_clip and timm to be imported where it is not installed.

Nothing here computes: the models under test use none of it. Only for tests.
"""

from __future__ import annotations

import enum
import importlib.machinery
import sys
import types

import torch


class InterpolationMode(enum.Enum):
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _Anything:
    """Stands for any class or function of torchvision; using one is an error of the test."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        raise AssertionError("torchvision's stand-in was used")


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (_Anything,), {})
        setattr(self, name, made)
        return made


def install() -> list[str]:
    """Put the stand-in into ``sys.modules``; returns the names to take out again."""
    names = [
        "torchvision", "torchvision.transforms", "torchvision.transforms.functional",
        "torchvision.transforms.v2", "torchvision.ops", "torchvision.ops.misc",
        "torchvision.datasets", "torchvision.datasets.folder", "torchvision.utils",
        "torchvision.io", "torchvision.models", "torchvision.models.feature_extraction",
    ]  # fmt: skip
    for name in names:
        module = _Module(name)
        module.__path__ = []
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__version__ = "0.0.0"
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    for name in ("torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules[name].InterpolationMode = InterpolationMode
    sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = torch.nn.Identity
    return names
