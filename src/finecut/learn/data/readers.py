"""Which benchmark a folder holds, found by looking at it, and one door to read any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from finecut.learn.data import dense, lists, lsmdc, msrvtt, msvd, web_video
from finecut.learn.data.benchmark import AnnotationError, Benchmark
from finecut.learn.data.folder import Folder


@dataclass(frozen=True, slots=True)
class Format:
    """A published layout: how to see that it is there, and how to read a split of it."""

    name: str
    splits: Callable[[Folder], list[str]]
    read: Callable[[Folder, str], Benchmark]


# Sets with names of their own first: the general formats at the end would also fit some of them.
FORMATS: tuple[Format, ...] = (
    Format("msrvtt", msrvtt.splits, msrvtt.read),
    Format("msvd", msvd.splits, msvd.read),
    Format("lsmdc", lsmdc.splits, lsmdc.read),
    Format("activitynet", dense.activitynet_splits, dense.read_activitynet),
    Format("didemo", dense.didemo_splits, dense.read_didemo),
    Format("youcook2", dense.youcook2_splits, dense.read_youcook2),
    Format("qvhighlights", dense.qvhighlights_splits, dense.read_qvhighlights),
    Format("vatex", web_video.vatex_splits, web_video.read_vatex),
    Format("tgif", web_video.tgif_splits, web_video.read_tgif),
    Format("webvid", web_video.webvid_splits, web_video.read_webvid),
    Format("laff", lists.laff_splits, lists.read_laff),
    Format("asr", web_video.asr_splits, web_video.read_asr),
    Format("vindlu", lists.vindlu_splits, lists.read_vindlu),
    Format("mmaction2", lists.mmaction2_splits, lists.read_mmaction2),
    Format("jsonl", lists.jsonl_splits, lists.read_jsonl_set),
)


def sniff(folder: Folder) -> list[tuple[str, str]]:
    """(format, split) of everything that is in the folder, in the order of `FORMATS`."""
    return [(kind.name, split) for kind in FORMATS for split in kind.splits(folder)]


def read(folder: Folder, split: str, *, name: str | None = None) -> Benchmark:
    """One split of what the folder holds.

    Args:
        folder: the benchmark's folder.
        split: as `sniff` names it.
        name: the format, needed only where two formats have the split.

    Raises:
        AnnotationError: nothing known is there, no such split, or more than one.
    """
    found = [(kind, s) for kind, s in sniff(folder) if name in (None, kind)]
    if not found:
        known = ", ".join(kind.name for kind in FORMATS)
        raise AnnotationError(
            f"{folder.root} holds no annotation files of {name or 'a known benchmark'}; "
            f"known are {known}."
        )
    fits = [kind for kind, s in found if s == split]
    if len(fits) != 1:
        has = ", ".join(f"{kind}:{s}" for kind, s in found)
        problem = f"has no split {split!r}" if not fits else f"has {split!r} in {', '.join(fits)}"
        raise AnnotationError(f"{folder.root} {problem}; it has {has}.")
    return next(kind for kind in FORMATS if kind.name == fits[0]).read(folder, split)
