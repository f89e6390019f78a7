"""A small library of colour videos with right answers, indexed once, and apps that serve it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.serving import ColorLibrary, make_color_library


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> ColorLibrary:
    """The library as it is made; tests that change it take `own` instead."""
    return make_color_library(tmp_path_factory.mktemp("served"))


@pytest.fixture
def own(tmp_path: Path, made: ColorLibrary) -> ColorLibrary:
    """A library of the test's own: videos and index may be changed."""
    shutil.copytree(made.videos, tmp_path / "videos")
    return ColorLibrary(tmp_path / "videos", tmp_path / "index", made.bundle).indexed()


@pytest.fixture
def connect() -> Iterator[Callable[..., TestClient]]:
    """Makes clients of apps; as a caller on this machine unless told otherwise."""
    from finecut.server.app import create_app

    clients = []

    def make(
        index: Path,
        *,
        base_url: str = "http://localhost:8500",
        address: str = "127.0.0.1",
        **options: Any,
    ) -> TestClient:
        app = create_app(index, threads=1, **options)
        client = TestClient(
            app,
            base_url=base_url,
            client=(address, 50000),
            headers={"X-Finecut": "1"},
            raise_server_exceptions=False,
        )
        clients.append(client.__enter__())
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def client(made: ColorLibrary) -> Iterator[TestClient]:
    """A client of the unchanged library."""
    from finecut.server.app import create_app

    app = create_app(made.index, threads=1)
    with TestClient(
        app,
        base_url="http://localhost:8500",
        client=("127.0.0.1", 50000),
        headers={"X-Finecut": "1"},
        raise_server_exceptions=False,
    ) as connected:
        yield connected
