"""Folders of ready-made features: videos and sentences as numbers, no pixels.

Two layouts are read as they are.

Tables (NumPy), one set of files a split:

    {split}_text_to_image.npy     whole numbers [Q]: the row of the video each sentence belongs to
                                  (or {split}_text_to_video.npy)
    {split}_image_ids.txt         a name a line [G] (or {split}_video_ids.txt; may be absent)
    {split}_{name}.npy            [G, d] or [Q, d], or frame by frame [G, F, d]

Collections (W2VV++, LAFF), one folder a split:

    {split}/TextData/{split}.caption.txt      "video7#enc#0 a man is singing"
    {split}/VideoSets/{split}.txt             names of the videos (may be absent)
    {split}/FeatureData/{name}/               BigFile, a row a video
    {split}/FeatureData/frame/{name}/         BigFile, rows "video7_0", "video7_1", …
    {split}/TextFeatureData/{name}/           BigFile, a row a sentence, by its key before the space
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from finecut.errors import NotFound, ShapeError, UsageError
from finecut.learn.data.bigfile import BigFile
from finecut.learn.data.files import read_lines
from finecut.learn.data.lists import laff_captions

_OWNERS = ("text_to_image", "text_to_video")
_IDS = ("image_ids", "video_ids")


class Table(Protocol):
    """Rows [N, d] that are read from disk when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.floating]: ...


class FeatureSplit(Protocol):
    """One split of a folder of features: G videos, Q sentences."""

    name: str
    split: str
    video_ids: Sequence[str]  # [G]
    sentences: Sequence[str]  # [Q]; "" where only numbers are known
    video_of_text: NDArray[np.int64]  # [Q]
    missing: Sequence[str]  # videos listed without features

    def video(self, file: str) -> Table:
        """[G, d] of a video-level feature."""
        ...

    def frames(self, file: str) -> Sequence[NDArray[np.floating]]:
        """G tables [F, d] of a frame-level feature, read when asked for."""
        ...

    def text(self, file: str) -> Table:
        """[Q, d] of a sentence feature."""
        ...


def splits_in(root: Path) -> dict[str, str]:
    """Split -> layout ("tables" or "collection") of everything in the folder."""
    found = {
        path.name.removesuffix(f"_{owner}.npy"): "tables"
        for owner in _OWNERS
        for path in sorted(root.glob(f"*_{owner}.npy"))
    }
    for path in sorted(
        [*root.glob("*/TextData/*.caption.txt"), *root.glob("TextData/*.caption.txt")]
    ):
        found.setdefault(path.name.removesuffix(".caption.txt"), "collection")
    return found


def open_feature_split(
    root: Path, split: str, files: Sequence[str] = (), frame_files: Sequence[str] = ()
) -> FeatureSplit:
    """One split of a folder.

    Args:
        root: the folder; for a collection also the collection's own folder.
        split: as `splits_in` names it.
        files: video-level features that will be read: a collection's videos without one of
            them are ``missing``.
        frame_files: frame-level features, likewise.

    Raises:
        UsageError: the folder has no such split; the message lists those it has.
        ShapeError: files that do not fit one another.
    """
    found = splits_in(root)
    if split not in found:
        has = f"it has {', '.join(sorted(found))}" if found else "it has none"
        raise UsageError(
            f"{root} has no split {split!r} of ready-made features; {has}. Expected "
            f"{split}_text_to_image.npy beside the features, or {split}/TextData/"
            f"{split}.caption.txt."
        )
    if found[split] == "tables":
        return Tables(root, split, [*files, *frame_files])
    return Collection(
        root if (root / "TextData").is_dir() else root / split, split, files, frame_files
    )


