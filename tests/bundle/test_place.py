"""Which bundle a name, a path or an address means."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from finecut.bundle.load import Bundle
from finecut.bundle.place import bundles_dir, find_bundle, installed, parse_hub
from finecut.errors import BundleError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINECUT_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bundles"


def test_the_folder_can_be_told(home: Path, monkeypatch: pytest.MonkeyPatch):
    assert bundles_dir() == home
    monkeypatch.delenv("FINECUT_BUNDLES")
    assert bundles_dir().name == "bundles" and "finecut" in bundles_dir().parts


def test_an_installed_name(home: Path, colors: Path):
    shutil.copytree(colors, home / "mine")
    shutil.make_archive(str(home / "packed"), "zip", colors)
    assert {"mine", "packed"} <= set(installed())
    assert find_bundle("mine") == home / "mine"
    assert Bundle.load("packed").name == "colors"


def test_an_installed_name_comes_before_a_path(home: Path, colors: Path):
    shutil.copytree(colors, home / "mine")
    (home.parent / "mine").mkdir()
    assert find_bundle("mine") == home / "mine"
    assert find_bundle("./mine") == Path("mine")


def test_a_path_of_any_kind(home: Path, colors: Path):
    shutil.copytree(colors, home.parent / "here")
    assert find_bundle("here") == Path("here")
    assert find_bundle(colors) == colors
    assert find_bundle(str(colors)) == colors


def test_names_that_are_not_there(home: Path, colors: Path):
    shutil.copytree(colors, home / "mine")
    with pytest.raises(BundleError, match=r"No bundle is called 'other'.*Installed: .*mine"):
        find_bundle("other")
    with pytest.raises(BundleError, match=r"There is no bundle at a/b"):
        find_bundle("a/b")


@pytest.mark.parametrize("ref", ["hf:", "hf:a", "hf:a/b/c", "hf:a/b@", "hf:a/../b", "hf:a/b@x y"])
def test_addresses_that_are_none(ref: str):
    with pytest.raises(BundleError, match="is no hub address"):
        parse_hub(ref)


def test_a_ref_that_lasts(home: Path, colors: Path, monkeypatch: pytest.MonkeyPatch):
    """An index keeps it, and is opened from another working directory later."""
    shutil.copytree(colors, home / "mine")
    shutil.copytree(colors, home.parent / "here")
    assert Bundle.load("mine").ref == "mine"
    ref = Bundle.load("here").ref
    monkeypatch.chdir("/")
    assert Bundle.load(ref).fingerprint == Bundle.load("mine").fingerprint
