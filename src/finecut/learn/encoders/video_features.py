"""LAFF's video features: any image network over the frames of a video, and their mean.

The extractors are ready-made and frozen. A feature is computed once per video and stored as a
BigFile; which network it came from is the folder's name. Letters: N frames, d channels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finecut.errors import MissingDependency, ShapeError, UsageError, VideoError
from finecut.learn.data.bigfile import write_bigfile
from finecut.learn.encoders.clip import CLIP
from finecut.learn.preprocess import CLIP_MEAN, CLIP_STD
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameExtractor:
    """An image network with what its input must look like.

    ``network`` takes normalised pixels [N, 3, size, size] float32 and gives [N, d].
    """

    name: str
    network: Callable[[Tensor], Tensor]
    size: int  # pixels, square
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
    batch: int = field(default=32, compare=False)

    @torch.inference_mode()
    def __call__(self, frames: NDArray[np.uint8]) -> Tensor:
        """frames [N, size, size, 3] uint8 RGB -> features [N, d] float32."""
        if frames.ndim != 4 or frames.shape[1:] != (self.size, self.size, 3) or not len(frames):
            raise ShapeError(
                f"{self.name}: frames must be [N, {self.size}, {self.size}, 3], got {frames.shape}."
            )
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (self.mean, self.std))
        parts = []
        for start in range(0, len(frames), self.batch):
            pixels = torch.from_numpy(frames[start : start + self.batch].copy())
            pixels = pixels.permute(0, 3, 1, 2).float() / 255.0
            parts.append(self.network((pixels - mean) / std).float())
        return torch.cat(parts)


def clip_extractor(clip: CLIP, name: str = "clip") -> FrameExtractor:
    """CLIP's frame embeddings, not normalised: the released LAFF's first feature."""
    clip.eval()
    return FrameExtractor(
        name,
        lambda pixels: clip.encode_frames(pixels[:, None])[0][:, 0],
        clip.config.image_size,
        CLIP_MEAN,
        CLIP_STD,
    )


def timm_extractor(model: str, weights: Path | str | None = None) -> FrameExtractor:
    """Pooled features of any timm model (ResNeXt-101, BEiT, DINOv2, …), with weights from a file.

    Args:
        model: as ``timm.list_models()`` names it.
        weights: a local checkpoint; None: random weights. Nothing is downloaded.

    Raises:
        MissingDependency: names the missing package, timm or torchvision.
        UsageError: timm does not know the model.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingDependency(
            f"this extractor needs the package {error.name}, which is not installed: "
            "pip install timm (it brings torchvision)."
        ) from None
    if not timm.is_model(model):
        near = ", ".join(timm.list_models(f"*{model.split('_')[0]}*")[:5])
        raise UsageError(f"timm has no model {model!r}; similar: {near or 'none'}.")
    network = timm.create_model(
        model, pretrained=False, num_classes=0, checkpoint_path=str(weights or "")
    ).eval()
    told = timm.data.resolve_model_data_config(network)
    return FrameExtractor(model, network, told["input_size"][-1], told["mean"], told["std"])


@dataclass(frozen=True)
class VideoFeature:
    """A video's feature of one extractor."""

    mean: Tensor  # [d], over the seconds of the video
    frames: Tensor  # [N, d], in time order
    times: NDArray[np.float64]  # [N] seconds


def video_feature(
    extractor: FrameExtractor, path: Path | str, *, frames_per_second: float = 2.0
) -> VideoFeature:
    """Features of a video's frames, and their mean weighted by how long each frame stands.

    Raises:
        VideoError: nothing of the video can be read.
    """
    spec = DecodeSpec(frames_per_second, height=extractor.size, width=extractor.size)
    features, times, stands = [], [], []
    for clip in decode_clips(path, spec):
        features.append(extractor(clip.frames))
        times.append(clip.times)
        stands.append(np.diff(clip.times, append=clip.end_s))
    if not features:
        raise VideoError(f"{path}: no frame decodes.", reason="no frame decodes")
    frames = torch.cat(features)
    weights = torch.from_numpy(np.concatenate(stands)).clamp(min=1e-6).to(frames.dtype)
    mean = (frames * weights[:, None]).sum(dim=0) / weights.sum()
    return VideoFeature(mean, frames, np.concatenate(times))


@dataclass(frozen=True)
class Extraction:
    """What ``extract`` did: nothing that failed is forgotten."""

    done: tuple[str, ...]
    failed: Mapping[str, str]  # name -> reason


def extract(
    extractor: FrameExtractor,
    videos: Iterable[tuple[str, Path | str]],
    out: Path | str,
    *,
    frames_per_second: float = 2.0,
) -> Extraction:
    """Video-level and frame-level features of many videos, as two new BigFiles.

    ``out/<name>`` holds means by video name, ``out/frame/<name>`` rows ``<video>_<number>``: the
    layout of the released feature folders. A video that fails is left out and reported.

    Raises:
        UsageError: no video could be read, or two have one name.
    """
    means: dict[str, Tensor] = {}
    rows: dict[str, Tensor] = {}
    failed: dict[str, str] = {}
    for name, path in videos:
        if name in means or name in failed:
            raise UsageError(f"two videos are called {name!r}; expected distinct names.")
        try:
            feature = video_feature(extractor, path, frames_per_second=frames_per_second)
        except VideoError as problem:
            log.warning("%s: %s", name, problem)
            failed[name] = str(problem)
            continue
        means[name] = feature.mean
        rows |= {f"{name}_{number}": row for number, row in enumerate(feature.frames)}
    if not means:
        raise UsageError(f"no video could be read: {len(failed)} failed; nothing is written.")
    folder = Path(out)
    write_bigfile(folder / extractor.name, list(means), torch.stack(list(means.values())).numpy())
    frame_folder = folder / "frame" / extractor.name
    write_bigfile(frame_folder, list(rows), torch.stack(list(rows.values())).numpy())
    return Extraction(tuple(means), failed)
