"""Clips written beside the tables: taken in by the writer as its own, or deleted as nobody's."""

from __future__ import annotations

import numpy as np
import pytest

from cluster.contents import assert_same_index, clips_of
from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.index.build import build_index
from finecut.index.fragments import WrittenClips, write_clips
from finecut.index.tables import CLIPS, TOKENS, open_table
from finecut.index.writer import IndexWriter
from finecut.storage.location import Location
from index.clips import write_video


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Three videos and their index."""
    folder = tmp_path_factory.mktemp("fragments")
    for number in range(3):
        write_video(folder / "videos" / f"{number}.mp4", ["red", "blue"], seconds=3, seed=number)
    bundle = Bundle.load(make_color_bundle(folder / "colors"), threads=1)
    build_index([folder / "videos"], folder / "index", bundle)
    return folder, bundle


def files(index, table):
    return {path.name for path in (index / f"{table}.lance" / "data").iterdir()}


def written_again(index) -> WrittenClips:
    """All clips of an index as a worker would write them, once more."""
    place = Location.parse(index)
    tables = [open_table(place, name) for name in (TOKENS, CLIPS)]
    return write_clips(*(table.to_table() for table in tables), *tables)


def test_fragments_are_rows_like_all_others(built, tmp_path):
    """An index whose clips were all taken away and brought back as fragments is what it was."""
    folder, bundle = built
    build_index([folder / "videos"], tmp_path / "index", bundle)
    with IndexWriter(Location.parse(tmp_path / "index")) as writer:
        written = written_again(tmp_path / "index")
        rows = list(writer.videos.values())
        writer.commit(removed=[row.video_id for row in rows])
        assert not clips_of(tmp_path / "index")
        number = writer.head.number
        texts = [build_texts(row.video_id) for row in rows]
        writer.commit(videos=rows, written=[written], texts=texts)
        assert writer.head.number == number + 1
    assert clips_of(tmp_path / "index").keys() == clips_of(folder / "index").keys()
    # What was committed stays through upkeep.
    report = build_index([folder / "videos"], tmp_path / "index", bundle)
    assert report.n_new == report.n_changed == 0
    assert_same_index(folder / "index", tmp_path / "index")


def build_texts(video_id):
    from finecut.index.texts import VideoTexts

    return VideoTexts(video_id, [], frozenset(), "{}")


def test_clips_without_their_video_do_not_count(built, tmp_path):
    folder, bundle = built
    build_index([folder / "videos"], tmp_path / "index", bundle)
    before = clips_of(tmp_path / "index")
    place = Location.parse(tmp_path / "index")
    with IndexWriter(place) as writer:
        rows = [open_table(place, name).to_table() for name in (TOKENS, CLIPS)]
        strange = [
            table.set_column(
                table.schema.get_field_index("build"), "build", [np.full(len(table), writer.build)]
            )
            for table in rows
        ]
        tables = [open_table(place, name) for name in (TOKENS, CLIPS)]
        writer.commit(written=[write_clips(*strange, *tables)])
        assert open_table(place, CLIPS).count_rows() == 2 * len(before)
        writer.remove_unfinished()
    assert clips_of(tmp_path / "index").keys() == before.keys()


def test_files_of_killed_workers_are_deleted_by_the_next_run(built, tmp_path):
    folder, bundle = built
    build_index([folder / "videos"], tmp_path / "index", bundle)
    kept = {table: files(tmp_path / "index", table) for table in (TOKENS, CLIPS)}
    written_again(tmp_path / "index")  # and never committed
    for table, names in kept.items():
        assert files(tmp_path / "index", table) > names
    with IndexWriter(Location.parse(tmp_path / "index")) as writer:
        writer.compact()  # in the middle of a run: workers may be about to report them
        for table, names in kept.items():
            assert files(tmp_path / "index", table) > names
    report = build_index([folder / "videos"], tmp_path / "index", bundle)
    assert report.nothing_to_do
    for table, names in kept.items():
        assert files(tmp_path / "index", table) == names
    assert_same_index(folder / "index", tmp_path / "index")
