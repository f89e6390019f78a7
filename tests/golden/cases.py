"""The float64 golden sets of LAFF, TACo and CAMoE: a JSON of cases beside a file of tensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from .account import Account, read_json

ATOL = 1e-9


class Case:
    """One case of a JSON + safetensors pair; counts which of its tensors were read."""

    def __init__(self, name: str, entry: dict, tensors: dict[str, Tensor]) -> None:
        self.name = name
        self.meta = entry.get("meta", {})
        self.order = list(entry["tensors"])
        self._tensors = {k: tensors[f"{name}/{k}"] for k in self.order}
        self.account = Account(name, self._tensors)

    def __getitem__(self, key: str) -> Tensor:
        self.account.use(key)
        return self._tensors[key]

    def __contains__(self, key: str) -> bool:
        return key in self._tensors

    def state(self, prefix: str = "state.") -> dict[str, Tensor]:
        """The official state dict in the file's own order; leftovers without effect included."""
        return {k.removeprefix(prefix): self[k] for k in self.order if k.startswith(prefix)}


def cases_of(golden: Path, stem: str) -> list[Case]:
    entries = read_json(golden / f"{stem}.json")["cases"]
    tensors = load_file(golden / f"{stem}.safetensors")
    loose = {k for k in tensors if k.split("/", 1)[0] not in entries}
    assert not loose, f"{stem}: tensors of no case: {sorted(loose)[:5]}"
    cases = [Case(name, entry, tensors) for name, entry in entries.items()]
    counted = sum(case.account.total for case in cases)
    assert counted == len(tensors), f"{stem}: the JSON lists {counted} of {len(tensors)} tensors"
    return cases


def same(ours: Tensor, theirs: Tensor, what: str, *, atol: float = ATOL) -> None:
    torch.testing.assert_close(
        ours.detach(), theirs, rtol=0, atol=atol, msg=lambda text: f"{what}: {text}"
    )
