"""Whether figures on a split may stand beside published ones."""

from __future__ import annotations

from typing import Any

from finecut.learn.data.pairs import PairData


def standing(
    data: PairData,
    *,
    published: tuple[int | None, int | None] = (None, None),
    changed_protocol: str | None = None,
    chosen_on: str | None = None,
) -> dict[str, Any]:
    """``standard`` and, where it is not, ``why_not``; and what else a reader must know.

    Standard is the published gallery with the published sentences, whole. A smaller gallery
    raises R@1 by itself and is never called standard.

    Args:
        data: the split as opened.
        published: videos and sentences of the published split, None where nobody states them.
        changed_protocol: the published protocol, where another was asked for.
        chosen_on: the split on which the checkpoint was chosen, where that is known.
    """
    videos, captions = published
    reasons = []
    if changed_protocol is not None:
        reasons.append(f"protocol {data.protocol}, published {changed_protocol}")
    annotated = len(data.video_ids) + len(data.missing)
    if videos is None and captions is None:
        reasons.append("no published size to compare with")
    if videos is not None and annotated != videos:
        reasons.append(f"{annotated} videos are annotated, published {videos}")
    whole = not data.missing and "paragraph" not in (data.protocol, changed_protocol)
    if captions is not None and whole and len(data.sentences) != captions:
        reasons.append(f"{len(data.sentences)} sentences, published {captions}")
    if data.missing:
        reasons.append(f"{len(data.missing)} videos are missing or cannot be read")
    facts: dict[str, Any] = {"standard": not reasons, "why_not": "; ".join(reasons)}
    if chosen_on is not None and chosen_on == data.split:
        facts["note"] = f"the checkpoint was chosen on this split ({data.split})"
    return facts
