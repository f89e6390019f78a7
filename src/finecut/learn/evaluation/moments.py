"""Where in its video a sentence happens: R@1@IoU and mean IoU, where a split has times.

The moment is cut from the frames' relevance as the search engine does it (``search/moments.py``):
the best frame and its neighbours that match. The right video is given, as the sets' protocol is.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from finecut import metrics
from finecut.learn.data.frames import Footage, list_frames
from finecut.learn.data.pairs import PairData
from finecut.learn.data.sampling import Sampling
from finecut.learn.evaluation.tokens import TokenParts, device_of, tokens_to
from finecut.learn.methods.protocol import TextTokens, VideoTokens
from finecut.search.moments import ClipHit, find_moments
from finecut.video.container import open_video

IOUS = (0.3, 0.5, 0.7)


class TimedPairs(PairData, Protocol):
    """Pairs of video files: frames have times."""

    footage: list[Footage]  # [G]
    sampling: Sampling


def has_times(data: Any) -> bool:
    """Whether moments can be measured: the split has times, and its frames too."""
    return bool(getattr(data, "moments", None)) and hasattr(data, "footage")


@torch.no_grad()
def moment_figures(
    model: Any,
    data: TimedPairs,
    text: TokenParts[TextTokens],
    video: TokenParts[VideoTokens],
) -> dict[str, Any] | None:
    """Percent of sentences whose moment overlaps the true one enough; None where the method does
    not say which frames match."""
    device = device_of(model)
    right = np.asarray(data.video_of_text)
    found: list[list[tuple[float, float]]] = [[] for _ in right]
    for clip in np.unique(right):
        rows = np.flatnonzero(right == clip)
        tokens = tokens_to(video.select([clip]), device)
        relevance = model.rerank(tokens_to(text.select(rows), device), tokens).frame_relevance
        if relevance is None:
            return None
        times, end_s = frame_times(data.footage[clip], data.sampling)
        for row, frames in zip(rows, relevance[:, 0].float().cpu().numpy(), strict=True):
            found[row] = [best_moment(frames[: len(times)], times[: len(frames)], end_s)]
    truth = np.asarray(data.moments, dtype=np.float64)
    predicted = [np.asarray(moments) for moments in found]
    recalls = {
        f"r_at_1_iou_{iou}": metrics.moment_recall_at(predicted, truth, k=1, iou=iou)
        for iou in IOUS
    }
    return {**recalls, "miou": metrics.mean_iou(predicted, truth), "queries": len(truth)}


def best_moment(
    relevance: NDArray[np.float32], times: NDArray[np.float64], end_s: float
) -> tuple[float, float]:
    """[start_s, end_s) of the best moment of one video by its frames' relevance.

    >>> best_moment(np.float32([0, 0, 0, 1, 1, 0, 0, 0]), np.arange(8.0), 8.0)
    (2.0, 6.0)
    """
    hit = ClipHit(0, 0, 0, float(times[0]), float(end_s), 1.0, times, relevance)
    span = find_moments([hit], 1)[0]
    return span.start_s, span.end_s


def frame_times(footage: Footage, sampling: Sampling) -> tuple[NDArray[np.float64], float]:
    """Seconds of the sampled frames of one video, rising, and where the last one ends.

    Read from the packets; stills are a second each.
    """
    if footage.stills:
        count = min(len(footage.files), sampling.max_frames)
        return np.arange(count, dtype=np.float64), float(count)
    with open_video(footage.files[0]) as (container, stream):
        listed = list_frames(container, stream)
    times = listed.times
    numbers = sampling.numbers(times, listed.fps, footage.start_s, footage.end_s)
    end_s = times[-1] + 1 / listed.fps if footage.end_s is None else footage.end_s
    found = np.array([times[number] for number in numbers])
    return found, max(float(end_s), float(found[-1]) + 1 / listed.fps)
