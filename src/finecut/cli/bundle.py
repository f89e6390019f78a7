"""`finecut bundle inspect|verify|pull|ls` and `finecut models`."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

from finecut.cli import options
from finecut.cli.show import EXIT_FAILED, bytes_text, command, out, print_json, say, table

Ref = Annotated[str, typer.Argument(help="A path, an installed name, or hf:org/repo[@revision].")]


class Tower(NamedTuple):
    """A public dual encoder that `finecut export` turns into a bundle."""

    ident: str  # on the Hugging Face hub
    source: str  # what `finecut export` is given, FOLDER or WEIGHTS being where they are
    needs: str  # a package beyond finecut[learn], as imported
    r_at_1: float | None  # published, zero-shot, MSR-VTT 1k-A
    said_by: str


# Figures of the sources named, not ours: none of these was measured by us.
TOWERS = (
    Tower("openai/clip-vit-base-patch32", "FOLDER", "", 31.2, "Portillo-Quintero et al. 2021"),
    Tower(
        "facebook/PE-Core-B16-224",
        "open_clip:PE-Core-B-16:WEIGHTS",
        "open_clip",
        47.6,
        "its makers",
    ),
    Tower("google/siglip2-base-patch16-224", "siglip:FOLDER", "transformers", None, ""),
)


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    group = typer.Typer(
        help="Look into, check and fetch bundles (trained models).",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(epilog=options.examples("finecut bundle inspect starter"))(inspect)
    group.command(
        epilog=options.examples(
            "finecut bundle verify starter", "finecut bundle verify ./my-bundle"
        )
    )(verify)
    group.command(epilog=options.examples("finecut bundle pull hf:org/repo@main"))(pull)
    group.command(name="ls", epilog=options.examples("finecut bundle ls"))(list_bundles)
    app.add_typer(group, name="bundle")
    app.command(epilog=options.examples("finecut models", "finecut models --json"))(models)


@command
def inspect(ref: Ref = "starter", as_json: options.Json = False) -> None:
    """What a bundle is: method, sizes, sampling, licence, measured quality."""
    from finecut.bundle.load import Bundle

    bundle = Bundle.load(ref)
    manifest = bundle.manifest
    if as_json:
        print_json({"place": str(bundle.files.place), **manifest.model_dump(mode="json")})
        return
    rerank = manifest.rerank
    patches = f", {manifest.video.patch_rows}x{manifest.video.patch_columns} patches"
    rows = [
        ("name", manifest.name),
        ("method", manifest.method),
        ("place", str(bundle.files.place)),
        ("fingerprint", manifest.fingerprint[:16]),
        (
            "frames",
            f"{manifest.sampling.frames_per_second:g} a second, at most "
            f"{manifest.sampling.max_frames} a clip, {manifest.frames.width}x"
            f"{manifest.frames.height} ({manifest.frames.resize})",
        ),
        (
            "vectors",
            f"recall {manifest.video.recall_dim}, tokens {manifest.video.embed_dim}"
            + (patches if manifest.video.n_patches else ""),
        ),
        ("re-rank", f"{rerank.kind}: {', '.join(rerank.inputs) or 'tokens'}" if rerank else "none"),
        ("languages", ", ".join(manifest.text.languages)),
        ("licence", manifest.provenance.licence),
        ("trained on", "; ".join(manifest.provenance.data)),
        ("recipe", manifest.provenance.recipe),
        ("size", bytes_text(sum(entry.size_bytes for entry in manifest.files))),
        *((f"  {entry.path}", bytes_text(entry.size_bytes)) for entry in manifest.files),
        *((name, f"{value:g}") for name, value in manifest.provenance.quality.items()),
    ]
    table(rows)


@command
def verify(ref: Ref = "starter", as_json: options.Json = False) -> None:
    """Check a bundle: hashes, graphs, shapes, a run on made-up input."""
    from finecut.bundle.verify import verify as check

    report = check(ref)
    if as_json:
        print_json(report.to_json())
    else:
        for name in report.passed:
            out(f"ok    {name}")
        for problem in report.problems:
            out(f"fail  {problem}")
        for note in report.notes:
            say(f"note: {note}")
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


@command
def pull(ref: Ref, as_json: options.Json = False) -> None:
    """Fetch a bundle from the Hugging Face hub.

    The only verb that uses a network. The commit and the hashes are recorded beside the bundle.
    """
    from finecut.bundle.hub import pull as fetch
    from finecut.bundle.hub import pulled_record

    path = fetch(ref)
    record = pulled_record(path)
    if as_json:
        print_json(
            {
                "ref": ref,
                "place": str(path),
                "commit": record.commit,
                "fingerprint": record.fingerprint,
                "sha256": record.sha256,
            }
        )
        return
    out(f"{path}  (commit {record.commit[:12]}, fingerprint {record.fingerprint[:12]})")
    out(f"index with it: finecut index FOLDER --bundle hf:{record.repo}")


@command
def list_bundles(as_json: options.Json = False) -> None:
    """List the bundles that are installed."""
    from finecut.bundle.place import installed

    found = installed()
    if as_json:
        print_json({"bundles": [{"name": n, "place": str(p)} for n, p in found.items()]})
        return
    table([(name, str(path)) for name, path in found.items()])


@command
def models(as_json: options.Json = False) -> None:
    """What one can search with: installed bundles, public towers.

    A public tower is searched with after `finecut export` has made a bundle of its weights, which
    you fetch yourself; figures are those of the sources named, not ours.
    """
    from importlib.util import find_spec

    from finecut.bundle.place import installed

    found = installed()
    missing = {
        tower.ident: [name for name in ("torch", tower.needs) if name and find_spec(name) is None]
        for tower in TOWERS
    }
    if as_json:
        towers = [{**t._asdict(), "missing_packages": missing[t.ident]} for t in TOWERS]
        print_json(
            {
                "installed": [{"name": n, "place": str(p)} for n, p in found.items()],
                "exportable": towers,
            }
        )
        return
    out("Installed (finecut index FOLDER --bundle NAME):")
    table([(f"  {name}", str(path)) for name, path in found.items()])
    out()
    out("Public towers, for `finecut export SOURCE OUT` once you have their weights, with the R@1")
    out("published for zero-shot search on MSR-VTT 1k-A (not measured by us):")
    table(
        [
            (
                f"  {tower.ident}",
                tower.source,
                f"{tower.r_at_1} ({tower.said_by})" if tower.r_at_1 else "none published",
                "" if not missing[tower.ident] else f"needs {', '.join(missing[tower.ident])}",
            )
            for tower in TOWERS
        ]
    )
    if any("torch" in names for names in missing.values()):
        say('finecut export needs torch: pip install "finecut[learn]"')
