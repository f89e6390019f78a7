"""What the tests of object stores and clusters share: a server that speaks the S3 protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

pytest.importorskip("moto", reason="moto is not installed: pip install 'finecut[dev]'")
pytest.importorskip("obstore", reason="obstore is not installed: pip install 'finecut[cloud]'")

HERE = Path(__file__).parent
SECRET = "secret-of-the-tests-4711"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)


@dataclass(frozen=True)
class S3Server:
    """A running server; the environment variables that lead to it."""

    environment: dict[str, str]
    process: subprocess.Popen[str]

    @property
    def endpoint(self) -> str:
        return self.environment["AWS_ENDPOINT_URL"]

    def bucket(self) -> str:
        """The name of a fresh, empty bucket."""
        import boto3

        name = f"finecut-{uuid4().hex[:12]}"
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=name)
        return name


def start_s3(*arguments: str) -> S3Server:
    """Start a server on a free port of this machine; the caller kills its process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "s3_server.py"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=clean,
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    assert port.isdigit(), "the S3 server did not start"
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "KEYOFTHETESTS",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return S3Server(environment, process)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for all tests of this process (each pytest-xdist worker has its own)."""
    server = start_s3()
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """The server, with the environment set to it: for this process and those it starts.

    ``s3.bucket()`` makes a bucket. The caches of remote indexes lie in a folder of the test.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FINECUT_CACHE", str(tmp_path / "finecut-cache"))
    yield s3_server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The URL of a fresh bucket: ``s3://finecut-…``."""
    return f"s3://{s3.bucket()}"
