"""Verify a bundle: every hash, every graph's inputs and outputs, and a run on made-up input."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.bundle.files import BundleFiles
from finecut.bundle.fingerprint import fingerprint
from finecut.bundle.graph_io import rerank_io
from finecut.bundle.hub import RECORD
from finecut.bundle.load import Bundle
from finecut.bundle.place import STARTER, find_bundle
from finecut.errors import BundleError, FinecutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from finecut.types import VideoTokens

UNIT_TOLERANCE = 1e-3  # of the length of a token that is to be unit length
PADDING_TOLERANCE = 1e-3  # between a clip alone and the same clip padded in a batch
SENTENCES = ("a dog runs on the beach", "two people cook dinner in a kitchen", "red")


@dataclass(slots=True)
class VerifyReport:
    """What was checked, what is wrong, and what is only worth knowing."""

    place: str
    passed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "place": self.place,
            "ok": self.ok,
            "passed": self.passed,
            "problems": self.problems,
            "notes": self.notes,
        }


def verify(ref: str | Path = STARTER) -> VerifyReport:
    """Check a bundle through and through; everything wrong is in the report, nothing raises for it.

    Args:
        ref: a path, an installed name, or a hub address that was pulled.

    Raises:
        BundleError: there is no bundle to check.
    """
    place = find_bundle(ref)
    report = VerifyReport(str(place))
    try:
        files = BundleFiles(place)
    except BundleError as error:
        report.problems.append(str(error))
        return report
    report.passed.append("manifest")
    bundle = Bundle(files, str(ref), providers=("cpu",))
    hashed = [_step(report, f"hash {name}", _reader(files, name)) for name in files.entries]
    if all(hashed):
        _step(report, "fingerprint", lambda: _check_fingerprint(files))
        _step(report, "text graph", lambda: _check_text(bundle))
        _step(report, "video graph", lambda: _check_video(bundle))
        if bundle.manifest.rerank:
            _step(report, "re-rank graph", lambda: _check_rerank(bundle))
        if bundle.manifest.calibration:
            _step(report, "query bank", lambda: _check_bank(bundle))
    for name in files.extra():
        if name != RECORD:
            report.notes.append(f"{name} is not listed in the manifest and is never read")
    return report


def _step(report: VerifyReport, name: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except FinecutError as error:
        report.problems.append(f"{name}: {error}")
        return False
    report.passed.append(name)
    return True


def _reader(files: BundleFiles, name: str) -> Callable[[], object]:
    return lambda: files.read(name)


def _check_fingerprint(files: BundleFiles) -> None:
    m = files.manifest
    hashes = {name: entry.sha256 for name, entry in files.entries.items()}
    real = fingerprint(m.sampling, m.frames, m.video, m.text, hashes)
    if real != m.fingerprint:
        raise BundleError(
            f"the manifest says {m.fingerprint[:16]}…, its contents give {real[:16]}…; an index "
            "would take this bundle for another one: write it again with write_bundle."
        )


def _check_text(bundle: Bundle) -> None:
    together = bundle.encode_text(SENTENCES)
    for sentence, tokens in zip(SENTENCES, together, strict=True):
        _unit("text_embeds", tokens.text)
        alone = bundle.encode_text([sentence])[0]
        _same("a sentence alone and in a batch", alone.recall, tokens.recall)
    long = bundle.encode_text(["dog " * 400])[0]
    if not np.isfinite(long.recall).all():
        raise BundleError("a sentence that is too long gives no finite vector.")


def _made_up_clips(bundle: Bundle) -> list[NDArray[np.uint8]]:
    m = bundle.manifest
    seeded = np.random.default_rng(0)
    lengths = [min(m.sampling.max_frames, n) for n in (1, 2, m.sampling.max_frames)]
    size = (m.frames.height, m.frames.width, 3)
    return [seeded.integers(0, 256, (n, *size), np.uint8) for n in lengths]


def _check_video(bundle: Bundle) -> None:
    clips = _made_up_clips(bundle)
    for clip, tokens in zip(clips, bundle.encode_clips(clips), strict=True):
        _unit("frame_embeds", tokens.frames)
        if tokens.patches is not None:
            _unit("patch_embeds", tokens.patches)
        alone = bundle.encode_clips([clip])[0]
        _same("a clip alone and padded in a batch", alone.recall, tokens.recall)
        _same("a frame alone and padded in a batch", alone.frames, tokens.frames)


def _check_rerank(bundle: Bundle) -> None:
    seeded = np.random.default_rng(1)
    clips = bundle.encode_clips(_made_up_clips(bundle))
    sizes = {"K": len(clips), "F": max(len(clip.frames) for clip in clips), "W": 3}
    inputs = _made_up_inputs(bundle, clips, sizes, seeded)
    score, relevance = _run(bundle, inputs)
    padded = {name: _pad(array, name) for name, array in inputs.items()}
    score_padded, _ = _run(bundle, padded)
    _same("candidates with and without padding", score, score_padded)
    order = np.arange(len(clips))[::-1]
    turned = {
        name: array if name in _PER_QUERY else np.ascontiguousarray(array[order])
        for name, array in inputs.items()
    }
    _same("candidates in another order", score, _run(bundle, turned)[0][order])
    if not np.isfinite(relevance).all():
        raise BundleError("frame_relevance is not finite.")


_PER_QUERY = ("text_embeds", "word_embeds", "word_mask")
_FRAME_AXES = {
    "frame_sims": (1,),
    "frame_mask": (1,),
    "frame_value_sims": (1,),
    "frame_gram": (1, 2),
    "patch_sims": (1,),
    "word_frame_sims": (2,),
    "frame_embeds": (1,),
}


def _made_up_inputs(
    bundle: Bundle, clips: list[VideoTokens], sizes: dict[str, int], seeded: np.random.Generator
) -> dict[str, NDArray[Any]]:
    expected, _ = rerank_io(bundle.manifest)
    mask = np.arange(sizes["F"]) < np.array([len(clip.frames) for clip in clips])[:, None]
    made: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in expected.items():
        real = [int(part) if part.isdigit() else sizes[part] for part in shape.split()]
        if dtype == "bool":
            made[name] = mask if name == "frame_mask" else np.ones(real, bool)
            continue
        array = seeded.uniform(-0.3, 0.3, real).astype(np.float32)
        for axis in _FRAME_AXES.get(name, ()):
            spread = [1] * array.ndim
            spread[0], spread[axis] = mask.shape
            array = array * mask.reshape(spread)
        made[name] = np.ascontiguousarray(array, np.float32)
    return made


def _pad(array: NDArray[Any], name: str) -> NDArray[Any]:
    widths = [(0, 2) if axis in _FRAME_AXES.get(name, ()) else (0, 0) for axis in range(array.ndim)]
    return np.pad(array, widths)


def _run(
    bundle: Bundle, inputs: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    answer = bundle.rerank(inputs)
    if answer is None:
        raise BundleError("there is no re-ranker.")
    return answer


def _check_bank(bundle: Bundle) -> None:
    bank = bundle.query_bank()
    if bank is None:
        return
    places = sorted({0, len(bank.sentences) // 2, len(bank.sentences) - 1})
    real = bundle.encode_text([bank.sentences[i] for i in places])
    for place, tokens in zip(places, real, strict=True):
        a, b = tokens.recall, bank.recall[place]
        cosine = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
        if cosine < 0.999:
            raise BundleError(
                f"the kept vector of {bank.sentences[place]!r} has cosine {cosine:.4f} with what "
                "the text graph gives, expected 0.999 or more; make the bank again."
            )


def _unit(name: str, tokens: NDArray[np.float32]) -> None:
    off = float(np.abs(np.linalg.norm(tokens, axis=-1) - 1.0).max())
    if off > UNIT_TOLERANCE:
        raise BundleError(f"{name} is off unit length by {off:.4f}, at most {UNIT_TOLERANCE}.")


def _same(what: str, one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    off = float(np.abs(one - other).max(initial=0.0))
    most = PADDING_TOLERANCE * max(1.0, float(np.abs(one).max(initial=0.0)))
    if not off <= most:
        raise BundleError(f"{what} differ by {off:.5f}, expected at most {most:.5f}.")
