"""Speech to words by faster-whisper, with a model that is already on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finecut.errors import MissingDependency, UsageError
from finecut.text.subtitles import LONGEST_CUE, Cue, plain_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEEDED = ("model.bin", "config.json", "tokenizer.json")  # without the last one is downloaded
QUIET = 0.6  # a segment that is more likely silence than this, and unsure, is left out
UNSURE = -1.0  # mean log probability of its words


def check_model(folder: str | Path) -> Path:
    """The folder of a model, as given, if speech can be transcribed with it.

    Raises:
        MissingDependency: faster-whisper is not installed.
        UsageError: the folder holds no model in CTranslate2's format.
    """
    place = Path(folder).expanduser()
    missing = [name for name in NEEDED if not (place / name).is_file()]
    if missing:
        raise UsageError(
            f"{folder} holds no speech model ({missing[0]} is missing). Give the folder of a "
            "Whisper model in CTranslate2's format, with model.bin, config.json and tokenizer.json."
            " Nothing is ever downloaded while indexing; fetch one beforehand, for instance: hf "
            "download Systran/faster-whisper-small --local-dir FOLDER"
        )
    try:
        import faster_whisper  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependency(
            "Transcribing speech needs faster-whisper: pip install 'finecut[speech]'"
        ) from error
    return place.resolve()


def transcribe(
    samples: NDArray[np.float32], model: str | Path, language: str | None = None
) -> tuple[Iterator[Cue], str]:
    """What is said in some sound, as it is made out, and the language it is taken for.

    Args:
        samples: [N], 16 kHz, one channel, -1 to 1.
        model: folder of a model.
        language: two letters; found out from the sound without.
    """
    segments, about = _model(str(model)).transcribe(
        samples, language=language, vad_filter=True, condition_on_previous_text=False
    )
    return _cues(segments), about.language


def _cues(segments: Any) -> Iterator[Cue]:
    for segment in segments:
        text = plain_words(segment.text)[:LONGEST_CUE]
        silent = segment.no_speech_prob > QUIET and segment.avg_logprob < UNSURE
        if text and not silent and segment.end > segment.start >= 0:
            yield Cue(float(segment.start), float(segment.end), text)


@cache
def _model(folder: str) -> Any:
    from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]

    return WhisperModel(
        folder, device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
    )
