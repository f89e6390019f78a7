"""A method as somebody else's package would bring it: four functions, no token_loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from finecut.learn.checkpoint import MethodSpec
from finecut.learn.losses import info_nce
from finecut.learn.methods.protocol import Batch, Rerank, TextTokens, VideoTokens


@dataclass(frozen=True)
class PlainConfig:
    width: int = 8


class Plain(nn.Module):
    """Mean colour of the clip against a table of words."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        self.video = nn.Linear(3, config.width)
        self.words = nn.EmbeddingBag(1024, config.width)

    def encode_video(self, pixels: Tensor, frame_mask: Tensor) -> VideoTokens:
        return VideoTokens(self.video(pixels.mean(dim=(1, 3, 4))))

    def encode_text(self, input_ids: Tensor) -> TextTokens:
        return TextTokens(self.words(input_ids))

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        return Rerank(text.recall @ video.recall.T)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        video, text = self.encode_video(**batch.video), self.encode_text(**batch.text)
        return {"loss": info_nce(text.recall @ video.recall.T, batch.video_ids)}


def spec() -> MethodSpec:
    return MethodSpec(Plain, PlainConfig)
