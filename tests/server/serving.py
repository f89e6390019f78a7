"""Making the colour library, and serving an app on a real port."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from color_bundle import COLORS, make_color_bundle
from video_corpus import steps, write_video

X264 = {"preset": "ultrafast", "g": "25"}


@dataclass(frozen=True)
class ColorLibrary:
    """Where the videos, the index and the bundle are."""

    videos: Path
    index: Path
    bundle: Path

    def indexed(self) -> ColorLibrary:
        """The same, with the index brought up to date."""
        from finecut.bundle.load import Bundle
        from finecut.index.build import build_index

        build_index([self.videos], self.index, Bundle.load(self.bundle, threads=1), workers=1)
        return self

    def id_of(self, name: str) -> str:
        """The id of a video by its file's name."""
        from finecut.index.content import content_id

        return content_id(self.videos / name)


def color_video(path: Path, *colors: str, seconds: float = 4.0, **options: Any) -> Path:
    """A video that shows colours one after the other, each for so many seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shots = [
        (1000 * seconds * (number + 1), tuple(int(240 * part) for part in COLORS[color]))
        for number, color in enumerate(colors)
    ]
    settings = {"options": X264, "code": False, **options}
    return write_video(path, steps(seconds * len(colors), 12.5), shots=shots, rate=25, **settings)


def make_color_library(root: Path) -> ColorLibrary:
    """Five videos that play, one a browser cannot play, and a file that is none."""
    videos = root / "videos"
    color_video(videos / "lights.mp4", "red", "green", "blue")
    color_video(videos / "trip" / "sea.mp4", "blue", "white", seconds=3)
    color_video(videos / "trip" / "größe 日本 & <b>.mp4", "yellow", seconds=3)
    color_video(videos / "night.mp4", "black", seconds=3)
    color_video(videos / "tall.mp4", "green", "black", seconds=3, width=90, height=160)
    color_video(
        videos / "old.avi", "magenta", "white", seconds=3, codec="mpeg4", options={"qscale": "3"}
    )
    (videos / "broken.mp4").write_bytes(b"This is not a video.\n" * 50)
    bundle = make_color_bundle(root / "bundle")
    return ColorLibrary(videos, root / "index", bundle).indexed()


@contextlib.contextmanager
def serving(index: Path, **options: Any) -> Iterator[str]:
    """Serve an app on a free port of this machine; gives its address, without a last slash."""
    import uvicorn

    from finecut.server.app import create_app

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    app = create_app(index, threads=1, **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
