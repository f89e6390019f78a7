"""The command-line reference, made from what `--help` prints.

`python -m finecut.cli.reference` prints docs/cli.md; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

WIDTH = 100

INTRO = """\
# Command line

Made from `--help` by `python -m finecut.cli.reference`; a test holds it true.

Results go to stdout, everything else to stderr. With `--json` a verb prints one JSON object on
stdout; an error is then an object on stderr: `{"error": {"type", "message"}}`. Exit codes: 0 it
worked; 1 it failed, or some files failed; 2 wrong use, or an index or bundle that does not fit;
130 interrupted.

A first word that is no verb and holds a space is a sentence: `finecut "a dog runs"` searches.

| variable | meaning |
|---|---|
| `FINECUT_INDEX` | the index when `--index` is not given |
| `FINECUT_CACHE` | where the caches of indexes in object stores lie |
| `FINECUT_BUNDLES` | where pulled bundles are installed |
| `FINECUT_TOKEN` | the token of `finecut serve` |
"""


def reference() -> str:
    """All of docs/cli.md."""
    from finecut.cli.main import program

    parts = [INTRO]
    root = typer.main.get_command(program())
    for path, command in _walk("finecut", root):
        context = command.make_context(
            path, [], resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
        )
        parts.append(f"## {path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(f"{path} {name}", child)


if __name__ == "__main__":
    from finecut.cli.show import out

    out(reference().rstrip("\n"))
