"""A folder of videos through its life: added, moved, copied, changed, broken, gone."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.errors import FinecutError, IndexLocked, IndexMismatch, NotFound, UsageError
from finecut.index.build import build_index
from finecut.index.content import content_id
from finecut.index.remove import remove
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from finecut.search.engine import Searcher
from finecut.search.rerank import patch_sims
from index.clips import write_video
from index.permissions import permissions_count


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three videos, one of them a folder deeper."""
    folder = tmp_path / "videos"
    write_video(folder / "red.mp4", ["red"], seed=1)
    write_video(folder / "green.mp4", ["green"], seed=2)
    write_video(folder / "deep" / "blue-then-white.mkv", ["blue", "white"], seconds=3, seed=3)
    return folder


@pytest.fixture
def run(tmp_path, bundle):
    """Index something into one place, one decoder at a time."""

    def build(*roots, **options):
        return build_index(roots, tmp_path / "index", bundle, **{"workers": 1, **options})

    build.index_dir = tmp_path / "index"
    return build


def names(index: Index) -> list[str]:
    return sorted(
        os.path.basename(path) for row in index.videos if row.status == "done" for path in row.paths
    )


def first(index: Index, bundle: Bundle, query: str) -> str:
    (text,) = bundle.encode_text([query])
    rows, _ = index.recall(text.recall, 1)
    return os.path.basename(index.videos[index.clips.video[rows[0]]].paths[0])


def test_a_folder_is_indexed_and_answers(videos, run, bundle):
    events = []
    report = run(videos, on_event=events.append)
    assert (report.n_files, report.n_new, report.n_failed) == (3, 3, 0)
    assert report.video_s == pytest.approx(10.0, abs=0.5)
    assert report.n_frames >= 4 and report.bytes_per_video_hour > 0 and not report.nothing_to_do

    index = Index.open(run.index_dir)
    assert names(index) == ["blue-then-white.mkv", "green.mp4", "red.mp4"]
    assert first(index, bundle, "a red screen") == "red.mp4"
    assert first(index, bundle, "green") == "green.mp4"
    assert first(index, bundle, "white") == "blue-then-white.mkv"
    two = next(row for row in index.videos if row.n_clips == 2)
    assert two.duration_s == pytest.approx(6.0, abs=0.3) and two.codec == "mpeg4"
    place = index.videos.index(two)
    of_two = np.flatnonzero(index.clips.video == place)
    assert index.clips.start_s[of_two].tolist() == pytest.approx([0.0, 3.0], abs=0.6)
    assert index.strip(of_two[0]).jpeg.startswith(b"\xff\xd8")
    stored = index.tokens(of_two)
    assert stored.patches.per_frame == 4 and stored.frame_mask.any(axis=1).all()
    assert stored.patches.frame(0, 0).shape == (4, 12)

    kinds = [event.kind for event in events]
    assert kinds[0] == "scan" and kinds[-1] == "finish" and kinds.count("done") == 3
    done = [event for event in events if event.kind == "done"]
    assert [event.done_files for event in done] == [1, 2, 3] and done[-1].total_files == 3
    assert report.to_json()["n_new"] == 3


def test_a_second_run_does_nothing_and_reads_no_file(videos, run, monkeypatch):
    run(videos)
    version = Index.open(run.index_dir).version
    monkeypatch.setattr("finecut.index.plan.content_id", lambda path: pytest.fail("was hashed"))
    report = run(videos)
    assert report.nothing_to_do and report.n_unchanged == report.n_files == 3
    assert Index.open(run.index_dir).version == version


def test_moved_copied_touched_deleted_and_changed_files(videos, run, bundle):
    run(videos)
    before = Index.open(run.index_dir)
    recall = {row.video_id: row for row in before.videos}
    (videos / "red.mp4").rename(videos / "deep" / "rouge.mp4")
    shutil.copy(videos / "green.mp4", videos / "green copy.mp4")
    os.utime(videos / "deep" / "blue-then-white.mkv", (1, 1))
    report = run(videos)
    assert (report.n_moved, report.n_duplicates, report.n_unchanged) == (1, 1, 2)
    assert report.n_new == report.n_changed == report.n_removed == report.n_frames == 0
    index = Index.open(run.index_dir)
    assert names(index) == ["blue-then-white.mkv", "green copy.mp4", "green.mp4", "rouge.mp4"]
    assert {row.video_id for row in index.videos} == set(recall) and len(index.clips) == 4

    (videos / "green.mp4").unlink()
    (videos / "deep" / "rouge.mp4").unlink()
    write_video(videos / "deep" / "blue-then-white.mkv", ["yellow"], seed=9)
    report = run(videos)
    assert (report.n_removed, report.n_changed, report.n_unchanged) == (2, 1, 1)
    assert report.n_new == report.n_failed == 0
    index = Index.open(run.index_dir)
    assert names(index) == ["blue-then-white.mkv", "green copy.mp4"]
    assert first(index, bundle, "yellow") == "blue-then-white.mkv"
    assert len(index.clips) == 2
    with IndexWriter(run.index_dir) as writer:  # nothing of the old rows is left over
        assert writer.dataset("clips").count_rows() == 2
        assert writer.dataset("tokens").count_rows() == 2


