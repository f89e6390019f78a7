"""The rules of the house that a machine can hold: who imports whom, and how fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import finecut

ROOT = Path(finecut.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py"))

# Imports point one way: a part may import itself and the parts after the arrow.
MAY_IMPORT = {
    "errors": set(),
    "types": {"errors"},
    "metrics": {"errors", "types"},
    "storage": {"errors"},
    "video": {"errors", "types", "storage"},
    "text": {"errors", "types"},
    "bundle": {"errors", "types", "text", "video"},
    "index": {"errors", "types", "storage", "text", "video", "bundle"},
    "search": {"errors", "types", "storage", "metrics", "text", "video", "bundle", "index"},
    "server": {"errors", "types", "storage", "text", "video", "bundle", "index", "search"},
    "agents": {
        "errors",
        "types",
        "storage",
        "text",
        "video",
        "bundle",
        "index",
        "search",
        "server",
    },
    "demo": {"errors", "types", "storage", "text", "video", "bundle", "index", "search"},
}


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, at the top or inside a function, as dotted names."""
    names = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # What only the type checker reads ties nothing together at run time.
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_the_files_are_found():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path):
    part = part_of(path)
    imported = imports_of(path)
    if part != "learn":
        assert not {name for name in imported if name.split(".")[0] == "torch"}
    if part not in MAY_IMPORT:  # cli, cluster, learn and the package itself may import the rest
        return
    parts = {name.split(".")[1] for name in imported if name.startswith("finecut.")}
    assert parts <= MAY_IMPORT[part] | {part, "__version__"}


def test_searching_loads_no_torch():
    code = (
        "import sys, finecut, finecut.search.engine, finecut.server.app, finecut.index.build, "
        "finecut.cli.main; print([m for m in sys.modules if m.split('.')[0] == 'torch'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_import_is_quick():
    code = (
        "import time; start = time.perf_counter(); import finecut; "
        "print(time.perf_counter() - start)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(5)
    ]
    assert min(runs) < 0.3  # seconds; the best of five, so that a busy machine does not fail it
