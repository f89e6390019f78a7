"""What was asked, as vectors: a sentence, an image, or a moment that is in the index already."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from finecut.errors import NotFound, ShapeError, UsageError
from finecut.types import TextTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.index.store import Index
    from finecut.text.query_tree import Words

_REMEMBERED = 512  # encoded sentences: paging and filters ask for the same one again and again


@dataclass(frozen=True, slots=True)
class Asked:
    """An encoded query."""

    tokens: TextTokens
    label: str  # what the results say was asked
    kind: Literal["text", "image"]  # decides what its confidence is measured against
    without: int | None = None  # the gallery row that is the query itself


class QueryEncoder:
    """Encodes queries with one bundle and remembers sentences. Safe to use from many threads."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._known: dict[str, TextTokens] = {}
        self._lock = threading.Lock()

    def encode(self, query: Any) -> Asked:
        """A sentence (str), or an image: encoded bytes, a PIL image, or uint8 [height, width, 3].

        Raises:
            UsageError: none of these, or an empty sentence.
            VideoError, LimitError: an image that cannot be read or is too large.
        """
        if isinstance(query, str):
            return self.encode_texts([query])[0]
        frames = image_frames(query, self.bundle)
        return Asked(self.bundle.encode_image(frames)[1], "image", "image")

    def encode_texts(self, queries: Sequence[str]) -> list[Asked]:
        """Sentences, the new ones in one batch."""
        known = dict(self._known)
        if not all(isinstance(query, str) for query in queries):
            raise UsageError("Queries in a batch are sentences (str).")
        new = [query for query in dict.fromkeys(queries) if query not in known]
        if new:
            known.update(zip(new, self.bundle.encode_text(new), strict=True))
            with self._lock:
                kept = {**self._known, **{query: known[query] for query in new}}
                self._known = dict(list(kept.items())[-_REMEMBERED:])
        return [Asked(known[query], query, "text") for query in queries]

    def encode_words(self, words: Sequence[Words]) -> list[Asked]:
        """Sentences of a query, new ones in one batch; a weight draws towards its piece.

        A weight of w adds w - 1 times the piece on its own to the whole sentence: above 1 the
        sentence means more of it, below 1 less.
        """
        weighted = {piece.text for item in words for piece in item.pieces if piece.weight != 1.0}
        texts = dict.fromkeys([*(item.text for item in words), *weighted])
        known = {asked.label: asked.tokens for asked in self.encode_texts(list(texts))}
        made = []
        for item in words:
            tokens = known[item.text]
            parts = [(known[p.text], p.weight - 1.0) for p in item.pieces if p.weight != 1.0]
            if parts and len(item.pieces) > 1:
                tokens = mixed([(tokens, 1.0), *parts])
            made.append(Asked(tokens, item.text, "text"))
        return made

    def with_image(self, words: Asked, image: Asked) -> Asked:
        """An image and a sentence about it as one query; both count the same."""
        tokens = mixed([(image.tokens, 1.0), (words.tokens, 1.0)])
        return Asked(tokens, f"image and {words.label}", "image")


def mixed(parts: Sequence[tuple[TextTokens, float]]) -> TextTokens:
    """Several queries as one: a weighted sum, as long as the first of them was.

    Recall vectors are made equally long before they are added, so that the weights mean the same
    for sentences and images. Word tokens are those of the first.
    """
    first = parts[0][0]
    length = float(np.linalg.norm(first.recall))
    recall = sum((weight * _unit(tokens.recall) for tokens, weight in parts), np.float32(0))
    text = sum((weight * _unit(tokens.text) for tokens, weight in parts), np.float32(0))
    return TextTokens(
        recall=(_unit(np.asarray(recall)) * length).astype(np.float32),
        text=_unit(np.asarray(text)).astype(np.float32),
        words=first.words,
    )


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def image_frames(image: Any, bundle: Bundle) -> NDArray[np.uint8]:
    """uint8 [1, height, width, 3] at the bundle's frame size from an image of any kind.

    Raises:
        UsageError: not an image.
        VideoError, LimitError: an image that cannot be read or is too large.
    """
    import io

    from finecut.video.image import load_image
    from finecut.video.spec import DecodeSpec

    if isinstance(image, bytes | bytearray | memoryview):
        data = bytes(image)
    else:
        from PIL import Image, ImageOps

        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise ShapeError(
                    "An image query is uint8 [height, width, 3] RGB, got "
                    f"{image.dtype} {list(image.shape)}."
                )
            image = Image.fromarray(image)
        if not isinstance(image, Image.Image):
            raise UsageError(
                "A query is a sentence (str) or an image (bytes, PIL, uint8 array), got "
                f"{type(image).__name__}."
            )
        # Through a lossless file, so that any image is guarded and resized by one code path.
        upright = ImageOps.exif_transpose(image)
        clear = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
        buffer = io.BytesIO()
        upright.convert("RGBA" if clear else "RGB").save(buffer, "PNG", compress_level=1)
        data = buffer.getvalue()
    return load_image(data, DecodeSpec.from_manifest(bundle.manifest))


def stored_moment(
    bundle: Bundle,
    index: Index,
    video_id: str | None,
    time_s: float | None,
    clip_id: int | None,
) -> Asked:
    """A clip of the index as a query: its recall vector, and the token of the frame at ``time_s``.

    Args:
        bundle: of the index.
        index: the index.
        video_id: with ``time_s``; or None with a ``clip_id``.
        time_s: seconds; None: the middle of the clip (of the video's first clip).
        clip_id: an entry of a moment's ``clip_ids``.

    Raises:
        NotFound: no such video or clip.
        UsageError: neither was named, or both, or the time is no number.
    """
    if (video_id is None) == (clip_id is None):
        raise UsageError("Name a video (and a time), or a clip: one of the two.")
    if time_s is not None and not np.isfinite(time_s):
        raise UsageError(f"The time must be seconds, got {time_s!r}.")
    clips = index.clips
    if clip_id is not None:
        found = np.flatnonzero(clips.clip_id == clip_id)
        if not len(found):
            raise NotFound(f"There is no clip {clip_id} in the index; it may have been removed.")
        row = int(found[0])
    else:
        row = _row_at(index, str(video_id), time_s)
    video = index.videos[int(clips.video[row])]
    tokens = index.tokens(np.array([row]), patches=False)
    times = tokens.times[0][tokens.frame_mask[0]]
    # The frame on screen at that time is the last one that had begun.
    place = len(times) // 2 if time_s is None else max(0, int((times <= time_s).sum()) - 1)
    if tokens.frames is None or tokens.frame_scale is None:
        text = np.zeros(bundle.manifest.video.embed_dim, np.float32)
    else:
        token = tokens.frames[0, place].astype(np.float32) * tokens.frame_scale[0, place]
        text = token / max(float(np.linalg.norm(token)), 1e-9)
    recall = np.array(index.recall_matrix()[row], np.float32)
    label = f"like {video.video_id} at {float(times[place]):.2f} s"
    return Asked(TextTokens(recall=recall, text=text), label, "image", without=row)


def _row_at(index: Index, video_id: str, time_s: float | None) -> int:
    clips = index.clips
    place = next((i for i, row in enumerate(index.videos) if row.video_id == video_id), None)
    rows = np.flatnonzero(clips.video == place) if place is not None else np.zeros(0, int)
    if not len(rows):
        raise NotFound(f"There is no video {video_id!r} in the index.")
    rows = rows[np.argsort(clips.start_s[rows], kind="stable")]
    if time_s is None:
        return int(rows[0])
    begun = int((clips.start_s[rows] <= time_s).sum())
    return int(rows[max(0, begun - 1)])
