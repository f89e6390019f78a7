"""The manifest of a bundle: what one exported retrieval model is and needs, strictly typed.

A bundle is a directory with ``manifest.json``, ONNX graphs, ``tokenizer.json`` and a query bank.
``docs/bundle-format.md`` is the prose. An unknown key is an error, so that a bundle made by a
newer finecut is refused by name rather than half understood.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCHEMA_VERSION = 1

# Guards against hostile manifests: beyond them nothing real exists, and memory would.
_MAX_SIDE = 2048
_MAX_DIM = 65536

Size = Annotated[int, Field(ge=1, le=_MAX_DIM)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, str_max_length=100_000, allow_inf_nan=False
    )


class FileEntry(_Strict):
    """A file of the bundle: its name, size and SHA-256, so that any change is seen."""

    path: str
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _plain(cls, path: str) -> str:
        # A plain name: no folder, no parent, no drive, no hidden file.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", path) or ".." in path:
            raise ValueError(f"file names are plain names inside the bundle, got {path!r}")
        return path


class Sampling(_Strict):
    """How frames are taken from a video, and how they are cut into clips."""

    frames_per_second: float = Field(gt=0, le=120)
    max_frames: int = Field(ge=1, le=1024, description="distinct frames in one clip at most")


class Frames(_Strict):
    """What a frame must look like when it crosses the door: RGB uint8 of this size."""

    height: int = Field(ge=8, le=_MAX_SIDE)
    width: int = Field(ge=8, le=_MAX_SIDE)
    resize: Literal["crop", "squash", "pad"] = Field(
        description="crop: short side to size, centre cut; squash: both sides to size; "
        "pad: long side to size, black borders"
    )
    interpolation: Literal["bilinear", "bicubic", "area"] = "bicubic"


class Video(_Strict):
    """`video.onnx`: frames uint8 [N,F,H,W,3], frame_mask bool [N,F] -> the outputs below.

    recall_embeds [N,R]; frame_embeds [N,F,D]; optional patch_embeds [N,F,P,D] with
    P = patch_rows * patch_columns, row by row; optional frame_values [N,F,D].
    """

    graph: str = "video.onnx"
    recall_dim: Size
    embed_dim: Size
    patch_rows: int = Field(default=0, ge=0, le=64)
    patch_columns: int = Field(default=0, ge=0, le=64)
    frame_values: bool = False
    batch_frames: int = Field(
        default=16, ge=1, le=4096, description="frames in one run of the graph, by measurement"
    )

    @property
    def n_patches(self) -> int:
        return self.patch_rows * self.patch_columns


class Text(_Strict):
    """`text.onnx`: input_ids int64 [Q,W], word_mask bool [Q,W] -> the outputs below.

    recall_query [Q,R]; text_embeds [Q,D]; optional word_embeds [Q,W,D].
    """

    graph: str = "text.onnx"
    tokenizer: str = "tokenizer.json"
    max_words: int = Field(ge=2, le=8192, description="tokens, the special ones included")
    words: bool = Field(default=False, description="word_embeds are among the outputs")
    pad_id: int = Field(default=0, ge=0)
    lowercase: bool = False
    languages: tuple[str, ...] = ("en",)
    template: str = Field(default="{}", description="what a query is put into before tokenising")

    @field_validator("template")
    @classmethod
    def _one_slot(cls, template: str) -> str:
        if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
            raise ValueError(f"the template holds one '{{}}' and no other brace, got {template!r}")
        return template


LateInput = Literal[
    "recall_score",  # [K]      query . clip, stage 1
    "frame_sims",  # [K,F]    text . frame
    "frame_mask",  # [K,F]    bool, True = real
    "frame_value_sims",  # [K,F]    text . frame_values
    "frame_gram",  # [K,F,F]  inner products of frame_values (of frames where there are none)
    "patch_sims",  # [K,F,P]  text . patch
    "word_frame_sims",  # [K,W,F]  word . frame
    "word_mask",  # [W]      bool
]


class Rerank(_Strict):
    """`rerank.onnx`: scores K candidates of one query; padded frames have frame_mask False.

    late: inputs are the small arrays above; outputs score [K] and frame_relevance [K,F]: how much
    each frame counts within its candidate, at least 0 (the search compares frames of different
    clips by their cosine with the text, or for cross by this times the clip's score).
    cross: inputs are tokens: text_embeds [D] (word_embeds [W,D], word_mask [W] where the text side
    has words), frame_embeds [K,F,D], frame_mask [K,F]; the same outputs.
    """

    kind: Literal["late", "cross"]
    graph: str = "rerank.onnx"
    inputs: tuple[LateInput, ...] = ()

    @model_validator(mode="after")
    def _inputs_for_late(self) -> Rerank:
        if (self.kind == "late") != bool(self.inputs):
            raise ValueError("a late re-ranker names its inputs; a cross re-ranker has none")
        return self


class Calibration(_Strict):
    """From scores to confidence: a logistic of how far a score stands above ordinary queries.

    z = (recall score - mean) / sd, where mean and sd are those of the query bank's recall scores
    on the same clip. Among G searched clips the largest z of a query without any match grows with
    ln G, and is discounted for it:
    confidence = 1 / (1 + exp(-(slope * z - gallery_slope * ln G + intercept))).
    A query whose best confidence is under `threshold` has no good match.
    The bank should be varied, ordinary sentences (subjects, actions, places, single things), a few
    hundred of them: on real clips that separates better than one template with many nouns.
    `finecut.search.calibrate` fits the numbers.
    """

    query_bank: str = Field(default="query_bank.json", description="JSON: a list of sentences")
    bank_embeds: str | None = Field(
        default=None,
        description="npy, float16 or float32 [B, R+D]: recall_query and text_embeds of the "
        "sentences, so that nothing has to be encoded before the first search",
    )
    slope: float = Field(gt=0)
    gallery_slope: float = Field(default=0.0, ge=0)
    intercept: float
    threshold: float = Field(ge=0, le=1)


class Provenance(_Strict):
    """Where the bundle comes from."""

    data: tuple[str, ...]
    licence: str
    recipe: str
    made_with: dict[str, str] = {}
    quality: dict[str, float] = Field(default={}, description="measured, by name, in percent")


class Manifest(_Strict):
    """All of `manifest.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    method: str = Field(max_length=64)
    fingerprint: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 over the graphs, the tokenizer and all that changes an embedding",
    )
    sampling: Sampling
    frames: Frames
    video: Video
    text: Text
    rerank: Rerank | None = None
    calibration: Calibration | None = None
    provenance: Provenance
    files: tuple[FileEntry, ...]

    @model_validator(mode="after")
    def _files_named_are_listed(self) -> Manifest:
        listed = [entry.path for entry in self.files]
        if len(set(listed)) != len(listed):
            raise ValueError("a file is listed twice")
        needed = [self.video.graph, self.text.graph, self.text.tokenizer]
        needed += [self.rerank.graph] if self.rerank else []
        if self.calibration:
            bank = (self.calibration.query_bank, self.calibration.bank_embeds)
            needed += [path for path in bank if path]
        missing = [path for path in needed if path not in listed]
        if missing:
            raise ValueError(f"named but not listed under files: {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _rerank_inputs_exist(self) -> Manifest:
        late = self.rerank.inputs if self.rerank else ()
        needs = {
            "patch_sims": self.video.n_patches > 0,
            "frame_value_sims": self.video.frame_values,
            "word_frame_sims": self.text.words,
            "word_mask": self.text.words,
        }
        lacking = [name for name in late if not needs.get(name, True)]
        if lacking:
            raise ValueError(
                f"the re-ranker wants {', '.join(lacking)}, which the video and text graphs "
                "do not give"
            )
        return self