def test_a_file_that_failed_is_listed_and_tried_again_when_it_changes(videos, run):
    bad = videos / "bad.mp4"
    bad.write_bytes(b"this is no video at all" * 50)
    report = run(videos)
    assert (report.n_new, report.n_failed) == (3, 1)
    ((path, reason, message),) = report.failures
    assert path == str(bad) and reason and str(bad) in message
    (row,) = [row for row in Index.open(run.index_dir).videos if row.status == "failed"]
    assert row.reason == reason and row.error == message

    events = []
    again = run(videos, on_event=events.append)
    assert again.nothing_to_do and again.n_failed == 1 and again.failures == report.failures
    assert "start" not in [event.kind for event in events]
    assert "failed" not in [event.kind for event in events]
    os.utime(bad, (5, 5))
    assert "failed" in [event.kind for event in tried(run, videos)]
    assert "failed" not in [event.kind for event in tried(run, videos)]
    assert "failed" in [event.kind for event in tried(run, videos, force=True)]

    write_video(bad, ["black"], seed=7)
    mended = run(videos)
    assert (mended.n_new, mended.n_failed, mended.n_unchanged) == (1, 0, 3)


def tried(run, *roots, **options):
    events = []
    run(*roots, on_event=events.append, **options)
    return events


def test_force_indexes_everything_again(videos, run):
    run(videos)
    before = Index.open(run.index_dir)
    report = run(videos, force=True)
    assert (report.n_changed, report.n_new, report.n_unchanged) == (3, 0, 0)
    after = Index.open(run.index_dir)
    assert names(after) == names(before) and len(after.clips) == len(before.clips)
    assert after.clips.clip_id.min() > before.clips.clip_id.max()


def test_several_roots_overlap_and_leave_the_rest_alone(videos, run, tmp_path):
    other = write_video(tmp_path / "other" / "black.mp4", ["black"], seed=4)
    report = run(videos, videos / "deep", videos / "red.mp4", other)
    assert (report.n_files, report.n_new) == (4, 4)
    other.unlink()
    (videos / "red.mp4").unlink()
    report = run(videos / "deep")
    assert report.nothing_to_do and report.n_files == 1
    assert "red.mp4" in names(Index.open(run.index_dir))
    report = run(videos)
    assert report.n_removed == 1
    assert names(Index.open(run.index_dir)) == ["black.mp4", "blue-then-white.mkv", "green.mp4"]


def test_a_root_that_is_gone_or_empty_deletes_nothing(videos, run):
    run(videos)
    away = videos.with_name("away")
    videos.rename(away)
    with pytest.raises(UsageError, match="connected"):
        run(videos)
    videos.mkdir()
    with pytest.raises(UsageError, match=r"3 videos.*finecut rm"):
        run(videos)
    assert len(names(Index.open(run.index_dir))) == 3
    videos.rmdir()
    away.rename(videos)
    assert run(videos).nothing_to_do


def test_what_is_excluded_hidden_or_special_is_left_out(videos, run, tmp_path):
    write_video(videos / ".hidden" / "a.mp4", seed=11)
    write_video(videos / "node_modules" / "b.mp4", seed=12)
    write_video(videos / "@eaDir" / "c.mp4", seed=13)
    write_video(videos / "._d.mp4", seed=14)
    write_video(videos / "raw" / "e.mp4", seed=15)
    (videos / "module.ts").write_text("export const answer = 42;\n" * 40)
    (videos / "notes.txt").write_text("no video")
    os.mkfifo(videos / "pipe.mp4")
    report = run(videos, exclude=["raw", "*then*"])
    assert report.n_new == report.n_files == 2 and report.n_failed == 0
    # What is excluded later leaves the index.
    report = run(videos, exclude=["raw", "*then*", "green.mp4"])
    assert report.n_removed == 1 and names(Index.open(run.index_dir)) == ["red.mp4"]
    # A file named by itself is tried whatever it is called, and stays.
    strange = videos / "clip.dat"
    shutil.copy(videos / "raw" / "e.mp4", strange)
    assert run(strange).n_new == 1
    report = run(videos, exclude=["raw"])
    assert "clip.dat" in names(Index.open(run.index_dir)) and report.n_removed == 0
    with pytest.raises(UsageError, match="neither"):
        run(videos / "pipe.mp4")


