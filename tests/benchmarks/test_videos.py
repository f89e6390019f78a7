"""The videos benchmarks measure with: made once, cut into files that differ, with true times."""

from __future__ import annotations

import numpy as np
import pytest

from finecut.index.content import content_id
from finecut.video.decode import decode_clips
from finecut.video.probe import probe
from finecut.video.spec import DecodeSpec

SECONDS = 4.0


@pytest.fixture
def videos(monkeypatch, tmp_path, request):
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    import videos

    monkeypatch.setattr(videos, "FOLDER", tmp_path / "films")
    monkeypatch.setattr(videos, "SCENE_S", 1)
    return videos


def test_pictures_are_filmed_once_for_all_kinds(videos, monkeypatch):
    kinds = [videos.Kind(160, 96, keys_s=1), videos.Kind(160, 96, keys_s=2, b_frames=False)]
    paths = videos.film("mixed", kinds, SECONDS)
    assert len(set(paths)) == 2 and all(path.exists() for path in paths)
    monkeypatch.setattr(videos, "pictures", None)
    assert videos.film("mixed", kinds, SECONDS) == paths
    assert [probe(path).duration_s for path in paths] == pytest.approx([SECONDS, SECONDS], abs=0.1)


def test_pieces_are_other_files_of_the_same_length(videos, tmp_path):
    (path,) = videos.film("moving", [videos.Kind(160, 96, keys_s=1)], SECONDS)
    (tmp_path / "pieces").mkdir()
    pieces = videos.pieces(path, tmp_path / "pieces", 6)  # of four key frames
    assert len({content_id(piece) for piece in pieces}) == 6
    for piece in pieces:
        assert probe(piece).duration_s == pytest.approx(SECONDS, abs=0.1)
        planned, plain = (
            list(decode_clips(piece, DecodeSpec(resize="squash"), planned=planned))
            for planned in (True, False)
        )
        assert sum(len(clip.times) for clip in planned) == 4
        assert plain[-1].end_s == planned[-1].end_s == pytest.approx(SECONDS, abs=0.1)
        times = np.concatenate([clip.times for clip in planned]) * videos.FPS
        assert times == pytest.approx(times.round(), abs=1e-6)
