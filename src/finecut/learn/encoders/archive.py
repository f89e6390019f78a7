"""Read tensors out of a PyTorch file without running anything that is in it.

Three kinds come from outside: safetensors, a zip written by ``torch.save`` (read by torch itself
with ``weights_only=True``), and the TorchScript archives in which OpenAI published CLIP. The last
kind is a zip of code and a pickle; ``torch.jit.load`` would execute its code, so the pickle is
read here by an unpickler that knows tensors, containers and empty records, and nothing else.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finecut.errors import BundleError

_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAX_TENSOR_BYTES = 64 * 2**30  # no published retrieval model comes near


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Every tensor of a checkpoint file by its full name.

    Args:
        path: .safetensors, or .pt/.bin/.pth written by torch.save or by TorchScript.

    Raises:
        BundleError: not such a file, or one that holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"No checkpoint at '{path}': expected a .safetensors, .pt or .bin file.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return _read_torchscript(archive, path)
    return _read_torch_save(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise BundleError(f"'{path}' is not a readable safetensors file: {error}") from error


def _read_torch_save(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise BundleError(
            f"'{path}' cannot be read as plain weights: {_first_line(error)} "
            "Files that hold Python objects are refused; save a state dict instead."
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):  # training checkpoints
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict):
        raise BundleError(f"'{path}' holds a {type(loaded).__name__}, expected a state dict.")
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise BundleError(f"'{path}' holds no tensors, expected a state dict.")
    return tensors


class _Record:
    """A module of the archive with its attributes; its class and code are never looked up."""

    def __init__(self, *_args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(name): value for name, value in state.items()})


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any
) -> Tensor:
    if offset < 0 or any(n < 0 for n in (*size, *stride)) or len(size) != len(stride):
        raise pickle.UnpicklingError(f"impossible tensor: size {size}, stride {stride}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if all(size) and last >= storage.numel():
        raise pickle.UnpicklingError(f"tensor of size {size} reaches beyond its storage")
    return storage.as_strided(size, stride, offset).clone()


def _rebuild_parameter(data: Tensor, *_rest: Any) -> Tensor:
    return data


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type(name, (_Record,), {})
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
            ("collections", "OrderedDict"): collections.OrderedDict,
            # TorchScript tags its typed lists; the tag is a function that returns the list.
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_doublelist"): list,
            ("torch.jit._pickle", "build_boollist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _tag: value,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not a tensor or a container")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _device, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isalnum():
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        entry = self._archive.getinfo(f"{self._root}/data/{key}")
        expected = int(count) * dtype.itemsize
        if entry.file_size != expected or expected > MAX_TENSOR_BYTES:
            raise pickle.UnpicklingError(
                f"storage {key} has {entry.file_size} bytes, expected {expected}"
            )
        if not expected:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(self._archive.read(entry)), dtype=dtype)


def _read_torchscript(archive: zipfile.ZipFile, path: Path) -> dict[str, Tensor]:
    root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).rsplit("/", 1)[0]
    try:
        module = _TensorUnpickler(archive, root).load()
    except (pickle.UnpicklingError, KeyError, ValueError, TypeError, EOFError) as error:
        raise BundleError(
            f"'{path}' is a TorchScript archive that cannot be read as weights: {error}"
        ) from error
    tensors: dict[str, Tensor] = {}
    if isinstance(module, _Record):
        _collect(module, "", tensors)
    if not tensors:
        raise BundleError(f"'{path}' is a TorchScript archive without tensors.")
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _collect(record: _Record, prefix: str, into: dict[str, Tensor]) -> None:
    for name, value in vars(record).items():
        if isinstance(value, Tensor):
            into[f"{prefix}{name}"] = value
        elif isinstance(value, _Record):
            _collect(value, f"{prefix}{name}.", into)
