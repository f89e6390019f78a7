"""Verbs for researchers: `export` and `flops`. Those that need torch say so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finecut.cli import options
from finecut.cli.show import bytes_text, command, out, print_json, table
from finecut.errors import MissingDependency, UsageError


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command(
        epilog=options.examples(
            "finecut export runs/clip4clip/model.safetensors my-bundle",
            "finecut export pytorch_model.bin.4 my-bundle --quantize int8",
            "finecut export siglip:siglip2-base-patch16-224 my-bundle",
        )
    )(export)
    app.command(epilog=options.examples("finecut flops", "finecut flops --json"))(flops)


def need_torch() -> None:
    """Say how to install torch where it is missing."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingDependency(
            'This verb needs torch, which is not installed: pip install "finecut[learn]"'
        )


@command
def export(
    source: Annotated[Path, typer.Argument(help="A checkpoint, ours or published, or a tower.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The bundle's folder.")],
    quantize: Annotated[
        str | None, typer.Option(help="int8: a quarter of the size, gated on likeness.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name; OUT's otherwise.")] = None,
    languages: Annotated[
        str | None,
        typer.Option(
            metavar="CODES", help='What queries may be in: "en,zh", "*" for any; default: a guess.'
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in place of a bundle that is there.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Turn a trained model into a bundle.

    SOURCE is a checkpoint of ours, a published CLIP4Clip or EERCF one, CLIP weights (a file or a
    folder), siglip:FOLDER, or open_clip:MODEL[:WEIGHTS]. Nothing is written where ONNX and torch
    differ.
    """
    need_torch()
    from finecut.learn.export import export as run

    if quantize not in (None, "int8"):
        raise UsageError(f"--quantize must be int8, got {quantize!r}.")
    codes = [code.strip() for code in (languages or "").split(",") if code.strip()]
    report = run(
        source,
        output,
        quantize,  # type: ignore[arg-type]
        name=name,
        languages=codes,
        replace=replace,
    )
    if as_json:
        print_json(
            {
                "out": str(report.out),
                "name": report.name,
                "method": report.method,
                "fingerprint": report.fingerprint,
                "largest_difference": report.largest_difference,
                "int8_cosine": report.int8_cosine,
                "size_bytes": report.size_bytes,
            }
        )
        return
    out(f"{report.out}  {report.method}, {bytes_text(report.size_bytes)}")
    for graph_output, difference in report.largest_difference.items():
        out(f"  {graph_output:18} differs from torch by at most {difference:.2g}")
    for graph_output, cosine in report.int8_cosine.items():
        out(f"  {graph_output:18} int8 cosine at least {cosine:.4f}")


@command
def flops(as_json: options.Json = False) -> None:
    """Multiply-adds of matching a query, counted twice.

    By method and data set. The published count is of inner products alone, as the EERCF article
    has it; the honest one adds the text-gated vectors and the cross-encoders' layers.
    """
    from finecut.learn import flops as count

    rows = [cost for test_set in count.TEST_SETS for cost in count.costs(test_set)]
    if as_json:
        print_json(
            {
                "costs": [
                    {
                        "method": row.method,
                        "test_set": row.test_set,
                        "published": row.published,
                        "honest": row.honest,
                    }
                    for row in rows
                ],
                "published_ratios": count.published_ratios(),
                "honest_ratios": count.honest_ratios(),
            }
        )
        return
    table(
        [
            ("set", "method", "published count", "honest count"),
            *((r.test_set, r.method, _millions(r.published), _millions(r.honest)) for r in rows),
        ],
        right=(2, 3),
    )
    out()
    out("EERCF against the words x frames pattern, times less:")
    honest = count.honest_ratios()
    table(
        [
            ("set", "published count", "honest count"),
            *(
                (name, f"{r:.1f}", f"{honest[name]:.1f}")
                for name, r in count.published_ratios().items()
            ),
        ],
        right=(1, 2),
    )


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.2f} M"
