"""Every file of the golden directory is covered by a test, and every claim of cover is true."""

from __future__ import annotations

import fnmatch
import importlib
from pathlib import Path

HERE = Path(__file__).parent


def _claims() -> dict[str, str]:
    """pattern -> the test module that claims it, read from each module's ``COVERS``."""
    claims: dict[str, str] = {}
    for path in sorted(HERE.glob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        module = importlib.import_module(f".{path.stem}", package=__package__)
        for pattern in module.COVERS:
            claims[pattern] = path.name
    return claims


def test_every_golden_file_is_covered(golden: Path) -> None:
    files = sorted(str(p.relative_to(golden)) for p in golden.rglob("*") if p.is_file())
    assert files, f"{golden} holds no file"
    claims = _claims()
    unknown = [f for f in files if not any(fnmatch.fnmatch(f, c) for c in claims)]
    assert not unknown, f"golden files no test knows: {unknown}"


def test_every_claim_of_cover_is_true(golden: Path) -> None:
    files = [str(p.relative_to(golden)) for p in golden.rglob("*") if p.is_file()]
    idle = {c: m for c, m in _claims().items() if not fnmatch.filter(files, c)}
    assert not idle, f"claimed golden files that are missing: {idle}"
