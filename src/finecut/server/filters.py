"""The filters of a request, from its query string."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from finecut.search.filters import Filters


def filters_from(
    path: Annotated[
        list[str] | None,
        Query(
            max_length=20,
            description="glob on the file's name, or with a slash on its whole path; several: any",
            examples=[["*/holiday/*"]],
        ),
    ] = None,
    min_duration_s: Annotated[
        str | None, Query(max_length=40, description="of the video: 90, 1.5m, 0:01:30")
    ] = None,
    max_duration_s: Annotated[str | None, Query(max_length=40)] = None,
    recorded_after: Annotated[
        str | None, Query(max_length=40, description="2024, 2024-06-01 or an ISO time; inclusive")
    ] = None,
    recorded_before: Annotated[
        str | None, Query(max_length=40, description="the same; exclusive")
    ] = None,
    min_height: Annotated[
        str | None, Query(max_length=10, description="pixels as shown: 720 or 720p")
    ] = None,
    max_height: Annotated[str | None, Query(max_length=10)] = None,
    video_id: Annotated[
        list[str] | None, Query(max_length=1000, description="only these videos")
    ] = None,
) -> Filters | None:
    """What the parameters mean together; None where nothing is filtered.

    Raises:
        UsageError: a value that cannot be read, or conditions that exclude everything.
    """
    given = {
        "path_glob": [glob for glob in path or () if glob] or None,
        "min_duration_s": min_duration_s or None,
        "max_duration_s": max_duration_s or None,
        "recorded_after": recorded_after or None,
        "recorded_before": recorded_before or None,
        "min_height": min_height or None,
        "max_height": max_height or None,
        "video_ids": video_id or None,
    }
    filters = Filters.parse(given)
    return None if filters.empty else filters
