"""What is sampled, against decoding every frame: true times, and the very pixels of those times."""

from __future__ import annotations

import numpy as np
import pytest

from finecut.video.container import open_video
from finecut.video.packets import DecodeStats
from finecut.video.sample import Sampler
from video_corpus import GOOD

# Long, without times of their own, or with counts of time that begin anew.
_OTHER = ("two-hours.mp4", "static-hour.mp4", "raw.h264", "joined.ts")


def every_frame(path) -> dict[int, np.ndarray]:
    """The frames of a video by their stamps, from a decoder that is told to leave out nothing."""
    with open_video(path) as (container, stream):
        return {frame.pts: frame.to_ndarray() for frame in container.decode(stream)}


@pytest.mark.parametrize("period_s", [1.0, 0.35])
@pytest.mark.parametrize("name", [name for name in GOOD if name not in _OTHER])
def test_samples_are_the_frames_of_their_times(corpus, name, period_s):
    path = corpus(name)
    shown = every_frame(path)
    with open_video(path) as (container, stream):
        sampler = Sampler(container, stream, period_s, stats=DecodeStats())
        found = 0
        for sample in sampler:
            found += 1
            pts = sample.frame.pts
            assert np.array_equal(sample.frame.to_ndarray(), shown[pts])
            assert sample.time_s == pytest.approx((pts - sampler.origin) * sampler.tick, abs=1e-9)
    assert found
