"""The open_clip adapter: what is missing is named, and what is there works."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from finecut.errors import MissingDependency
from finecut.learn.encoders.open_clip import load_open_clip

CASES = Path(__file__).with_name("open_clip_cases.py")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingDependency, match=r"open_clip.*pip install open_clip_torch"):
        load_open_clip("ViT-B-32")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("open_clip") is None, reason="open_clip_torch is not installed")
def test_the_adapter_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert passed and int(passed[1]) >= 5, done.stdout
