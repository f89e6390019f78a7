"""What a run makes of a folder that changed: against a plain model, on random histories."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.index.content import content_id
from finecut.index.plan import make_plan
from finecut.index.rows import PathStamp
from finecut.index.scan import scan
from index.stored import row_of

NAMES = ["a.mp4", "b.mp4", "c.mkv", "sub/d.mp4"]
CONTENTS = [b"one", b"two!", b"three", b"broken"]
ACTION = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from(CONTENTS)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("move"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("touch"), st.sampled_from(NAMES), st.integers(1, 9)),
    st.tuples(st.just("run"), st.none(), st.none()),
)


def act(root: Path, kind: str, name: str, what) -> None:
    import os

    path = root / name
    if kind == "write":
        path.write_bytes(what)
    elif path.exists():
        if kind == "delete":
            path.unlink()
        elif kind == "move":
            path.rename(root / what)
        elif kind == "touch":
            os.utime(path, (what, what))


def carry_out(videos: dict, plan, build: int) -> None:
    """What a run does with a plan, decoding left out: broken contents fail."""
    for row in plan.put:
        videos[row.video_id] = row
    for video_id in plan.removed:
        del videos[video_id]
    broken = {job.video_id for job in plan.jobs if Path(job.path).read_bytes() == b"broken"}
    for job in plan.jobs:
        status = "failed" if job.video_id in broken else "done"
        row = row_of(job.video_id, build, 1, status=status)
        videos[job.video_id] = replace(row, stamps=tuple(job.stamps))


@settings(max_examples=80, deadline=None)
@given(st.lists(ACTION, max_size=25))
def test_the_index_follows_the_folder(actions):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        (root / "sub").mkdir(parents=True)
        (root / "readme.txt").write_text("keeps the folder from being empty")
        videos: dict = {}
        for build, (kind, name, what) in enumerate([*actions, ("run", None, None)], 1):
            if kind != "run":
                act(root, kind, name, what)
                continue
            n_paths = sum(len(row.stamps) for row in videos.values())
            plan = make_plan(scan([root]), videos)
            assert plan.n_files == (
                plan.n_unchanged
                + plan.n_moved
                + plan.n_duplicates
                + plan.n_changed
                + len(plan.failures)
                + len(plan.jobs)
            ) or any(row.status == "failed" for row in videos.values())
            assert plan.n_removed + plan.n_moved <= n_paths
            carry_out(videos, plan, build)
            there = {str(path): path for path in root.rglob("*") if path.suffix in (".mp4", ".mkv")}
            known = {stamp.path: row for row in videos.values() for stamp in row.stamps}
            assert set(known) == set(there)
            for path, row in known.items():
                status = there[path].stat()
                assert row.video_id == content_id(path)
                assert PathStamp(path, status.st_size, status.st_mtime_ns) in row.stamps
                assert (row.status == "failed") == (there[path].read_bytes() == b"broken")
            again = make_plan(scan([root]), videos)
            assert not (again.jobs or again.put or again.removed or again.unreadable)
            assert again.n_unchanged + len(again.failures) == again.n_files == len(there)
