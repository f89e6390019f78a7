"""Pulling from a hub, against a hub of the same protocol served on the loopback address."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from color_bundle import make_color_bundle
from finecut.bundle.hub import pull, pulled_record
from finecut.bundle.load import Bundle
from finecut.bundle.place import find_bundle, hub_dir, installed
from finecut.errors import BundleError

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


class Hub(ThreadingHTTPServer):
    """Serves ``files`` (commit -> name -> bytes) of one repository, org/colors."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, dict[str, bytes]] = {}
        self.sizes: dict[str, int] = {}  # what the listing says, where it lies
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """The two requests a download makes: what a revision holds, and a file of a commit."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:3] == ["api", "models", "org"] and parts[3] == "colors":
            return self._listing(parts[5] if len(parts) > 5 else "main")
        if parts[:2] == ["org", "colors"] and parts[2] == "resolve":
            data = self.server.files.get(parts[3], {}).get(parts[4])
            if data is not None:
                return self._send(200, data, parts[3], body=body)
            return self._send(404, b"", code="EntryNotFound", body=body)
        return self._send(404, b"", code="RepoNotFound", body=body)

    def _listing(self, revision: str) -> None:
        commit = COMMITS.get(revision, revision)
        if commit not in self.server.files:
            return self._send(404, b"", code="RevisionNotFound")
        files = [
            {"rfilename": name, "size": self.server.sizes.get(name, len(data))}
            for name, data in self.server.files[commit].items()
        ]
        plain = {"id": "org/colors", "modelId": "org/colors", "sha": commit, "siblings": files}
        return self._send(200, json.dumps(plain).encode(), kind="application/json")

    def _send(
        self,
        status: int,
        data: bytes,
        commit: str = "",
        *,
        code: str = "",
        kind: str = "application/octet-stream",
        body: bool = True,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", kind)
        if code:
            self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    for name, sharpness in (("main", 8.0), ("v1", 7.0)):
        made = make_color_bundle(tmp_path / f"made-{name}", sharpness=sharpness)
        server.files[COMMITS[name]] = {p.name: p.read_bytes() for p in made.iterdir()}
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("FINECUT_BUNDLES", str(tmp_path / "bundles"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_pulled_bundle_is_found_by_its_address(hub: Hub):
    with pytest.raises(BundleError, match="get it with: finecut bundle pull hf:org/colors"):
        Bundle.load("hf:org/colors")
    place = pull("hf:org/colors")
    assert place == hub_dir("org/colors") == find_bundle("hf:org/colors")
    bundle = Bundle.load("hf:org/colors")
    assert bundle.encode_text(["red"])
    record = pulled_record(place)
    assert (record.repo, record.revision, record.commit) == ("org/colors", "main", "a" * 40)
    assert record.fingerprint == bundle.fingerprint
    assert record.sha256 == {e.path: e.sha256 for e in bundle.manifest.files}
    assert place.name in installed()


def test_everything_is_fetched_from_the_pinned_commit(hub: Hub):
    pull("hf:org/colors")
    fetched = [line for line in hub.asked if "/resolve/" in line]
    assert len(fetched) >= 6 and all(f"/resolve/{'a' * 40}/" in line for line in fetched)


def test_a_revision_is_pinned_and_checked(hub: Hub):
    pull("hf:org/colors@v1")
    assert Bundle.load("hf:org/colors@v1").fingerprint
    assert Bundle.load(f"hf:org/colors@{'b' * 40}").fingerprint
    with pytest.raises(BundleError, match=r"revision v1 \(bbbbbbbbbbbb\) is; get the other one"):
        Bundle.load("hf:org/colors@main")
    first = Bundle.load("hf:org/colors").fingerprint
    pull("hf:org/colors")
    assert Bundle.load("hf:org/colors").fingerprint != first


def test_what_is_there_is_not_fetched_again(hub: Hub):
    pull("hf:org/colors")
    hub.asked.clear()
    pull("hf:org/colors")
    assert len(hub.asked) == 1
    (hub_dir("org/colors") / "text.onnx").write_bytes(b"damaged")
    pull("hf:org/colors")
    assert Bundle.load("hf:org/colors").encode_text(["red"])


def test_a_bundle_that_is_there_survives_a_failed_pull(hub: Hub):
    place = pull("hf:org/colors@v1")
    hub.files["a" * 40]["text.onnx"] += b"x"
    hub.sizes["text.onnx"] = len(hub.files["a" * 40]["text.onnx"]) - 1
    with pytest.raises(BundleError, match=r"text\.onnx"):
        pull("hf:org/colors")
    assert Bundle.load("hf:org/colors@v1").encode_text(["red"])
    assert [path.name for path in place.parent.iterdir()] == [place.name]


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("hf:org/nothing", "there is no such repository, or it is private"),
        ("hf:org/colors@v9", "the repository has no such revision"),
        ("hf:colors", "is no hub address; expected hf:org/repo"),
        ("hf:../..", "is no hub address"),
        ("hf:org/colors@../x", "is no hub address"),
        ("org/colors", "is no hub address"),
    ],
)
def test_addresses_that_lead_nowhere(hub: Hub, ref: str, message: str):
    with pytest.raises(BundleError, match=message):
        pull(ref)


def broken_manifest(hub: Hub, **changes) -> None:
    files = hub.files["a" * 40]
    files["manifest.json"] = json.dumps({**json.loads(files["manifest.json"]), **changes}).encode()


def test_a_repository_without_a_bundle(hub: Hub):
    del hub.files["a" * 40]["manifest.json"]
    with pytest.raises(BundleError, match=r"has no manifest\.json; a bundle is a repository with"):
        pull("hf:org/colors")


def test_a_bundle_of_a_newer_schema(hub: Hub):
    broken_manifest(hub, schema_version=2)
    with pytest.raises(BundleError, match="schema version 2, this finecut reads 1"):
        pull("hf:org/colors")


def test_a_missing_file(hub: Hub):
    del hub.files["a" * 40]["text.onnx"]
    with pytest.raises(BundleError, match=r"has no text\.onnx"):
        pull("hf:org/colors")
    assert not hub_dir("org/colors").exists()


def test_a_file_larger_than_the_manifest_says_is_not_fetched(hub: Hub):
    hub.files["a" * 40]["text.onnx"] += bytes(1000)
    with pytest.raises(BundleError, match=r"text\.onnx has \d+ bytes, expected at most"):
        pull("hf:org/colors")
    assert not any("text.onnx" in line for line in hub.asked)


def test_a_file_of_other_content(hub: Hub):
    data = bytearray(hub.files["a" * 40]["text.onnx"])
    data[50] ^= 1
    hub.files["a" * 40]["text.onnx"] = bytes(data)
    with pytest.raises(BundleError, match=r"text\.onnx has the SHA-256"):
        pull("hf:org/colors")
    assert not hub_dir("org/colors").exists()


def test_no_hub_at_all(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BundleError, match=r"cannot be fetched: .* Check the connection"):
        pull("hf:org/colors")
