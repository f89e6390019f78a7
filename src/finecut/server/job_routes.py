"""``/api/v1/index``: what is searched, and jobs that bring it up to date."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from finecut.server.models import IndexInfo, Job, JobList, JobRequest
from finecut.server.shown import shown_path
from finecut.server.state import State, state_of

router = APIRouter(prefix="/api/v1/index", tags=["index"])

StateOf = Annotated[State, Depends(state_of)]


@router.get("", summary="What is searched")
async def info(state: StateOf) -> IndexInfo:
    """Counts, the model, the folders."""

    def work() -> IndexInfo:
        snapshot = state.library.snapshot()
        done = snapshot.done
        manifest = snapshot.bundle.manifest
        return IndexInfo(
            path=shown_path(str(state.library.index_dir)),
            version=snapshot.version,
            n_videos=len(done),
            n_failed=len(snapshot.index.videos) - len(done),
            n_clips=len(snapshot.index.clips),
            video_s=round(float(sum(row.duration_s for row in done)), 3),
            levels=snapshot.index.meta.levels,
            bundle=manifest.name,
            method=manifest.method,
            threshold=snapshot.threshold,
            roots=[shown_path(root) for root in snapshot.roots],
            job=state.jobs.running,
            max_k=state.settings.max_k,
            max_cut_s=state.settings.max_cut_s,
        )

    return await state.reads.run(work)


@router.post("/jobs", status_code=202, summary="Bring the index up to date")
async def start(state: StateOf, response: Response, wanted: JobRequest | None = None) -> Job:
    """Start an index job. One runs at a time; searches go on meanwhile."""
    wanted = wanted or JobRequest()
    job = await state.reads.run(state.jobs.start, wanted.roots, wanted.force)
    response.headers["Location"] = f"/api/v1/index/jobs/{job.id}"
    return job


@router.get("/jobs", summary="The last jobs")
async def jobs(state: StateOf) -> JobList:
    """The last jobs of this server, newest first."""
    return JobList(jobs=state.jobs.list())


@router.get("/jobs/{job_id}", summary="How far a job is")
async def job(state: StateOf, job_id: str) -> Job:
    """One job."""
    return state.jobs.get(job_id)


@router.delete("/jobs/{job_id}", summary="Cancel a job")
async def cancel(state: StateOf, job_id: str) -> Job:
    """Stop a job after the video in hand. What it has indexed stays."""
    return state.jobs.cancel(job_id)
