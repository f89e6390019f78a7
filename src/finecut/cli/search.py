"""`finecut search` and `quality`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finecut.cli import formats, options
from finecut.cli.show import (
    command,
    out,
    out_path,
    print_json,
    say,
    table,
)
from finecut.cli.show_moments import show_moments
from finecut.errors import NotFound, UsageError

if TYPE_CHECKING:
    from finecut.search.engine import Searcher

K = Annotated[int, typer.Option("-k", "--limit", min=1, help="Moments to show.")]
RecallK = Annotated[
    int, typer.Option("--recall-k", min=1, help="Clips that are looked at closely (stage 2).")
]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command(
        epilog=options.examples(
            'finecut search "a dog catches a frisbee"',
            'finecut search "a cup of coffee on a table" --index finecut-demo/index -k 1',
            "  1  0:24.0-0:36.0  strong  92%  finecut-demo/library/a-day-out.mp4",
            'finecut search "sunset over the sea" -k 3 --in "holiday/*" --longer 10',
            "finecut search 'a cup of coffee THEN a sunset -people in:clips' -k 1",
            'finecut search "at night" --image photo.jpg --json',
            'finecut search "a cat" --paths-only | head -1',
            'finecut search "a cat" -k 20 -o cats.fcpxml --contact-sheet cats.html',
            'finecut search "a cat" --format csv | head -3',
        )
    )(search)
    app.command(
        epilog=options.examples(
            "finecut quality queries.jsonl",
            "finecut quality finecut-demo/queries.jsonl --index finecut-demo/index",
            "  3 queries, 8 videos",
            "            R@1    R@5   R@10  MdR  MnR",
            "  recall  100.0  100.0  100.0  1.0  1.0",
            "  rerank  100.0  100.0  100.0  1.0  1.0",
            "  fused   100.0  100.0  100.0  1.0  1.0",
            "  moments: R@1 at IoU 0.5 100.0, mIoU 100.0",
            "finecut quality queries.jsonl --index clips.index --json",
            "finecut quality queries.jsonl --tune",
            "",
            'A line of it: {"query": "a dog runs", "video": "dog.mp4", "start_s": 3, "end_s": 8}',
        )
    )(quality)


def search_filters(
    inside: list[str] | None,
    after: str | None,
    before: str | None,
    longer: str | None,
    shorter: str | None,
    min_height: int | None,
) -> Any:
    """The engine's filters from the words of the options."""
    from finecut.search.filters import Filters, parse_date, parse_duration

    return Filters(
        path_glob=tuple(inside) if inside else None,
        recorded_after=parse_date(after) if after else None,
        recorded_before=parse_date(before) if before else None,
        min_duration_s=parse_duration(longer) if longer else None,
        max_duration_s=parse_duration(shorter) if shorter else None,
        min_height=min_height,
    )


