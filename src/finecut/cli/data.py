"""`finecut data`: what a folder holds, its videos decoded once, and made-up clips to train on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finecut.cli import options
from finecut.cli.interrupt import Interrupt
from finecut.cli.learn import need_torch
from finecut.cli.show import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    bytes_text,
    command,
    out,
    path_text,
    print_json,
    say,
    table,
    time_text,
)
from finecut.errors import UsageError

if TYPE_CHECKING:
    from finecut.learn.data.cache_write import CacheProgress, CacheReport

PROGRESS_EVERY_S = 5.0
MOST_NAMED = 20  # missing or failed videos named one by one


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    data = typer.Typer(
        help="Data to train and evaluate on.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    data.command(
        name="check",
        epilog=options.examples(
            "finecut data check MSRVTT", "finecut data check MSRVTT --probe --json"
        ),
    )(check)
    data.command(
        name="cache",
        epilog=options.examples(
            "finecut data cache recipes/clip4clip-msvd.toml --data MSVD --output msvd.cache",
            "finecut data cache recipes/eercf-msvd.toml --data MSVD --output msvd.heads --features",
        ),
    )(cache)
    data.command(
        name="synthetic",
        epilog=options.examples(
            "finecut data synthetic made-up --task order --videos 40",
        ),
    )(synthetic)
    app.add_typer(data, name="data")


@command
def check(
    folder: Annotated[Path, typer.Argument(help="A benchmark's folder, annotations and videos.")],
    probe: Annotated[
        bool, typer.Option("--probe", help="Open every video, not only look for it.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say which benchmark a folder holds and what is missing.

    And whether figures measured on it may be compared with published ones.
    Read are MSR-VTT, MSVD, LSMDC, ActivityNet Captions, DiDeMo, YouCook2, QVHighlights, VATEX,
    TGIF, WebVid, HowTo100M-style speech, CrossTask, COIN, LAFF collections, VindLU and mmaction2
    JSON, and JSON lines of our own.
    """
    from finecut.learn.data.check import check as look
    from finecut.learn.data.folder import Folder

    def progress(video: str, done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            say(f"{done}/{total} videos opened")

    reports = look(Folder(folder), probe=probe, on_video=progress)
    if as_json:
        print_json({"splits": [report.to_json() for report in reports]})
    else:
        rows = [("set", "split", "videos", "sentences", "there", "protocol", "standard")]
        for report in reports:
            rows.append(
                (
                    report.name,
                    report.split,
                    str(report.n_videos),
                    str(report.n_captions),
                    str(report.effective_gallery),
                    report.protocol,
                    "yes" if report.standard else f"no: {report.why_not}",
                )
            )
        table(rows, right=(2, 3, 4))
        for report in reports:
            for note in report.notes:
                say(f"{report.name} {report.split}: {note}")
            for video in report.missing[:MOST_NAMED]:
                say(f"{report.name} {report.split}: missing {video}")
            if len(report.missing) > MOST_NAMED:
                more = len(report.missing) - MOST_NAMED
                say(f"{report.name} {report.split}: and {more} more missing")
            for video, reason in report.undecodable:
                say(f"{report.name} {report.split}: cannot read {video}: {reason}")
    if any(report.missing or report.undecodable for report in reports):
        raise typer.Exit(EXIT_FAILED)


@command
def cache(
    recipe: Annotated[Path, typer.Argument(help="A recipe: says which frames, at what size.")],
    output: Annotated[Path, typer.Option("--output", help="The cache's folder.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="The data's folder instead of the recipe's.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Only this split; may be repeated. All of the recipe's otherwise."),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(
            "--features",
            help="Keep what the frozen tower makes of the frames: to train heads only.",
        ),
    ] = False,
    dtype: Annotated[str, typer.Option(help="Of features: float16 or int8.")] = "float16",
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality of frames.")] = 95,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode.")] = 2,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Decode a recipe's videos once, so that every epoch after reads what it needs.

    Frames are kept as JPEGs of the model's size, or with --features as what a frozen tower makes
    of them. Interrupted, the same command goes on; a file that cannot be read is named and passed
    over. A cache knows what it was made from, and a recipe that does not fit it is refused.
    """
    need_torch()
    from finecut.learn.data.cache import make_cache
    from finecut.learn.recipe import load_recipe

    if dtype not in ("float16", "int8"):
        raise UsageError(f"--dtype must be float16 or int8, got {dtype!r}.")
    last = time.monotonic()

    def progress(now: CacheProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_EVERY_S:
            last = time.monotonic()
            eta = f", {time_text(now.eta_s)[:-2]} left" if now.eta_s is not None else ""
            bad = f", {now.failed} failed" if now.failed else ""
            speed = _speed(now.per_s, now.x_realtime)
            say(f"decoding: {now.done}/{now.total} videos, {speed}{eta}{bad}")

    with Interrupt("Stopping after the videos in hand") as interrupt:
        report = make_cache(
            load_recipe(recipe, settings or ()),
            output,
            root=data,
            splits=split or (),
            features=features,
            dtype=dtype,  # type: ignore[arg-type]
            jpeg_quality=quality,
            workers=workers,
            on_progress=progress,
            should_stop=lambda: interrupt.asked,
        )
    if as_json:
        print_json(report.to_json())
    else:
        _show(report)
    if report.left:
        say(f"Stopped: {report.left} videos are left; the same command goes on from here.")
        raise typer.Exit(EXIT_INTERRUPTED)
    if report.failures or report.missing:
        raise typer.Exit(EXIT_FAILED)


def _show(report: CacheReport) -> None:
    for name in report.missing[:MOST_NAMED]:
        say(f"missing: {name}")
    if len(report.missing) > MOST_NAMED:
        say(f"and {len(report.missing) - MOST_NAMED} more missing")
    for name, reason in report.failures[:MOST_NAMED]:
        say(f"failed: {name}: {reason}")
    if len(report.failures) > MOST_NAMED:
        say(f"and {len(report.failures) - MOST_NAMED} more failed")
    if report.done:
        speed = _speed(report.done / report.elapsed_s, report.video_s / report.elapsed_s)
        out(
            f"{report.done} videos in {report.elapsed_s:.1f} s ({speed}); "
            f"{report.unchanged} were there"
        )
    else:
        out(f"Nothing to do: {report.unchanged} videos are there and unchanged.")
    per_hour = report.bytes_per_video_hour
    hour = f", {bytes_text(per_hour)} per hour of video" if per_hour else ""
    out(f"cache: {path_text(str(report.folder))} {bytes_text(report.size_bytes)}{hour}")


@command
def synthetic(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    task: Annotated[
        str,
        typer.Option(
            help="What matters: still, appearance, order, direction, small, brief, several, action."
        ),
    ] = "order",
    videos: Annotated[int, typer.Option(help="How many, of all splits together.")] = 500,
    seed: Annotated[int, typer.Option(help="Another seed, other clips.")] = 0,
    seconds: Annotated[int, typer.Option(help="Length of each clip.")] = 8,
    side: Annotated[int, typer.Option(help="Width and height in pixels, even.")] = 128,
    as_json: options.Json = False,
) -> None:
    """Make clips of coloured shapes with captions of which one thing matters.

    Order, direction, small or brief things, which colour is whose, what a thing does: OUT holds
    train.jsonl, validation.jsonl, test.jsonl and the videos. No pair of things that is tested is
    ever trained on.
    """
    from finecut.learn.data.synthetic_files import write_corpus

    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_EVERY_S:
            last = time.monotonic()
            say(f"drawing: {done}/{total} videos")

    made = write_corpus(
        folder,
        task,  # type: ignore[arg-type]  # checked there, with the names
        videos,
        seed=seed,
        seconds=seconds,
        side=side,
        on_video=progress,
    )
    if as_json:
        print_json({"folder": str(made.folder), "videos": made.clips})
    else:
        counts = ", ".join(f"{count} {split}" for split, count in made.clips.items())
        out(f"{path_text(str(made.folder))}: {counts}")


def _speed(per_s: float, x_realtime: float) -> str:
    """Videos a second, and how much faster than they play; stills do not play."""
    return f"{per_s:.1f} a second" + (f", {x_realtime:.0f}x real time" if x_realtime else "")
