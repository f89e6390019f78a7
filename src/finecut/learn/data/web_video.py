"""Benchmarks of web video: VATEX, TGIF, WebVid, and HowTo100M-style clips with speech."""

from __future__ import annotations

import math
from pathlib import Path

from finecut.learn.data.benchmark import AnnotationError, Benchmark, CaptionedVideo, grouped
from finecut.learn.data.files import read_json, read_lines, read_table, read_text, want
from finecut.learn.data.folder import Folder

# -- VATEX (Wang et al., ICCV 2019): ten English and ten Chinese sentences a clip ------------------

_VATEX = {
    "train": ("vatex_training_v1.0.json", 25_991),
    "validation": ("vatex_validation_v1.0.json", 3000),
    "public-test": ("vatex_public_test_english_v1.1.json", 6000),
}
# The retrieval test of HGR: 1,500 clips cut from validation, named in a list.
_VATEX_LISTS = {"val-1k5": "val_list.txt", "test-1k5": "test_list.txt"}


def vatex_splits(folder: Folder) -> list[str]:
    """The splits whose files are in the folder."""
    found = [split for split, (name, _) in _VATEX.items() if folder.find(name)]
    if folder.find(_VATEX["validation"][0]):
        found += [split for split, name in _VATEX_LISTS.items() if folder.find(name)]
    return found


def read_vatex(folder: Folder, split: str) -> Benchmark:
    """English sentences; the file of a clip is its `<youtube id>_<start>_<end>`."""
    if split in _VATEX_LISTS:
        path, listed = folder.need(_VATEX["validation"][0]), folder.need(_VATEX_LISTS[split])
        captions = _vatex(path)
        wanted = read_lines(listed)
        unknown = [video for video in wanted if video not in captions]
        if unknown:
            raise AnnotationError(f"{path} lacks {len(unknown)} listed clips, first {unknown[0]}.")
        captions = {video: captions[video] for video in wanted}
        source, published = (path, listed), (1500, 15_000)
    elif split in _VATEX:
        name, n = _VATEX[split]
        path = folder.need(name)
        captions, source, published = _vatex(path), (path,), (n, 10 * n)
    else:
        names = ", ".join([*_VATEX, *_VATEX_LISTS])
        raise AnnotationError(f"VATEX has the splits {names}, got {split!r}.")
    items = grouped((video, video, text) for video, texts in captions.items() for text in texts)
    return Benchmark("VATEX", split, "multi", items, source, published)


def _vatex(path: Path) -> dict[str, list[str]]:
    found = {}
    for entry in want(read_json(path), list, path, "the file"):
        want(entry, dict, path, "an entry")
        video = want(entry.get("videoID"), str, path, "videoID")
        texts = want(entry.get("enCap"), list, path, f"enCap of {video}")
        found[video] = [want(text, str, path, f"a sentence of {video}") for text in texts]
    return found


# -- TGIF (Li et al., CVPR 2016) ------------------------------------------------------------------

_TGIF_PUBLISHED = {"train": (79_451, None), "val": (10_651, None), "test": (11_310, None)}


def tgif_splits(folder: Folder) -> list[str]:
    """The splits whose list of addresses is in the folder beside the sentences."""
    if not folder.find("tgif-v1.0.tsv"):
        return []
    return [s for s in _TGIF_PUBLISHED if folder.find(f"{s}.txt")]


def read_tgif(folder: Folder, split: str) -> Benchmark:
    """`URL<TAB>sentence`; the split lists URLs; a file is the URL's last part."""
    path, listed = folder.need("tgif-v1.0.tsv"), folder.need(f"{split}.txt")
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        url, tab, text = line.partition("\t")
        if not tab:
            raise AnnotationError(f"{path}:{number}: expected address, tab, sentence.")
        captions.setdefault(url.strip(), []).append(text)
    rows = []
    for url in read_lines(listed):
        if url not in captions:
            raise AnnotationError(f"{path} has no sentence for {url} of {listed.name}.")
        name = url.rsplit("/", 1)[-1]
        rows += [(name, name, text) for text in captions[url]]
    return Benchmark(
        "TGIF",
        split,
        "multi",
        grouped(rows),
        (path, listed),
        _TGIF_PUBLISHED.get(split, (None,) * 2),
    )


# -- WebVid (Bain et al., ICCV 2021) --------------------------------------------------------------


