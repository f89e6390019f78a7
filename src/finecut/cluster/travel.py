"""What travels between the stages: Arrow rows of jobs, of decoded clips, of encoded clips, and
words about videos. Nothing in them is unpickled by the driver."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.index.decode_pool import Ended, Failed, Probed, Request
from finecut.index.read_texts import ReadTexts, TextRequest, from_message, to_message
from finecut.index.tables import clips_schema, tokens_schema
from finecut.types import DecodedClip, VideoProbe

if TYPE_CHECKING:
    import pyarrow as pa

    from finecut.index.meta import IndexMeta

CLIP_IDS = 1 << 22  # of one video: more clips than 48 hours at 80 frames a second can give
WORDS = "words"  # the column of what is said about a video, JSON; null in rows that are clips


@dataclass(frozen=True, slots=True)
class JobRow:
    """One video to read, as it goes to a decoder."""

    job: int  # its number in this run
    video_id: str
    build: int
    first_clip_id: int
    request: Request

    def to_json(self) -> str:
        plain = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**plain, "request": self.request.to_json()})

    @classmethod
    def from_json(cls, text: str) -> JobRow:
        plain = json.loads(text)
        asked = plain.pop("request")
        texts = TextRequest.from_json(asked["texts"]) if asked["texts"] else None
        return cls(request=Request(asked["path"], asked["clips"], texts), **plain)


def jobs_to_arrow(jobs: Sequence[JobRow]) -> pa.Table:
    """One row per job."""
    import pyarrow as pa

    return pa.table({"job": pa.array([job.to_json() for job in jobs], pa.large_string())})


# -- decoded clips ---------------------------------------------------------------------------------


def decoded_schema() -> pa.Schema:
    """One row per clip with its frames, or with words alone."""
    import pyarrow as pa

    return pa.schema(
        [
            ("job", pa.int64()),
            ("video_id", pa.string()),
            ("build", pa.int64()),
            ("clip_id", pa.int64()),
            ("number", pa.int32()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("times", pa.large_binary()),  # float64
            ("frames", pa.large_binary()),  # uint8 [F, height, width, 3]
            ("strip", pa.large_binary()),
            ("strip_width", pa.int32()),
            ("strip_height", pa.int32()),
            (WORDS, pa.large_string()),
        ]
    )


def decoded_row(job: JobRow, clip: DecodedClip) -> pa.Table:
    """A decoded clip."""
    import pyarrow as pa

    values = {
        "job": job.job,
        "video_id": job.video_id,
        "build": job.build,
        "clip_id": job.first_clip_id + clip.number,
        "number": clip.number,
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "times": np.ascontiguousarray(clip.times, np.float64).tobytes(),
        "frames": np.ascontiguousarray(clip.frames).tobytes(),
        "strip": clip.strip,
        "strip_width": clip.strip_width,
        "strip_height": clip.strip_height,
        WORDS: None,
    }
    return pa.table({name: [value] for name, value in values.items()}, schema=decoded_schema())


def words_row(schema: pa.Schema, job: int, words: Mapping[str, Any]) -> pa.Table:
    """Words about a video, in a table of any stage."""
    import pyarrow as pa

    columns = {
        field.name: pa.nulls(1, field.type) for field in schema if field.name not in ("job", WORDS)
    }
    columns["job"] = pa.array([job], pa.int64())
    columns[WORDS] = pa.array([json.dumps(words)], pa.large_string())
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def clips_of(rows: pa.Table, height: int, width: int) -> list[tuple[dict[str, Any], DecodedClip]]:
    """The clips in rows of decoded clips, each with its row's ids; frames are not copied."""
    found = []
    frames = rows.column("frames")
    for place, plain in enumerate(rows.drop_columns(["frames"]).to_pylist()):
        pixels = np.frombuffer(frames[place].as_buffer(), np.uint8)
        clip = DecodedClip(
            number=plain["number"],
            start_s=plain["start_s"],
            end_s=plain["end_s"],
            frames=pixels.reshape(-1, height, width, 3),
            times=np.frombuffer(plain["times"], np.float64),
            strip=plain["strip"],
            strip_width=plain["strip_width"],
            strip_height=plain["strip_height"],
        )
        found.append((plain, clip))
    return found


# -- encoded clips ---------------------------------------------------------------------------------


def encoded_schema(meta: IndexMeta) -> pa.Schema:
    """The columns of both tables together, and words."""
    import pyarrow as pa

    fields = {"job": pa.field("job", pa.int64())}
    for field in [*clips_schema(meta), *tokens_schema(meta)]:
        fields[field.name] = field
    fields[WORDS] = pa.field(WORDS, pa.large_string())
    return pa.schema(list(fields.values()))


# -- words -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Verdict:
    """All a decoder says of one video beside its clips."""

    n_clips: int = 0
    probed: Probed | None = None
    texts: ReadTexts | None = None
    ended: Ended | None = None
    failed: Failed | None = None
    missing_on: str = ""  # the machine that does not have the file

    def to_words(self) -> dict[str, Any]:
        """Plain JSON values."""
        texts = None
        if self.texts is not None:
            header, arrays = to_message(self.texts)
            texts = {**header, "rows": arrays["rows"].tobytes().decode("ascii")}
        return {
            "n_clips": self.n_clips,
            "probed": asdict(self.probed.probe) if self.probed else None,
            "texts": texts,
            "ended": asdict(self.ended) if self.ended else None,
            "failed": asdict(self.failed) if self.failed else None,
            "missing_on": self.missing_on,
        }

    @classmethod
    def from_words(cls, plain: Mapping[str, Any]) -> Verdict:
        texts, ended = plain["texts"], plain["ended"]
        if texts:
            rows = np.frombuffer(texts["rows"].encode("ascii"), np.uint8)
            texts = from_message({**texts, "rows": rows})
        if ended:
            ended = Ended(ended["frames_lost"], ended["duration_s"], tuple(ended["stages_s"]))
        return cls(
            n_clips=int(plain["n_clips"]),
            probed=Probed(VideoProbe(**plain["probed"])) if plain["probed"] else None,
            texts=texts or None,
            ended=ended or None,
            failed=Failed(**plain["failed"]) if plain["failed"] else None,
            missing_on=str(plain["missing_on"]),
        )
