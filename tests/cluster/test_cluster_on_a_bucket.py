"""Videos in a bucket, index in a bucket, the work on a Ray cluster: the same as on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'finecut[cluster]'")

from cluster.bucket_videos import finecut, upload
from cluster.contents import assert_same_index
from color_bundle import make_color_bundle
from finecut.index.store import Index
from index.clips import RGB, write_video


def test_the_index_of_a_bucket_is_that_of_one_machine(bucket: str, tmp_path: Path):
    names = list(RGB)
    folder = tmp_path / "videos"
    for number in range(4):
        colors = [names[(number + turn) % 6] for turn in range(1 + number % 3)]
        write_video(folder / f"{number}.mp4", colors, seconds=3, seed=number)
    (folder / "broken.mp4").write_bytes(b"no video at all " * 100)
    (folder / "2.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\na red door\n")
    upload(folder, f"{bucket}/videos")
    bundle = make_color_bundle(tmp_path / "colors")
    common = (f"{bucket}/videos", "--bundle", bundle, "--json", "--index")

    alone = finecut("index", *common, tmp_path / "own")
    # Asked for as s3:// on both sides; credentials reach the workers by the environment alone.
    far = finecut("index", *common, f"{bucket}/index", "--cluster", "local")
    assert alone.code == far.code == 1, far.err  # one file is broken, and said to be
    assert far.json["n_new"] == alone.json["n_new"] == 4
    assert [item["path"] for item in far.json["failures"]] == [f"{bucket}/videos/broken.mp4"]
    assert_same_index(tmp_path / "own", f"{bucket}/index")
    assert Index.open(f"{bucket}/index").channels == Index.open(tmp_path / "own").channels

    again = finecut("index", *common, f"{bucket}/index", "--cluster", "local")
    assert again.json["nothing_to_do"]