def test_links_are_followed_only_when_asked_and_never_in_circles(videos, run, tmp_path):
    write_video(tmp_path / "outside" / "black.mp4", ["black"], seed=5)
    (videos / "out").symlink_to(tmp_path / "outside")
    (videos / "deep" / "up").symlink_to(videos)
    (videos / "self").symlink_to(videos / "self")
    (videos / "red again.mp4").symlink_to(videos / "red.mp4")
    (videos / "nowhere.mp4").symlink_to(tmp_path / "nothing")
    assert run(videos).n_files == 3
    report = run(videos, follow_symlinks=True)
    assert report.n_files == 4 and report.n_new == 1 and report.n_failed == 0
    assert "black.mp4" in names(Index.open(run.index_dir))


def test_what_cannot_be_read_is_reported_and_not_taken_for_gone(videos, run):
    run(videos)
    write_video(videos / "new.mp4", seed=6).chmod(0)
    (videos / "deep").chmod(0)
    (videos / "red.mp4").chmod(0)
    with permissions_count():
        report = run(videos)
        assert report.n_removed == 0
        assert {(Path(f.path).name, f.reason) for f in report.failures} == {
            ("new.mp4", "permission"),
            ("deep", "unreadable folder"),
        }
        assert run(videos).nothing_to_do
    (videos / "deep").chmod(stat.S_IRWXU)
    (videos / "red.mp4").chmod(stat.S_IRUSR)
    (videos / "new.mp4").chmod(stat.S_IRUSR)
    assert len(names(Index.open(run.index_dir))) == 3
    report = run(videos)  # tried again although the file itself did not change
    assert (report.n_new, report.n_failed, report.n_unchanged) == (1, 0, 3)


def test_a_file_that_changes_while_it_is_read_is_not_called_done(videos, run):
    growing = videos / "red.mp4"

    def write_on(event):
        if event.kind == "start" and event.path == str(growing):
            with growing.open("ab") as file:
                file.write(b"\0" * 100)

    report = run(videos, on_event=write_on)
    assert [(f.path, f.reason) for f in report.failures] == [(str(growing), "being written")]
    assert report.n_new == 2
    assert run(videos).n_new == 1


def test_odd_names_survive(videos, run):
    odd = os.fsdecode(os.fsencode(str(videos)) + b"/caf\xe9 \xff.mp4")
    try:
        shutil.copy(videos / "red.mp4", odd)
    except OSError:
        pytest.skip("this file system wants Unicode names")
    (videos / "red.mp4").rename(videos / "żółw\n'\" 🎬.mp4")
    assert run(videos).n_new == 3
    index = Index.open(run.index_dir)
    paths = {path for row in index.videos for path in row.paths}
    assert odd in paths and str(videos / "żółw\n'\" 🎬.mp4") in paths
    assert run(videos).nothing_to_do
    os.unlink(odd)
    assert run(videos).n_removed == 1


def test_stopping_keeps_what_is_done_and_the_next_run_goes_on(videos, run):
    for number in range(6):
        write_video(videos / f"{number}.mp4", ["white"], seed=20 + number)
    started, done = [], []

    def on_event(event):
        if event.kind in ("start", "done"):
            (done if event.kind == "done" else started).append(event.path)

    report = run(videos, on_event=on_event, should_stop=lambda: len(started) >= 5)
    assert report.stopped and done and report.n_left == 9 - len(done) >= 4
    index = Index.open(run.index_dir)
    assert sorted(path for row in index.videos for path in row.paths) == sorted(done)
    report = run(videos)
    assert report.n_new == 9 - len(done) and report.n_unchanged == len(done)
    assert len(names(Index.open(run.index_dir))) == 9