class Tables:
    """A split in the layout of NumPy tables."""

    missing: Sequence[str] = ()

    def __init__(self, root: Path, split: str, files: Sequence[str]) -> None:
        self.name, self.split, self.root = root.resolve().name, split, root
        owner = next(name for name in _OWNERS if (root / f"{split}_{name}.npy").is_file())
        owners = self._load(owner)
        if owners.ndim != 1 or owners.dtype.kind not in "iu" or not len(owners):
            raise ShapeError(
                f"{split}_{owner}.npy: expected whole numbers [Q], got {owners.dtype} "
                f"{list(owners.shape)}."
            )
        self.video_of_text = owners.astype(np.int64)
        self.video_ids = self._names(files)
        self.sentences = [""] * len(owners)
        least, most = int(self.video_of_text.min()), int(self.video_of_text.max())
        if least < 0 or most >= len(self.video_ids):
            raise ShapeError(
                f"{split}_{owner}.npy: rows run from {least} to {most}; there are "
                f"{len(self.video_ids)} videos, so expected 0 to {len(self.video_ids) - 1}."
            )

    def _names(self, files: Sequence[str]) -> list[str]:
        for kind in _IDS:
            path = self.root / f"{self.split}_{kind}.txt"
            if path.is_file():
                names = read_lines(path)
                if len(set(names)) != len(names):
                    raise ShapeError(f"{path.name}: a name is there twice; expected distinct ones.")
                return names
        if not files:
            raise UsageError(f"{self.root}: {self.split}_{_IDS[0]}.txt is missing.")
        return [f"{self.split} {row}" for row in range(len(self._load(files[0])))]

    def video(self, file: str) -> Table:
        return self._table(file, 2, len(self.video_ids), "videos")

    def frames(self, file: str) -> Sequence[NDArray[np.floating]]:
        return self._table(file, 3, len(self.video_ids), "videos")  # type: ignore[return-value]

    def text(self, file: str) -> Table:
        return self._table(file, 2, len(self.video_of_text), "sentences")

    def _table(self, file: str, axes: int, rows: int, what: str) -> NDArray[np.floating]:
        table = self._load(file)
        shape = "[rows, d]" if axes == 2 else "[rows, frames, d]"
        if table.dtype.kind != "f" or table.ndim != axes or len(table) != rows:
            raise ShapeError(
                f"{self.split}_{file}.npy: expected floating-point {shape} with a row for each of "
                f"the {rows} {what}, got {table.dtype} {list(table.shape)}."
            )
        return table

    def _load(self, file: str) -> NDArray:
        path = self.root / f"{self.split}_{file}.npy"
        if not path.is_file():
            raise NotFound(f"{self.root} holds no {path.name}, which the recipe's features need.")
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ShapeError(f"{path} is not a NumPy table of numbers: {error}") from error


class Collection:
    """A split in the layout of W2VV++ and LAFF: BigFiles beside one file of captions."""

    def __init__(
        self, folder: Path, split: str, files: Sequence[str], frame_files: Sequence[str]
    ) -> None:
        self.name, self.split, self.folder = folder.resolve().name, split, folder
        rows = laff_captions(folder / "TextData" / f"{split}.caption.txt")
        listed = folder / "VideoSets" / f"{split}.txt"
        wanted = read_lines(listed) if listed.is_file() else [video for _, video, _ in rows]
        wanted = list(dict.fromkeys(wanted))
        known = [set(self._big("FeatureData", file)) for file in files]
        for file in frame_files:
            known.append({name.rpartition("_")[0] for name in self._big("FeatureData/frame", file)})
        self.video_ids = [video for video in wanted if all(video in names for names in known)]
        self.missing = sorted(set(wanted) - set(self.video_ids))
        place = {video: row for row, video in enumerate(self.video_ids)}
        kept = [(key, place[video], text) for key, video, text in rows if video in place]
        if not kept:
            raise UsageError(
                f"{folder}: not one sentence of {split} belongs to a video with all of the "
                f"features {', '.join([*files, *frame_files]) or '(none)'}."
            )
        self.keys = [key for key, _, _ in kept]
        self.video_of_text = np.array([row for _, row, _ in kept], np.int64)
        self.sentences = [text for _, _, text in kept]

    def video(self, file: str) -> Table:
        return _Named(self._big("FeatureData", file), self.video_ids)

    def frames(self, file: str) -> Sequence[NDArray[np.floating]]:
        big = self._big("FeatureData/frame", file)
        by_video: dict[str, list[tuple[int, str]]] = {video: [] for video in self.video_ids}
        for name in big:
            video, _, number = name.rpartition("_")
            if video in by_video and number.isdigit():
                by_video[video].append((int(number), name))
        without = [video for video, names in by_video.items() if not names]
        if without:
            raise NotFound(
                f"{self.folder}: FeatureData/frame/{file} has no frame of {len(without)} videos, "
                f"first {without[0]!r}."
            )
        return _Frames(big, [[name for _, name in sorted(names)] for names in by_video.values()])

    def text(self, file: str) -> Table:
        big = self._big("TextFeatureData", file)
        without = [key for key in self.keys if key not in big]
        if without:
            raise NotFound(
                f"{self.folder}: TextFeatureData/{file} has no row of {len(without)} sentences, "
                f"first {without[0]!r}."
            )
        return _Named(big, self.keys)

    def _big(self, kind: str, file: str) -> BigFile:
        return BigFile(self.folder / kind / file)


class _Named:
    """Rows of a BigFile by their place in a list of names."""

    def __init__(self, big: BigFile, names: Sequence[str]) -> None:
        self.big, self.names = big, names

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.names), self.big.dim)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        return self.big.rows([self.names[row] for row in rows])


class _Frames(Sequence):
    """Frames [F, d] of each video out of one BigFile."""

    def __init__(self, big: BigFile, names: Sequence[list[str]]) -> None:
        self.big, self.names = big, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> NDArray[np.floating]:  # type: ignore[override]
        return self.big.rows(self.names[row])
