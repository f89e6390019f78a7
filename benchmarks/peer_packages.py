"""Published packages that do what finecut does, called through their own functions.

They are installed once from the package index into build/bench-peers, without their dependencies
(torch among them), and put at the end of `sys.path`: what both need is this environment's. Where a
peer would load its model, it is given the bundle's; everything else is its own code, unchanged.

    python benchmarks/peer_packages.py NAME LIBRARY INDEX    # used by benchmarks/peers.py

indexes a folder as that peer does and prints how many frames it stored.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finecut import Bundle
from record import ROOT

AMON_HEN, VIDXP, RCLIP = "amon-hen 0.1.21", "VidXP 0.4.0", "rclip 3.3.0"
DECORD, CLIP_RETRIEVAL = "decord2 3.4.0", "clip-retrieval 2.45.0"
# A peer, and what its reading, storing and searching needs that finecut's development does not.
PACKAGES = {
    AMON_HEN: (
        "amon-hen==0.1.21",
        "imageio-ffmpeg==0.8.1",
        "sqlite-vec==0.1.9",
        "pysqlite3-binary==0.5.4.post2",
    ),
    VIDXP: (
        "vidxp==0.4.0",
        "chromadb==1.5.9",
        "overrides==7.7.0",
        "tenacity==9.2.1",
        "pybase64==1.5.1",
        "orjson==3.13.0",
        "opentelemetry-exporter-otlp-common==0.66b2",
        "opentelemetry-exporter-otlp-proto-common==1.45.2",
        "opentelemetry-exporter-otlp-proto-grpc==1.45.2",
    ),
    RCLIP: ("rclip==3.3.0",),
    DECORD: ("decord2==3.4.0",),
    CLIP_RETRIEVAL: ("clip-retrieval==2.45.0",),
}
FOLDER = ROOT / "build" / "bench-peers"
SECONDS_EACH_FRAME = 1.0  # amon-hen's, VidXP's and the starter's own sampling alike


def place(peer: str) -> Path:
    """Where a peer is installed: another place for other versions."""
    told = hashlib.sha256(" ".join(PACKAGES[peer]).encode()).hexdigest()[:8]
    return FOLDER / f"{PACKAGES[peer][0].replace('==', '-')}-{told}"


def install() -> dict[str, str]:
    """Put the peers where they can be imported; pip's words of those that it refuses."""
    refused = {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for peer, packages in PACKAGES.items():
        if place(peer).exists():
            continue
        with tempfile.TemporaryDirectory(dir=FOLDER) as made:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
            done = subprocess.run(
                [*pip, f"{made}/peer", *packages], capture_output=True, text=True, check=False
            )
            if done.returncode:
                refused[f"install, {peer}"] = done.stderr.strip().rpartition("\n")[2]
            else:
                Path(made, "peer").rename(place(peer))
    reach()
    return refused


def reach() -> None:
    """Let this process import the peers, and keep them from calling anybody."""
    os.environ.update(ANONYMIZED_TELEMETRY="False", HF_HUB_OFFLINE="1")
    for peer in PACKAGES:
        if str(place(peer)) not in sys.path:
            sys.path.append(str(place(peer)))


# -- sampling ----------------------------------------------------------------------------------


def amon_hen_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """FFmpeg's `fps` filter in a process of its own; every frame decoded, wanted ones piped."""
    decode = import_module("amonhen.decode")
    for frame in decode.iter_frames(path, fps=1 / SECONDS_EACH_FRAME):
        yield frame.image


def vidxp_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """OpenCV; every frame decoded, wanted ones made BGR."""
    video = import_module("vidxp.core.video")
    rate = video.probe_video(path).fps
    batches = video.iter_frame_batches(
        path,
        samplings=(video.FrameSampling(source_fps=rate, target_fps=1 / SECONDS_EACH_FRAME),),
        batch_size=32,  # its default
        cancellation=import_module("vidxp.core.contracts").CancellationToken(),
    )
    for batch in batches:
        for sample in batch:
            yield sample.frame


def decord_frames(path: Path, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """The frames by number, resized while they are decoded."""
    reader = import_module("decord").VideoReader(str(path), width=width, height=height)
    numbers = np.arange(0, len(reader), reader.get_avg_fps() * SECONDS_EACH_FRAME)
    yield from reader.get_batch(numbers.astype(int).tolist()).asnumpy()


# -- amon-hen's file ---------------------------------------------------------------------------


def amon_hen_store() -> Any:
    """Its module of the store, with another sqlite3 where this Python's loads no extensions."""
    store = import_module("amonhen.store")
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        store.sqlite3 = import_module("pysqlite3")
    return store


# -- indexing, with the bundle's model in the place of theirs ------------------------------------


def encode(bundle: Bundle, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[N, R]: each frame [height, width, 3] as a clip of its own."""
    return np.stack([tokens.recall for tokens in bundle.encode_clips(list(frames[:, None]))])


def amon_hen_index(library: Path, index: Path, bundle: Bundle) -> int:
    """`amonhen.pipeline.index_videos` with its defaults: all from sampling to SQLite."""
    pipeline, encoder = import_module("amonhen.pipeline"), import_module("amonhen.encode")
    registry = import_module("amonhen.model_registry")
    spec = registry.ModelSpec(
        bundle.name, "", "", "", "", bundle.manifest.video.recall_dim, bundle.manifest.frames.height
    )

    def run(_: Any, inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        pictures = inputs["frames"].transpose(0, 2, 3, 1) * 255
        return [encode(bundle, np.ascontiguousarray(pictures.round().astype(np.uint8)))]

    name = types.SimpleNamespace(name="frames")
    session = types.SimpleNamespace(get_inputs=lambda: [name], get_outputs=lambda: [name], run=run)
    images = encoder.ImageEncoder(spec, session_factory=lambda _: session)
    with amon_hen_store().Store(index / "amonhen.db", spec.embed_dim) as store:
        done = pipeline.index_videos([library], store, pipeline.IndexConfig(), images)
    return done.frames_kept


def vidxp_index(library: Path, index: Path, bundle: Bundle) -> int:
    """`index_visuals` of its scene capability with its defaults: sampling, batches, Chroma."""
    import torch
    from PIL import Image

    scene = import_module("vidxp.capabilities.scene.indexing")
    models = import_module("vidxp.capabilities.scene.models")
    contracts = import_module("vidxp.core.contracts")
    visual = import_module("vidxp.capabilities.visual")
    size = bundle.manifest.frames.width, bundle.manifest.frames.height

    def process(images: list[Image.Image], return_tensors: str) -> dict[str, torch.Tensor]:
        made = [np.asarray(image.resize(size, Image.Resampling.BICUBIC)) for image in images]
        return {"frames": torch.from_numpy(np.stack(made))}

    def features(frames: torch.Tensor) -> types.SimpleNamespace:
        return types.SimpleNamespace(pooler_output=torch.from_numpy(encode(bundle, frames.numpy())))

    model = models.SceneModel(types.SimpleNamespace(get_image_features=features), process, "cpu")

    class Processor(scene.SceneVisualProcessor):
        def prepare(self, config: Any, runtime: Any, progress: Any) -> Any:
            return scene.SceneIndexState(model)

    executor = types.SimpleNamespace(index_processor=Processor())
    config = contracts.IndexConfig.local(
        enabled_modalities=("scene",), storage_directory=index / "chroma", generation_id="one"
    )
    stored = 0
    with import_module("vidxp.core.storage").IndexStorage(config) as storage:
        for path in sorted(library.iterdir()):
            done = visual.index_visuals(
                contracts.VideoSource(video_id=path.stem, path=path),
                config=config.for_video(path.stem),
                storage=storage,
                cancellation=contracts.CancellationToken(),
                registry=types.SimpleNamespace(executor=lambda name: executor),
                runtime=None,
            )
            stored += done.summary["scene_frames"]
    return stored


INDEXERS = {AMON_HEN: amon_hen_index, VIDXP: vidxp_index}


# -- searching, the query's vector given ---------------------------------------------------------


class AmonHenStore:
    """Its SQLite file, its exact search by sqlite-vec."""

    def __init__(self, folder: Path, vectors: NDArray[np.float32]) -> None:
        store = amon_hen_store()
        self._store = store.Store(folder / "amonhen.db", vectors.shape[1])
        video = self._store.add_video("made-up.mp4", len(vectors) * 1000, 1.0, 1, 0.0, "", "")
        self._store.add_frames(
            video,
            [store.FrameRecord(row * 1000, vector, "fixed") for row, vector in enumerate(vectors)],
        )

    def search(self, query: NDArray[np.float32], k: int) -> list[int]:
        return [hit.ts_ms // 1000 for hit in self._store.search_vector(query, k)]

    def close(self) -> None:
        self._store.close()


class Rclip:
    """Its SQLite file, its `RClip.search`: all vectors read, one product, Python's sort."""

    def __init__(self, folder: Path, vectors: NDArray[np.float32]) -> None:
        main, model = import_module("rclip.main"), import_module("rclip.model")
        database = import_module("rclip.db")
        self._database = database.DB(folder / "rclip.sqlite3")
        for row, vector in enumerate(vectors):
            image = database.NewImage(
                filepath=f"/made-up/{row}.jpg", modified_at=0.0, size=1,
                vector=vector.tobytes(), hash=str(row),
            )  # fmt: skip
            self._database.upsert_image(image, commit=False)
        self._database.commit()
        outer = self

        class Model(model.Model):
            """The text tower is left out: a query is its vector."""

            def compute_features_for_queries(self, queries: list[str]) -> NDArray[np.float32]:
                return outer._query if queries else np.zeros_like(outer._query)

        self._query = vectors[0]
        self._model = Model()
        self._rclip = main.RClip(self._model, self._database, 8, None)
        self._loaded: tuple[list[str], NDArray[np.float32]] | None = None

    def search(self, query: NDArray[np.float32], k: int) -> list[int]:
        """As a command does it: the vectors are read for every search."""
        self._query = query
        found = self._rclip.search("query", "/made-up", k)
        return [int(Path(result.filepath).stem) for result in found]

    def search_loaded(self, query: NDArray[np.float32], k: int) -> list[int]:
        """Without reading: the product and the sort alone."""
        self._query = query
        if self._loaded is None:
            self._loaded = self._rclip._get_features("/made-up")
        paths, features = self._loaded
        found = self._model.compute_similarities_to_text(features, ["query"], [])
        return [int(Path(paths[row]).stem) for _, row in found[:k]]

    def close(self) -> None:
        self._rclip.close()
        self._database.close()


if __name__ == "__main__":
    reach()
    peer, videos_folder, index_folder = sys.argv[1:]
    print(INDEXERS[peer](Path(videos_folder), Path(index_folder), Bundle.load()))