def webvid_splits(folder: Folder) -> list[str]:
    """`2M_train` and the like, by the result files in the folder."""
    names = [path.stem for path in folder.find_all("results_*M_*.csv")]
    return [name.removeprefix("results_") for name in names]


def read_webvid(folder: Folder, split: str) -> Benchmark:
    """One caption a video; files are `videos/<page_dir>/<videoid>.mp4`."""
    path = folder.need(f"results_{split}.csv")
    rows = read_table(path, ("videoid", "page_dir", "name"))
    items = grouped((video, f"videos/{page}/{video}.mp4", text) for video, page, text in rows)
    return Benchmark("WebVid", split, "single", items, (path,))


# -- HowTo100M-style clips: speech as weak captions (Miech et al., ICCV 2019) ----------------------

BAGS = "bags"  # the split in which a clip also has its neighbours' texts, for MIL-NCE
BAG_SIZE = 5  # texts of a bag (Miech et al., CVPR 2020: best of 1, 3, 5, 9, 17, from memory)
MIN_WORDS = 10  # TACo merges neighbouring clips until the text has as many (section 7 of its spec)


def asr_splits(folder: Folder) -> list[str]:
    """`all` and `bags` where a caption file (video -> start, end, text) is in the folder."""
    return (
        ["all", BAGS]
        if folder.find("caption.json", "raw_caption*.json", "*caption_howto*.json")
        else []
    )


def read_asr(folder: Folder, split: str, *, min_words: int = MIN_WORDS) -> Benchmark:
    """Clips of what is said: neighbours are merged until a clip has ``min_words`` words.

    In the split `bags` nothing is merged: a clip has its own words and those of the clips nearest
    to it in time, `BAG_SIZE` in all, any of which may be about what it shows.

    The file is an object: video id -> {"start": [...], "end": [...], "text": [...]}.
    """
    path = folder.need("caption.json", "raw_caption*.json", "*caption_howto*.json")
    items = []
    for video, entry in want(read_json(path), dict, path, "the file").items():
        columns = [
            want(entry.get(key), list, path, f"{key} of {video}")
            for key in ("start", "end", "text")
        ]
        if len({len(column) for column in columns}) != 1:
            raise AnnotationError(f"{path}: {video} has start, end and text of different lengths.")
        least = 1 if split == BAGS else min_words
        clips = merge_speech(zip(*columns, strict=True), min_words=least)
        for number, (start, end, text) in enumerate(clips):
            texts = nearest_texts(clips, number) if split == BAGS else (text,)
            items.append(
                CaptionedVideo(f"{video}#{number}", video, texts, start_s=start, end_s=end)
            )
    protocol = "multi" if split == BAGS else "single"
    return Benchmark("HowTo100M-style", split, protocol, tuple(items), (path,))


def nearest_texts(clips: list[tuple[float, float, str]], number: int) -> tuple[str, ...]:
    """The clip's own text first, then those of the clips whose middles are nearest to its own.

    >>> nearest_texts([(0, 1, "a"), (1, 2, "b"), (9, 10, "c")], 1)
    ('b', 'a', 'c')
    """
    middle = sum(clips[number][:2]) / 2
    order = sorted(
        range(len(clips)), key=lambda i: (i != number, abs(sum(clips[i][:2]) / 2 - middle), i)
    )
    return tuple(clips[i][2] for i in order[:BAG_SIZE])


def merge_speech(pieces, *, min_words: int) -> list[tuple[float, float, str]]:
    """Neighbouring (start, end, text) joined until each has ``min_words`` words.

    What is left over at the end joins the last clip.

    >>> merge_speech([(0, 2, "add salt"), (2, 4, "and some pepper"), (5, 6, "stir")], min_words=4)
    [(0.0, 6.0, 'add salt and some pepper stir')]
    """
    found: list[tuple[float, float, str]] = []
    start = end = 0.0
    words: list[str] = []
    for first, last, text in pieces:
        first, last = float(first), float(last)
        if not (math.isfinite(first) and math.isfinite(last)):
            raise AnnotationError(f"A spoken clip has the times {first} to {last}.")
        start, end = (first, last) if not words else (start, max(end, last))
        words += str(text).split()
        if len(words) >= min_words:
            found.append((start, end, " ".join(words)))
            words = []
    if words and found:
        a, _, text = found[-1]
        found[-1] = (a, end, " ".join([text, *words]))
    elif words:
        found.append((start, end, " ".join(words)))
    return found
