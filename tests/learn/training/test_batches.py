"""Which pairs meet in a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finecut.errors import UsageError, VideoError
from finecut.learn.recipe import TrainConfig
from finecut.learn.training.batches import Order, Reader, draw, read, read_ahead

from .tiny_pairs import CAPTIONS, ColourPairs


def config(**values: Any) -> TrainConfig:
    return TrainConfig(**{"batch_size": 8, **values})


class Owners:
    """Data that is nothing but who owns which sentence."""

    name, split = "owners", "train"

    def __init__(self, video_of_text: list[int]) -> None:
        self.video_of_text = np.array(video_of_text)


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(2, 9), st.integers(0, 3))
def test_an_epoch_goes_through_every_caption_once(
    owners: list[int], batch_size: int, epoch: int
) -> None:
    order = Order(Owners(owners), config(batch_size=batch_size), seed=1)
    rows = order.rows(epoch)
    assert rows.shape == (order.steps, min(batch_size, len(owners)))
    flat = rows.ravel()
    assert len(set(flat.tolist())) == len(flat) and set(flat.tolist()) <= set(range(len(owners)))
    assert len(owners) - len(flat) < rows.shape[1]  # only what fills no batch is left out


@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=40), st.integers(1, 3), st.integers(1, 4),
)  # fmt: skip
def test_an_epoch_goes_through_every_video_once(owners: list[int], captions: int, per: int) -> None:
    made = config(sample="videos", captions_per_video=captions, batch_size=max(2, captions * per))
    if made.batch_size % captions or (captions == 1 and len(set(owners)) == 1):
        return
    order = Order(Owners(owners), made, seed=1)
    for step in order.rows(0):
        videos = np.array(owners)[step].reshape(-1, captions)
        assert (videos == videos[:, :1]).all()  # a video's captions stand together
        assert len(set(videos[:, 0].tolist())) == len(videos)
        for row in step.reshape(-1, captions):
            have = owners.count(owners[row[0]])
            assert len(set(row.tolist())) == min(captions, have) or captions > have
    seen = np.array(owners)[order.rows(0)].ravel()
    assert len(set(owners)) - len(set(seen.tolist())) < order.per_step


def test_other_epochs_and_seeds_have_other_orders() -> None:
    data = ColourPairs(12)
    a, b = Order(data, config(), seed=0), Order(data, config(), seed=1)
    assert np.array_equal(a.rows(0), Order(data, config(), seed=0).rows(0))
    assert not np.array_equal(a.rows(0), a.rows(1))
    assert not np.array_equal(a.rows(0), b.rows(0))


def test_captions_are_drawn_anew_and_evenly() -> None:
    data = ColourPairs(6)
    order = Order(data, config(sample="videos", batch_size=6), seed=0)
    drawn = np.concatenate([order.rows(epoch).ravel() for epoch in range(200)])
    counts = np.bincount(drawn, minlength=6 * CAPTIONS)
    assert counts.sum() == 1200 and counts.min() > 60  # 100 each on average


def test_drawing_more_than_there_are_repeats() -> None:
    generator = np.random.default_rng(0)
    assert sorted(draw(generator, 3, 3).tolist()) == [0, 1, 2]
    assert draw(generator, 1, 4).tolist() == [0, 0, 0, 0]


def test_one_pair_is_not_enough() -> None:
    with pytest.raises(UsageError, match="'owners' train has 1 sentences; training needs two"):
        Order(Owners([0]), config(), seed=0)
    with pytest.raises(UsageError, match="has 1 videos"):
        Order(Owners([0, 0]), config(sample="videos"), seed=0)


def test_unreadable_videos_are_left_out_with_their_reason() -> None:
    data = ColourPairs(6, broken=(1, 4))
    loaded = read(data, [0, 2, 3, 8, 10])  # videos 0, 1, 1, 4, 5
    assert loaded.batch is not None and loaded.batch.video_ids.tolist() == [0, 5]
    assert loaded.skipped == {"train-1": "train-1 is cut off", "train-4": "train-4 is cut off"}
    alone = read(data, [0, 2])
    assert alone.batch is None and list(alone.skipped) == ["train-1"]


def test_a_fault_that_is_no_videos_own_is_not_hidden() -> None:
    class Moody(ColourPairs):
        def video_inputs(self, rows: Any) -> dict[str, Any]:
            if len(list(rows)) > 1:
                raise VideoError("out of memory")
            return super().video_inputs(rows)

    with pytest.raises(VideoError, match="out of memory"):
        read(Moody(6), [0, 2])


@pytest.mark.slow
def test_workers_read_the_same_in_the_same_order() -> None:
    data = ColourPairs(6, broken=(3,))
    reader = Reader(data, Order(data, config(batch_size=4), seed=0))
    places = [(0, 1), (0, 2), (1, 0)]
    torch.manual_seed(5)
    alone = list(read_ahead(reader, places, 0))
    state = torch.get_rng_state()
    torch.manual_seed(5)
    ahead = list(read_ahead(reader, places, 2))
    assert torch.get_rng_state().equal(state)  # the model's random numbers are its own
    assert [a.skipped for a in alone] == [b.skipped for b in ahead]
    assert any(a.skipped for a in alone)
    for a, b in zip(alone, ahead, strict=True):
        assert a.batch.video_ids.equal(b.batch.video_ids)
        assert a.batch.video["pixels"].equal(b.batch.video["pixels"])
