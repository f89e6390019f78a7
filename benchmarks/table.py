"""Make docs/speed.md's tables and the figures quoted elsewhere from results/bench-*.json.

    python benchmarks/table.py            # writes the pages
    python benchmarks/table.py --check    # says what is out of date, exit code 1; a test runs this

Between `<!-- targets -->` and `<!-- end -->` of docs/speed.md stands what this file made; the rest
of the page is written by hand. A missed target whose entry has no note is told on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pages
from record import ROOT

PAGE = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- targets -->", "<!-- end -->"
ORDER = ("index", "decode", "encode", "ann", "rerank", "query", "http", "memory", "peers")


def stored(folder: Path) -> list[dict[str, Any]]:
    """Every benchmark's file, those of ORDER first."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("bench-*.json"))]
    place = {name: number for number, name in enumerate(ORDER)}
    return sorted(found, key=lambda one: (place.get(one["name"], len(ORDER)), one["name"]))


def shown(value: float | None, unit: str = "") -> str:
    """A figure for a table.

    >>> shown(0.01234, "s"), shown(123456.0, "MiB"), shown(None), shown(80.0, "x real time")
    ('0.0123 s', '123,456 MiB', '', '80 x real time')
    """
    if value is None:
        return ""
    if value and abs(value) < 1000:
        text = f"{value:.3g}"
        text = f"{value:.6f}".rstrip("0") if "e" in text else text
    else:
        text = f"{value:,.0f}"
    return f"{text} {unit}".strip()


def verdict(entry: Mapping[str, Any]) -> str:
    """What is written of a target: met, or missed and by how much."""
    if entry["target_met"]:
        return "met"
    target, value = entry["target"], entry["value"]
    if not target or not value:
        return "**missed**"
    return f"**missed** by {abs(value / target - 1):.0%}"


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def target_table(files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Everything that has a target, and the notes of what is missed."""
    yield row(["what", "target", "measured", "", "limit or rival, same run", "times as good", "by"])
    yield row(["---", "---:", "---:", "---", "---", "---:", "---"])
    notes = []
    for file in files:
        for entry in file["entries"]:
            if entry["target"] is None:
                continue
            said = verdict(entry)
            if entry["note"]:
                notes.append(entry["note"])
                said += f" [{len(notes)}]"
            elif not entry["target_met"]:
                print(f"bench-{file['name']}: {entry['name']} missed, no note", file=sys.stderr)
            sign = "≥" if entry["better"] == "higher" else "≤"
            yield row([
                entry["name"], f"{sign} {shown(entry['target'], entry['unit'])}",
                shown(entry["value"], entry["unit"]), said, rival(entry), shown(entry["ratio"]),
                file["name"],
            ])  # fmt: skip
    if notes:
        yield ""
        yield from (f"[{number}] {note}  " for number, note in enumerate(notes, 1))


def rival(entry: Mapping[str, Any]) -> str:
    if entry["limit_value"] is None:
        return ""
    return f"{entry['limit_or_rival']}: {shown(entry['limit_value'], entry['unit'])}"


def other_tables(files: Sequence[Mapping[str, Any]], root: Path) -> Iterator[str]:
    """What has no target, one table a benchmark."""
    for file in files:
        entries = [entry for entry in file["entries"] if entry["target"] is None]
        yield ""
        yield f"### {file['name']}"
        yield ""
        yield f"`{file['command']}`{when(file)}; [figures](../results/bench-{file['name']}.json)"
        plot = f"results/plots/bench-{file['name']}.svg"
        if (root / plot).exists():
            yield ""
            yield f"![{file['name']}](../{plot})"
        if not entries:
            continue
        yield ""
        yield row(["what", "measured", "least to most", "limit or rival", "times as good"])
        yield row(["---", "---:", "---:", "---", "---:"])
        for entry in entries:
            spread = entry["spread"] or []
            yield row([
                entry["name"], shown(entry["value"], entry["unit"]),
                " to ".join(shown(one) for one in spread), rival(entry), shown(entry["ratio"]),
            ])  # fmt: skip


def when(file: Mapping[str, Any]) -> str:
    """Date and machine, where the file has them."""
    machine = file["machine"]
    said = f", {file['date'][:10]}" if file["date"] else ""
    if isinstance(machine, dict) and "cpu" in machine:
        load = machine["load_average"][0]
        said += f", {machine['cores']} cores of {machine['cpu']}, load {load:.1f} at its end"
    return said


def tables(results: Path) -> str:
    files = stored(results)
    targets = [entry for file in files for entry in file["entries"] if entry["target"] is not None]
    met = sum(bool(entry["target_met"]) for entry in targets)
    return "\n".join(
        [
            f"## Targets: {met} of {len(targets)} met",
            "",
            *target_table(files),
            "",
            "## Everything else that is measured",
            *other_tables(files, results.parent),
        ]
    )


def page(text: str, results: Path) -> str:
    """The page with its tables made anew."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{PAGE.name} must hold {BEGIN} and {END}, once each.")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{tables(results)}\n{END}{after}"


def changes(root: Path) -> Iterator[tuple[Path, str]]:
    """Pages that are out of date, and what they should be."""
    results, speed = root / "results", root / "docs" / "speed.md"
    text = speed.read_text("utf-8")
    made = page(text, results)
    if made != text:
        yield speed, made
    yield from pages.rewritten(results, root)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    told = parser.parse_args()
    stale = list(changes(ROOT))
    for file, text in stale:
        print(f"{'stale' if told.check else 'written'}: {file.relative_to(ROOT)}")
        if not told.check:
            file.write_text(text, encoding="utf-8")
    if told.check and stale:
        sys.exit("run: python benchmarks/table.py")


if __name__ == "__main__":
    main()
