"""Files from outside: every published container is read, and nothing in it is run."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from finecut.errors import BundleError
from finecut.learn.encoders.archive import read_tensors


class Model(torch.nn.Module):
    """Shared storage, a transposed view, half precision, a buffer and nested modules."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
        self.proj = torch.nn.Parameter(torch.randn(4, 2).half())
        self.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
        self.register_buffer("vocab_size", torch.tensor(300))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].dtype == value.dtype and torch.equal(got[name], value), name


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_read_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    path = tmp_path / "clip.pt"
    torch.jit.trace(model, torch.zeros(1, 3)).save(path)
    monkeypatch.setattr(torch.jit, "load", lambda *_: pytest.fail("TorchScript was loaded"))
    same(read_tensors(path), model.state_dict())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_save(tmp_path: Path, wrapper: str | None, legacy: bool) -> None:
    state = Model().state_dict()
    path = tmp_path / "pytorch_model.bin.4"
    content = {wrapper: dict(state), "epoch": 4} if wrapper else dict(state)
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    same(read_tensors(path), state)


def test_safetensors(tmp_path: Path) -> None:
    state = {name: value.contiguous() for name, value in Model().state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    same(read_tensors(tmp_path / "model.safetensors"), state)


class Payload:
    """What a hostile file does: names a function to call on loading."""

    def __reduce__(self) -> tuple:
        return (print, ("this must never be called",))


def hostile_torchscript(path: Path, payload: object) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/constants.pkl", pickle.dumps(()))
        archive.writestr("clip/data.pkl", pickle.dumps(payload))


def test_code_in_a_pickle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, script = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save({"weights": Payload()}, plain)
    hostile_torchscript(script, Payload())
    for path, message in ((plain, "cannot be read as plain weights"), (script, "print is not a")):
        with pytest.raises(BundleError, match=message):
            read_tensors(path)
    assert "never" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    storage = next(name for name in entries if "/data/" in name)
    entries[storage] = entries[storage][:4]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match="has 4 bytes, expected"):
        read_tensors(path)


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_rubbish_is_refused_by_name(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BundleError, match=name):
        read_tensors(tmp_path / name)


def test_what_is_not_a_state_dict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No checkpoint at"):
        read_tensors(tmp_path / "absent.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(BundleError, match="holds a list, expected a state dict"):
        read_tensors(tmp_path / "list.pt")
    torch.save({"epoch": 1}, tmp_path / "empty.pt")
    with pytest.raises(BundleError, match="holds no tensors"):
        read_tensors(tmp_path / "empty.pt")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("clip/constants.pkl", b"")
        archive.writestr("clip/data.pkl", pickle.dumps({"a": 1}))
    (tmp_path / "no_tensors.pt").write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match="TorchScript archive"):
        read_tensors(tmp_path / "no_tensors.pt")
