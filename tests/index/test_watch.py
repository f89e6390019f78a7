"""A watch over real folders, in a thread: what it tells, and what the index holds then."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finecut.bundle.load import Bundle
from finecut.errors import IndexMismatch, UsageError
from finecut.index.build import build_index
from finecut.index.lock import FileLock
from finecut.index.report import Failure, IndexReport
from finecut.index.store import Index
from finecut.index.watch import Pace, Watch, WatchEvent
from finecut.search.engine import Searcher
from index.clips import write_video

LONG_S = 120.0  # a busy machine is slow; nothing here waits that long otherwise
QUICK = Pace(settle_s=0.2, grace_s=0.2, recheck_s=60.0)


class Watched:
    """A watch that runs, and the events it told."""

    def __init__(self, watch: Watch, events: queue.Queue[WatchEvent]) -> None:
        self.watch = watch
        self.events = events
        self.told: list[WatchEvent] = []

    def until(self, kind: str, path: Path | None = None) -> WatchEvent:
        """Wait for an event of a kind (about a file)."""
        while True:
            event = self.events.get(timeout=LONG_S)
            self.told.append(event)
            if event.kind == kind and path in (None, Path(event.path)):
                return event

    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]


@contextmanager
def watching(
    *roots: Path, index: Path, bundle: Bundle, pace: Pace = QUICK, **options
) -> Iterator[Watched]:
    events: queue.Queue[WatchEvent] = queue.Queue()
    stop = threading.Event()
    errors: list[BaseException] = []

    def build(found, on_event, should_stop) -> IndexReport:
        return build_index(
            found.roots, index, bundle, workers=1, found=found, on_event=on_event,
            should_stop=should_stop,
        )  # fmt: skip

    watch = Watch(
        roots, index, build, pace=pace, on_event=events.put, should_stop=stop.is_set, **options
    )

    def run() -> None:
        try:
            watch.run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Watched(watch, events)
    finally:
        stop.set()
        thread.join(LONG_S)
    assert not errors and not thread.is_alive()


def paths(index: Path, status: str = "done") -> set[str]:
    rows = Index.open(index).videos
    return {os.path.basename(path) for row in rows if row.status == status for path in row.paths}


def put(folder: Path, name: str, *colors: str, seed: int = 0, seconds: float = 1.0) -> Path:
    """A video that arrives whole, as by a move into the folder."""
    made = write_video(folder.parent / "made" / name, colors or ["red"], seconds=seconds, seed=seed)
    folder.mkdir(exist_ok=True)
    return Path(shutil.move(made, folder / name))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    put(tmp_path / "videos", "red.mp4", seed=1)
    return tmp_path / "videos"


@pytest.mark.parametrize("poll_s", [None, 0.2])
def test_files_come_move_change_and_go(
    videos: Path, tmp_path: Path, bundle: Bundle, poll_s: float | None
):
    index = tmp_path / "index"
    pace = Pace(settle_s=0.2, grace_s=0.2, poll_s=poll_s)
    with watching(videos, index=index, bundle=bundle, pace=pace) as watched:
        watched.until("ready")
        assert paths(index) == {"red.mp4"}
        searcher = Searcher.open(index, bundle=bundle)

        blue = put(videos, "blue.mp4", "blue", seed=2)
        watched.until("done", blue)
        assert watched.until("changed").report.n_new == 1
        assert searcher.refresh()
        assert searcher.search("blue", k=1)[0].video == str(blue)

        (videos / "sea").mkdir()
        blue.rename(videos / "sea" / "water.mp4")
        report = watched.until("changed").report
        assert report.n_frames == 0 and report.n_moved + report.n_duplicates == 1
        assert "water.mp4" in paths(index)

        os.replace(put(tmp_path / "other", "x.mp4", "green", seed=3), videos / "red.mp4")
        watched.until("done", videos / "red.mp4")
        watched.until("changed")
        searcher.refresh()
        assert searcher.search("green", k=1)[0].video == str(videos / "red.mp4")

        (videos / "red.mp4").unlink()
        while "red.mp4" in paths(index):
            watched.until("changed")
        assert paths(index) == {"water.mp4"}
    assert watched.events.get_nowait().kind == "stopped" or "stopped" in watched.kinds()


def test_a_copy_in_pieces_ends_up_whole(videos: Path, tmp_path: Path, bundle: Bundle):
    index = tmp_path / "index"
    data = write_video(tmp_path / "long.mp4", ["green", "blue"], seconds=4, seed=4).read_bytes()
    with watching(videos, index=index, bundle=bundle) as watched:
        watched.until("ready")
        target = videos / "long.mp4"
        with target.open("wb") as file:
            for start in range(0, len(data), max(1, len(data) // 20)):
                file.write(data[start : start + max(1, len(data) // 20)])
                file.flush()
                threading.Event().wait(0.05)
        watched.until("done", target)
        watched.until("changed")
        (row,) = [row for row in Index.open(index).videos if str(target) in row.paths]
        assert row.status == "done" and row.duration_s == pytest.approx(8.0, abs=0.3)
        assert row.size_bytes == len(data)


def test_a_file_that_fails_is_told_once_and_tried_again_when_it_changes(
    videos: Path, tmp_path: Path, bundle: Bundle
):
    index = tmp_path / "index"
    broken = videos / "late.mp4"
    whole = write_video(tmp_path / "made.mp4", ["blue"], seed=5).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with watching(videos, index=index, bundle=bundle) as watched:
        assert watched.until("failed", broken).message
        watched.until("ready")
        put(videos, "other.mp4", seed=6)
        watched.until("done")
        broken.write_bytes(whole)
        watched.until("done", broken)
    assert watched.kinds().count("failed") == 1
    assert paths(index, "failed") == set()


def test_a_burst_of_thousands(videos: Path, tmp_path: Path, bundle: Bundle):
    index = tmp_path / "index"
    data = (videos / "red.mp4").read_bytes()
    with watching(videos, index=index, bundle=bundle) as watched:
        watched.until("ready")
        for number in range(2000):
            folder = videos / f"{number % 40}"
            folder.mkdir(exist_ok=True)
            (folder / f"copy-{number}.mp4").write_bytes(data)
        put(videos, "last.mp4", "blue", seed=7)
        while len(paths(index)) < 2002:
            watched.until("changed")
        shutil.rmtree(videos / "7")
        while len(paths(index)) > 1952:
            watched.until("changed")
    assert len(Index.open(index).videos) == 2
    assert not {"failed", "error"} & set(watched.kinds())


def test_a_folder_that_vanishes_loses_nothing(videos: Path, tmp_path: Path, bundle: Bundle):
    index = tmp_path / "index"
    other = tmp_path / "other"
    put(other, "blue.mp4", "blue", seed=8)
    pace = Pace(settle_s=0.1, grace_s=0.1, poll_s=0.2)
    with watching(videos, other, index=index, bundle=bundle, pace=pace) as watched:
        watched.until("ready")
        other.rename(tmp_path / "unplugged")
        watched.until("away", other)
        green = put(videos, "green.mp4", "green", seed=9)  # the other folder goes on
        watched.until("done", green)
        watched.until("changed")
        other.mkdir()  # a mount point without its disk
        yellow = put(videos, "yellow.mp4", "yellow", seed=10)
        watched.until("done", yellow)
        watched.until("changed")
        assert paths(index) == {"red.mp4", "blue.mp4", "green.mp4", "yellow.mp4"}
        other.rmdir()
        (tmp_path / "unplugged").rename(other)
        watched.until("back", other)
        (other / "blue.mp4").unlink()
        put(other, "black.mp4", "black", seed=11)
        while "blue.mp4" in paths(index):
            watched.until("changed")
    assert not {"failed", "error"} & set(watched.kinds())


def test_a_disk_unmounted_inside_a_folder_loses_nothing(
    videos: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    """The folder of a mount inside a watched folder is another one without it: by its device."""
    disk = put(videos / "disk", "blue.mp4", "blue", seed=12).parent
    index = tmp_path / "index"
    true_stat, mounted = os.stat, [True]

    def stat(path, *args, **options):
        status = true_stat(path, *args, **options)
        if mounted[0] and str(path) == str(disk):
            fields = list(status)
            fields[2] = status.st_dev + 1
            return os.stat_result(fields)
        return status

    pace = Pace(settle_s=0.1, grace_s=0.1, poll_s=0.2)
    with monkeypatch.context() as patch:
        patch.setattr("finecut.index.watch.os.stat", stat)
        with watching(videos, index=index, bundle=bundle, pace=pace) as watched:
            watched.until("ready")
            for file in disk.iterdir():
                file.unlink()
            mounted[0] = False
            green = put(videos, "green.mp4", "green", seed=13)
            watched.until("done", green)
            (videos / "red.mp4").unlink()  # what is really gone goes
            while "red.mp4" in paths(index):
                watched.until("changed")
    assert paths(index) == {"blue.mp4", "green.mp4"}


def test_another_writer_is_waited_for(videos: Path, tmp_path: Path, bundle: Bundle):
    index = tmp_path / "index"
    build_index([videos], index, bundle, workers=1)
    lock = FileLock(next(index.glob("*.lock")))
    assert lock.try_acquire()
    blue = put(videos, "blue.mp4", "blue", seed=14)
    with watching(videos, index=index, bundle=bundle) as watched:
        assert "being written" in watched.until("locked").message
        lock.release()
        watched.until("done", blue)
    assert watched.kinds().count("locked") == 1


def test_stopped_and_started_again_it_goes_on(videos: Path, tmp_path: Path, bundle: Bundle):
    index = tmp_path / "index"
    blue = put(videos, "blue.mp4", "blue", seed=15)
    with watching(videos, index=index, bundle=bundle) as watched:
        watched.until("ready")
    blue.rename(videos / "azure.mp4")
    (videos / "red.mp4").unlink()
    green = put(videos, "green.mp4", "green", seed=16)
    with watching(videos, index=index, bundle=bundle) as watched:
        watched.until("done", green)
        while paths(index) != {"azure.mp4", "green.mp4"}:
            watched.until("changed")
    done = [event.path for event in watched.told if event.kind == "done"]
    assert done == [str(green)]  # what was moved was not read again


def test_an_index_inside_the_folder_rings_no_bell(videos: Path, bundle: Bundle):
    index = videos / "index"
    with watching(videos, index=index, bundle=bundle) as watched:
        watched.until("ready")
        calls = []
        build = watched.watch.build
        watched.watch.build = lambda *given: calls.append(given) or build(*given)
        put(videos, "blue.mp4", "blue", seed=17)
        watched.until("changed")
        threading.Event().wait(1.5)
        assert len(calls) == 1


def test_an_error_is_survived(
    videos: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("finecut.index.watch.FIRST_RETRY_S", 0.2)
    index = tmp_path / "index"
    with watching(videos, index=index, bundle=bundle) as watched:
        watched.until("ready")
        build, failures = watched.watch.build, [OSError(28, "No space left on device")] * 2

        def full_at_first(*given) -> IndexReport:
            if failures:
                raise failures.pop()
            return build(*given)

        watched.watch.build = full_at_first
        blue = put(videos, "blue.mp4", "blue", seed=18)
        assert "No space left" in watched.until("error").message
        watched.until("done", blue)


def test_what_can_not_be_watched_is_said_at_once(tmp_path: Path, videos: Path, bundle: Bundle):
    nothing = Watch([tmp_path / "none"], tmp_path / "index", lambda *given: IndexReport())
    with pytest.raises(UsageError, match="none is neither a folder nor a file"):
        nothing.run()
    with pytest.raises(UsageError, match="at least one folder"):
        Watch([], tmp_path / "index", lambda *given: IndexReport())
    build_index([videos], tmp_path / "index", bundle, workers=1)

    def other_levels(found, on_event, should_stop) -> IndexReport:
        return build_index(found.roots, tmp_path / "index", bundle, levels="frame", found=found)

    with pytest.raises(IndexMismatch):
        Watch([videos], tmp_path / "index", other_levels, pace=QUICK).run()


@pytest.mark.parametrize("values", [{"settle_s": -1}, {"grace_s": float("nan")}, {"poll_s": 0.01}])
def test_a_pace_is_checked(values: dict[str, float]):
    with pytest.raises(UsageError, match=r"must be .*seconds"):
        Pace(**values)


def test_events_are_plain_json():
    report = IndexReport(n_new=2, failures=[Failure("a", "b", "c")])
    plain = WatchEvent("changed", report=report).to_json()
    assert plain["event"] == "changed" and plain["n_new"] == 2 and "failures" not in plain
    assert WatchEvent("away", "/v", "gone").to_json() == {
        "event": "away",
        "path": "/v",
        "message": "gone",
    }


def test_subtitles_that_change_are_read_again(videos: Path, tmp_path: Path, bundle: Bundle):
    index = tmp_path / "index"
    with watching(videos, index=index, bundle=bundle) as watched:
        watched.until("ready")
        beside = videos / "red.srt"
        for words in ("a small lighthouse", "an old harbour"):
            beside.write_text(f"1\n00:00:00,000 --> 00:00:00,900\n{words}\n", "utf-8")
            watched.until("changed")
            while not Index.open(index).search_text(words, phrase=True):
                watched.until("changed")
