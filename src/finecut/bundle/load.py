"""Load a bundle and run it: clips and sentences to tokens, candidates to scores."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from finecut.bundle.files import BundleFiles
from finecut.bundle.graph_io import rerank_io, text_io, video_io
from finecut.bundle.place import STARTER, find_bundle, lasting_ref
from finecut.bundle.query_bank import QueryBank, read_query_bank
from finecut.bundle.session import Graph, choose_providers
from finecut.bundle.tokens import Tokens, load_tokenizer, tokenize
from finecut.errors import BundleError, FinecutError, ShapeError, UsageError
from finecut.types import TextTokens, VideoTokens, check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

_T = TypeVar("_T")
_R = TypeVar("_R")

_MAX_TOKENIZER_BYTES = 128 << 20  # the largest vocabularies in use take 40 MB
_FEW_BATCHES = 4  # of sentences: fewer are not worth starting threads for
_TEXT_BATCH = 32  # sentences in one run: measured flat beyond it


class Bundle:
    """One retrieval model, ready to run. Safe to use from many threads.

    Graphs are read, checked and loaded at their first use, so that a search loads only the text
    and re-rank graphs. Make one with `Bundle.load`.
    """

    def __init__(
        self,
        files: BundleFiles,
        ref: str,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}.")
        self.files = files
        self.ref = ref
        self.manifest = files.manifest
        self._threads = threads
        self._asked = providers
        self._locks: dict[str, threading.RLock] = {}  # one each: two parts load side by side
        self._made: dict[str, Any] = {}

    @classmethod
    def load(
        cls,
        ref: str | Path = STARTER,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> Bundle:
        """The bundle that ``ref`` means. Reads the manifest only; never touches a network.

        Args:
            ref: a path (directory or zip), an installed name, or "hf:org/repo[@revision]" that
                was pulled before.
            threads: threads of one run; None for all cores, which sentences share by running
                side by side.
            providers: what runs the graphs, best first ("openvino", "cuda", "coreml", "cpu");
                None: accelerators that are present for videos, the CPU for sentences. OpenVINO
                is for videos alone.

        Raises:
            BundleError: no such bundle, or its manifest is broken.
            UsageError: raised when a graph is first used: a provider that is not installed.
        """
        place = find_bundle(ref)
        files = BundleFiles(place)
        return cls(files, lasting_ref(ref, place), threads=threads, providers=providers)

    def __repr__(self) -> str:
        m = self.manifest
        return f"Bundle({m.name!r}, {m.method}, fingerprint={self.fingerprint[:12]})"

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change with everything that changes an embedding."""
        return self.manifest.fingerprint

    @property
    def threads(self) -> int | None:
        """Threads of one run, as asked for; None for all cores."""
        return self._threads

    def with_threads(self, threads: int) -> Bundle:
        """The same bundle with so many threads in one run; its graphs are loaded for itself.

        Several runs of one thread side by side get more out of some cores than one run on all.
        """
        return Bundle(self.files, self.ref, threads=threads, providers=self._asked)

    def warm_up(self, *, video: bool = False) -> None:
        """Load the graphs a search needs (and the video graph) now rather than at first use."""
        _ = self._tokenizer, self._text
        if self.manifest.rerank:
            _ = self._rerank
        if video:
            _ = self._video

    def begin_warm_up(self) -> None:
        """Load the graphs a search needs in a thread of their own: Python goes on meanwhile.

        What goes wrong is raised where the graph is used.
        """

        def load() -> None:
            with contextlib.suppress(FinecutError):
                _ = self._text
                if self.manifest.rerank:
                    _ = self._rerank

        # No daemon: one that is inside onnxruntime when Python ends would take the process down.
        threading.Thread(target=load, name="finecut-warm-up").start()

    # -- videos ---------------------------------------------------------------------------------

    def encode_clips(self, clips: Sequence[NDArray[np.uint8]]) -> list[VideoTokens]:
        """Encode clips of any lengths, in batches of similar lengths; the order is kept.

        Args:
            clips: each uint8 [F, height, width, 3] RGB at the manifest's frame size,
                1 <= F <= max_frames.

        Raises:
            ShapeError: a clip of another shape, dtype or length.
            BundleError: the video graph is broken.
        """
        for place, frames in enumerate(clips):
            self._check_frames(frames, f"clip {place}")
        graph = self._video
        tokens: dict[int, VideoTokens] = {}
        for batch in self._batches([len(frames) for frames in clips], graph):
            longest = max(len(clips[i]) for i in batch)
            frames = np.zeros((len(batch), longest, *clips[batch[0]].shape[1:]), np.uint8)
            mask = np.zeros((len(batch), longest), bool)
            for row, i in enumerate(batch):
                frames[row, : len(clips[i])] = clips[i]
                mask[row, : len(clips[i])] = True
            out = graph.run({"frames": frames, "frame_mask": mask})
            graph.check(out, {"N": len(batch), "F": longest})
            for row, i in enumerate(batch):
                tokens[i] = _video_tokens(out, row, len(clips[i]))
        return [tokens[i] for i in range(len(clips))]

    def encode_image(self, frames: NDArray[np.uint8]) -> tuple[VideoTokens, TextTokens]:
        """An image as a clip of one frame, and as a query: its recall vector, its frame token.

        Args:
            frames: uint8 [1, height, width, 3] at the manifest's frame size.
        """
        if frames.ndim != 4 or len(frames) != 1:
            raise ShapeError(f"An image is uint8 [1, height, width, 3], got {frames.shape}.")
        tokens = self.encode_clips([frames])[0]
        return tokens, TextTokens(recall=tokens.recall, text=tokens.frames[0])

    def _check_frames(self, frames: NDArray[np.uint8], what: str) -> None:
        m = self.manifest
        shape = f"F {m.frames.height} {m.frames.width} 3"
        sizes = check_shape(**{f"frames of {what}": (frames, shape)})
        if frames.dtype != np.uint8:
            raise ShapeError(f"`frames` of {what} must be uint8, got {frames.dtype}.")
        if not 1 <= sizes["F"] <= m.sampling.max_frames:
            raise ShapeError(
                f"{what} has {sizes['F']} frames, expected 1 to {m.sampling.max_frames}."
            )

    def _batches(self, lengths: list[int], graph: Graph) -> list[list[int]]:
        """Rows by length, so that a batch has little padding and about batch_frames frames."""
        most = self.manifest.video.batch_frames
        if graph.facts.dynamic_quantised:
            most = 1  # quantised by the batch's range: alone, so that its company changes nothing
        batches: list[list[int]] = []
        for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
            if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= most:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    # -- sentences ------------------------------------------------------------------------------

    def encode_text(self, queries: Sequence[str]) -> list[TextTokens]:
        """Encode sentences, each at its true length: those of one length share a run.

        Args:
            queries: what to look for. Longer ones than ``max_words`` tokens are cut at the end.

        Raises:
            UsageError: a query that is empty, not text, or longer than any sentence.
            BundleError: the text graph or the tokenizer is broken.
        """
        tokens = tokenize(self._tokenizer, queries, self.manifest.text)
        graph = self._text
        most = 1 if graph.facts.dynamic_quantised else _TEXT_BATCH

        def run(batch: list[int]) -> dict[str, NDArray[np.float32]]:
            ids = np.array([tokens[i].ids for i in batch], np.int64)  # [Q, W]
            out = graph.run({"input_ids": ids, "word_mask": np.ones(ids.shape, bool)})
            graph.check(out, {"Q": len(batch), "W": ids.shape[1]})
            return out

        batches = _by_length(tokens, most)
        found: dict[int, TextTokens] = {}
        for batch, out in zip(batches, self._side_by_side(run, batches), strict=True):
            for row, i in enumerate(batch):
                words = out.get("word_embeds")
                found[i] = TextTokens(
                    recall=out["recall_query"][row].copy(),
                    text=out["text_embeds"][row].copy(),
                    words=None if words is None else words[row].copy(),
                )
        return [found[i] for i in range(len(queries))]

    def _side_by_side(self, run: Callable[[_T], _R], batches: Sequence[_T]) -> Iterable[_R]:
        """Many batches a core each: a sentence's run is too short to be shared by cores."""
        beside = (os.cpu_count() or 1) if self._threads is None else 1
        if beside == 1 or len(batches) <= _FEW_BATCHES:
            return map(run, batches)
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(beside, thread_name_prefix="finecut-text") as pool:
            return list(pool.map(run, batches))

    def query_bank(self) -> QueryBank | None:
        """The ordinary queries confidence is measured against; None without calibration."""
        calibration = self.manifest.calibration
        if calibration is None:
            return None
        return self._once("query_bank", lambda: read_query_bank(self, calibration))

    # -- candidates -----------------------------------------------------------------------------

    def rerank(
        self, inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Scores [K] and frame relevance [K, F] of the candidates of one query.

        Args:
            inputs: the arrays the manifest's re-ranker names (see `graph_io.rerank_io`).

        Returns: None where the bundle has no re-ranker.
        Raises:
            ShapeError: an input that is missing or of another shape.
            BundleError: the graph is broken.
        """
        if self.manifest.rerank is None:
            return None
        graph = self._rerank
        expected, _ = rerank_io(self.manifest)
        if set(inputs) != set(expected):
            raise ShapeError(f"The re-ranker takes {sorted(expected)}, got {sorted(inputs)}.")
        sizes = check_shape(**{name: (inputs[name], expected[name][1]) for name in expected})
        feeds = {n: np.ascontiguousarray(a, expected[n][0]) for n, a in inputs.items()}
        out = graph.run(feeds)
        graph.check(out, sizes)
        return out["score"], out["frame_relevance"]

    # -- loaded once, by whichever thread needs it first ----------------------------------------

    @property
    def _tokenizer(self) -> Any:
        name = self.manifest.text.tokenizer
        return self._once(
            "tokenizer",
            lambda: load_tokenizer(self.files.read(name, _MAX_TOKENIZER_BYTES), self._say(name)),
        )

    @property
    def _video(self) -> Graph:
        return self._graph(
            self.manifest.video.graph,
            video_io(self.manifest),
            threads=self._threads,
            accelerate=True,
        )

    @property
    def _text(self) -> Graph:
        # One thread answers a sentence sooner than two, with a quarter less of processor: measured.
        threads = self._threads or 1
        return self._graph(self.manifest.text.graph, text_io(self.manifest), threads=threads)

    @property
    def _rerank(self) -> Graph:
        section = self.manifest.rerank
        if section is None:
            raise BundleError(f"The bundle {self.name} has no re-ranker.")
        return self._graph(section.graph, rerank_io(self.manifest), threads=self._threads)

    def _graph(
        self, name: str, io: tuple[Any, Any], *, threads: int | None, accelerate: bool = False
    ) -> Graph:
        def make() -> Graph:
            return Graph(
                self.files.read(name),
                self._say(name),
                *io,
                threads=threads,
                providers=choose_providers(self._asked, accelerate=accelerate),
            )

        return self._once(name, make)

    def _say(self, name: str) -> str:
        return f"{self.files.place}: {name}"

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        made = self._made.get(name)
        if made is None:
            with self._locks.setdefault(name, threading.RLock()):
                made = self._made.get(name)
                if made is None:
                    made = self._made[name] = make()
        return made


def _video_tokens(out: Mapping[str, NDArray[np.float32]], row: int, length: int) -> VideoTokens:
    def part(name: str) -> NDArray[np.float32] | None:
        return out[name][row, :length].copy() if name in out else None

    return VideoTokens(
        recall=out["recall_embeds"][row].copy(),
        frames=out["frame_embeds"][row, :length].copy(),
        patches=part("patch_embeds"),
        frame_values=part("frame_values"),
    )


def _by_length(tokens: Sequence[Tokens], most: int) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for i, item in enumerate(tokens):
        groups.setdefault(len(item.ids), []).append(i)
    return [rows[i : i + most] for rows in groups.values() for i in range(0, len(rows), most)]