@command
def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY", help="What to look for, quoted or as words."),
    ] = None,
    index: options.Index = None,
    k: K = 10,
    image: Annotated[
        Path | None,
        typer.Option("--image", metavar="FILE", help="Look for what a picture shows; words add."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="VIDEO@TIME", help="Look for moments like this one."),
    ] = None,
    inside: Annotated[
        list[str] | None,
        typer.Option("--in", metavar="GLOB", help="Only videos whose path fits; may be repeated."),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="DATE", help="Recorded on this day (2024-05-31) or later.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="Recorded before this day.")
    ] = None,
    longer: Annotated[
        str | None, typer.Option(metavar="TIME", help="Videos of at least 90, 1.5m or 2h.")
    ] = None,
    shorter: Annotated[
        str | None, typer.Option(metavar="TIME", help="Videos of at most this.")
    ] = None,
    min_height: Annotated[
        int | None, typer.Option(min=1, help="Videos of at least so many pixels in height.")
    ] = None,
    recall_k: RecallK = 50,
    rerank: Annotated[
        bool, typer.Option("--rerank/--no-rerank", help="Look closely at the best clips.")
    ] = True,
    show_duplicates: Annotated[
        bool, typer.Option("--show-duplicates", help="Answer every copy of a video, not one.")
    ] = False,
    paths_only: Annotated[
        bool, typer.Option("-f", "--paths-only", help="Print each video's path once, for pipes.")
    ] = False,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="STATE", help="Search a past state (finecut info --history)."
        ),
    ] = None,
    format: formats.FormatName = None,
    output: formats.Output = None,
    contact_sheet: formats.ContactSheet = None,
    topic: formats.Topic = "",
    bundle: options.BundleRef = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Find the moments that show what a sentence says, best first.

    A plain sentence needs no syntax. Beyond it: -word or NOT some words; "said or shown"; A AND B
    in one moment; A THEN B WITHIN 30s in one video; dog:2 weighs more; and in: name: before:
    after: longer: shorter: said: shown: channel: with a value (docs/query-language.md).
    """
    query = " ".join(words) if words else None
    asked = sum(value is not None for value in (query, image, like))
    if not asked or (like is not None and asked > 1):
        raise UsageError(
            "Give one thing to look for: a sentence, --image FILE or both, or --like VIDEO@TIME; "
            f"got {asked}."
        )
    filters = search_filters(inside, after, before, longer, shorter, min_height)
    searcher = _open(index, bundle, threads, as_of)
    evidence = False
    if like is not None:
        video_id, time_s = _place(searcher, like)
        found = searcher.more_like(
            video_id,
            time_s,
            k=k,
            recall_k=recall_k,
            filters=filters,
            rerank=rerank,
            evidence=evidence,
            duplicates=show_duplicates,
        )
    else:
        shown = None if image is None else _read_image(image)
        what: Any = shown if query is None else query
        found = searcher.search(
            what,
            k,
            recall_k,
            filters,
            rerank,
            evidence,
            image=None if query is None else shown,
            duplicates=show_duplicates,
        )
    if formats.write_results(
        found,
        searcher.index,
        format=format,
        output=output,
        sheet=contact_sheet,
        topic=topic,
    ):
        return
    if as_json:
        print_json(found.to_json())
    elif paths_only:
        for path in dict.fromkeys(moment.video for moment in found):
            out_path(path)
    else:
        show_moments(found, _threshold(searcher))


def _threshold(searcher: Searcher) -> float:
    calibration = searcher.bundle.manifest.calibration
    return calibration.threshold if calibration else 0.0


def _open(
    index: str | None, bundle: str | None, threads: int | None, as_of: str | None = None
) -> Searcher:
    from finecut.search.opening import begin_opening

    place = options.index_dir(index)
    ready = begin_opening(place, bundle, threads)
    from finecut.search.engine import Searcher  # takes as long as the graphs, which load meanwhile

    if as_of is None:
        return Searcher.open(place, bundle=ready)
    from finecut.index.store import Index

    return Searcher.open(Index.open(place, as_of=as_of), bundle=ready)


def _read_image(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"The image {path} cannot be read: {error.strerror or error}.") from error


def parse_time(text: str) -> float:
    """Seconds from ``75``, ``75.5``, ``1:15`` or ``1:02:03.5``.

    >>> parse_time("1:15"), parse_time("75.5"), parse_time("1:02:03.5")
    (75.0, 75.5, 3723.5)
    """
    if not re.fullmatch(r"(\d+:)?(\d+:)?\d+(\.\d+)?", text.strip()):
        raise UsageError(f"A time is seconds (75.5) or minutes and seconds (1:15), got {text!r}.")
    seconds = 0.0
    for part in text.strip().split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def _place(searcher: Searcher, like: str) -> tuple[str, float | None]:
    """The video and time meant by ``VIDEO@TIME``: an id, a path or a file name."""
    name, at, time = like.rpartition("@")
    if not at:
        name, time = like, ""
    video = find_video(searcher.index.videos, name)
    return video.video_id, parse_time(time) if time else None


def find_video(videos: Sequence[Any], name: str) -> Any:
    """The one video meant by an id (or its first digits), a path, or a file name."""
    absolute = str(Path(name).absolute())
    tests = (
        lambda row: row.video_id == name,
        lambda row: absolute in row.paths or name in row.paths,
        lambda row: any(Path(path).name == name for path in row.paths),
        lambda row: len(name) >= 8 and row.video_id.startswith(name),
    )
    for test in tests:
        found = [row for row in videos if test(row)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{name!r} is the name of {len(found)} videos; give the whole path.")
    raise NotFound(f"No video {name!r} in the index; list what there is with `finecut ls`.")


@command
def quality(
    queries: Annotated[Path, typer.Argument(help="JSON lines: query, video[, start_s, end_s].")],
    index: options.Index = None,
    recall_k: RecallK = 50,
    tune: Annotated[
        bool, typer.Option("--tune", help="Find weights for words beside pictures.")
    ] = False,
    save: Annotated[
        bool, typer.Option("--save", help="With --tune: keep them beside the index.")
    ] = False,
    bundle: options.BundleRef = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Measure search on queries whose right video you know.

    Each line of QUERIES is a JSON object: query, video (a path, a file name or an id), and, where
    the moment is known, start_s and end_s. Printed are R@1, R@5, R@10 in percent and the median
    and mean rank of the right video, by the first stage alone (recall), with pictures looked at
    closely (rerank), and, where words are indexed, with words in the same ranking (fused).

    --tune weighs what is said, shown, told and named against the pictures by these queries and
    says what that gains on queries it was not tuned on; nothing is kept without --save.
    """
    from finecut.search.quality import quality as measure

    if save and not tune:
        raise UsageError("--save keeps what --tune finds; give both.")
    searcher = _open(index, bundle, threads)
    if tune:
        _tune(searcher, queries, recall_k, save=save, as_json=as_json)
        return
    answer = measure(searcher, queries, recall_k=recall_k)
    if as_json:
        print_json(answer)
        return
    out(f"{answer['n_queries']} queries, {answer['n_gallery']} videos")
    names = {"r_at_1": "R@1", "r_at_5": "R@5", "r_at_10": "R@10", "mdr": "MdR", "mnr": "MnR"}
    rows = [("", *names.values())]
    for stage in ("recall", "rerank", "fused"):
        if stage in answer:
            rows.append((stage, *(f"{answer[stage][name]:.1f}" for name in names)))
    table(rows, right=(1, 2, 3, 4, 5))
    if "moments" in answer:
        moments = answer["moments"]
        out(f"moments: R@1 at IoU 0.5 {moments['r_at_1_iou_0.5']:.1f}, mIoU {moments['miou']:.1f}")


def _tune(searcher: Searcher, queries: Path, recall_k: int, *, save: bool, as_json: bool) -> None:
    from finecut.search.fusion import Weights, save_weights
    from finecut.search.tune import tune

    answer = tune(searcher, queries, recall_k=recall_k)
    place = None
    if save:
        place = save_weights(searcher.index.directory, Weights(answer["weights"]))
    if as_json:
        print_json({**answer, "saved": None if place is None else str(place)})
        return
    out(f"{answer['n_queries']} queries, {answer['n_heard']} of them answered by words")
    rows = [("", "R@1", "mean inverse rank")]
    for name in ("now", "tuned", "cross_validated"):
        title = name.replace("_", "-")
        rows.append((title, f"{answer[name]['r_at_1']:.1f}", f"{answer[name]['mir']:.3f}"))
    table(rows, right=(1, 2))
    out("weights: " + ", ".join(f"{k} {v:g}" for k, v in answer["weights"].items()))
    if not answer["worth_it"]:
        out("On queries they were not tuned on, these weights gain nothing.")
    say(f"saved in {place}" if place else "Nothing was changed; --save keeps these weights.")