def test_an_interrupt_commits_first(videos, run, monkeypatch):
    monkeypatch.setattr("finecut.index.run.COMMIT_S", 0.0)
    done = []

    def interrupt(event):
        if event.kind == "done":
            done.append(event.path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(videos, on_event=interrupt)
    assert len(done) >= 1
    with IndexWriter(run.index_dir):
        pass  # the lock is free
    assert run(videos).n_unchanged >= 1


@pytest.mark.parametrize("levels", ["video", "frame"])
def test_levels_are_kept_to(videos, run, levels):
    run(videos, levels=levels)
    index = Index.open(run.index_dir)
    assert index.meta.levels == levels
    stored = index.tokens([0])
    assert stored.patches is None and (stored.frames is None) == (levels == "video")
    with pytest.raises(IndexMismatch, match=f"--levels {levels}"):
        run(videos, levels="patch")


def test_patches_are_merged_and_found_by_all_the_same(videos, run, bundle):
    run(videos, patches_kept=2)
    meta = Index.open(run.index_dir).meta
    assert meta.patches_kept == 2 == meta.n_patch_tokens and meta.n_patches == 4
    searcher = Searcher.open(run.index_dir, bundle=bundle)
    stored = searcher.index.tokens([0, 1])
    assert stored.patches.per_frame == 2 and stored.patch_home.shape[2] == 4
    sims = patch_sims(stored, bundle.encode_text(["a red screen"])[0].text)
    assert sims.shape == (*stored.frame_mask.shape, 4)
    moment = searcher.search("a red screen")[0]
    assert moment.rerank_score is not None and moment.evidence.patch_relevance.shape == (2, 2)
    run(videos)  # kept to without saying so
    run(videos, patches_kept=2)
    with pytest.raises(IndexMismatch, match="keeps 2 patch tokens of a frame; this run asks for 3"):
        run(videos, patches_kept=3)
    with pytest.raises(UsageError, match="1 to 255, or 4 for all of them, got 0"):
        run(videos, patches_kept=0)


def test_an_index_from_before_patches_were_merged_goes_on(videos, run):
    run(videos)
    path = run.index_dir / "index.json"
    plain = json.loads(path.read_text())
    assert plain.pop("patches_kept") == 0  # four patches: nothing to merge
    path.write_text(json.dumps(plain))
    assert run(videos).nothing_to_do
    assert Index.open(run.index_dir).tokens([0]).patches.per_frame == 4


def test_another_bundle_is_refused_with_the_way_out(videos, run, tmp_path):
    run(videos)
    other = Bundle.load(make_color_bundle(tmp_path / "other", name="others", sharpness=3.0))
    with pytest.raises(IndexMismatch) as caught:
        build_index([videos], run.index_dir, other)
    message = str(caught.value)
    assert "colors" in message and "others" in message and "finecut index" in message


def test_wrong_arguments_are_refused(videos, run, tmp_path):
    with pytest.raises(UsageError, match="workers"):
        run(videos, workers=0)
    with pytest.raises(UsageError, match="levels"):
        run(videos, levels="words")
    with pytest.raises(UsageError, match="at least one"):
        run()
    with pytest.raises(UsageError, match="not empty"):
        build_index([videos], videos, Bundle.load(make_color_bundle(tmp_path / "b")))


def test_a_place_that_cannot_be_written_is_said_plainly(videos, run, tmp_path, bundle):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with permissions_count(), pytest.raises(UsageError, match="permissions"):
        build_index([videos], locked / "index", bundle)
    run(videos)
    shutil.rmtree(run.index_dir / "cache")
    run.index_dir.chmod(0o500)
    with permissions_count():
        index = Index.open(run.index_dir)  # reading needs no writing
        assert len(index.clips) == 4 and index.tokens([0]).frames is not None
        assert not (run.index_dir / "cache").exists()


def test_a_full_disk_is_said_plainly_and_loses_nothing_done(videos, run):
    run(videos)
    write_video(videos / "late.mp4", ["yellow"], seed=30)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))  # no file may grow beyond so many bytes
    try:
        with pytest.raises(FinecutError, match=r"too large.*Free some space") as caught:
            run(videos)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ".rs:" not in str(caught.value)
    assert len(names(Index.open(run.index_dir))) == 3
    assert run(videos).n_new == 1


def test_videos_are_removed_by_any_name(videos, run):
    shutil.copy(videos / "red.mp4", videos / "red copy.mp4")
    run(videos)
    red = content_id(videos / "red.mp4")
    with pytest.raises(NotFound, match="Nothing was removed"):
        remove(run.index_dir, [videos / "green.mp4", "no such thing"])
    assert len(names(Index.open(run.index_dir))) == 4

    report = remove(run.index_dir, [videos / "red copy.mp4"])
    assert report.videos == () and report.paths == (str(videos / "red copy.mp4"),)
    report = remove(run.index_dir, [red[:10], "green.mp4"])
    assert len(report.videos) == 2
    assert names(Index.open(run.index_dir)) == ["blue-then-white.mkv"]
    assert remove(run.index_dir, [videos / "deep"]).paths
    assert len(Index.open(run.index_dir).clips) == 0
    assert run(videos).n_new == 3  # the files are still there


def test_a_second_process_is_refused_and_readers_are_not(videos, run, bundle):
    run(videos)
    write_video(videos / "late.mp4", ["yellow"], seed=30)
    seen = []

    def on_event(event):
        if event.kind == "start":
            with pytest.raises(IndexLocked):
                run(videos)
            seen.append(names(Index.open(run.index_dir)))

    run(videos, on_event=on_event)
    assert seen and all(len(found) == 3 for found in seen)
    assert len(names(Index.open(run.index_dir))) == 4


def test_the_callers_main_module_is_not_run_again(videos, tmp_path, bundle_dir):
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from finecut import Bundle, build_index\n"
        f"bundle = Bundle.load({str(bundle_dir)!r}, threads=1)\n"
        f"print(build_index([{str(videos)!r}], {str(tmp_path / 'i')!r}, bundle).n_new)\n"
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["once", "3"]
