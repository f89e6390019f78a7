"""The demo's library: a dozen short videos and a long one, made once and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from finecut.demo import material as m
from finecut.demo.camera import Shot, film
from finecut.demo.material import Source, find

TOUR = "a-day-out.mp4"  # the long one
SCENE_S = 12.0  # of each scene of the long one


@dataclass(frozen=True, slots=True)
class Question:
    """A demo search: what is asked, the video that is right, and where in it; None: nothing is."""

    query: str
    video: str | None
    scene: tuple[float, float] | None = None


# Scenes of the long video, in order; the pictures of the short ones do not come again.
TOUR_SCENES: tuple[Source, ...] = (m.GALAXIES, m.TEMPLE, m.COFFEE, m.CAMERA, m.COINS)
_COFFEE_AT = TOUR_SCENES.index(m.COFFEE) * SCENE_S

QUESTIONS: tuple[Question, ...] = (
    Question("a close up of a cat", "cat.mp4"),
    Question("a cartoon rabbit in a meadow", "big-buck-bunny.mp4"),
    Question("a cup of coffee on a table", TOUR, (_COFFEE_AT, _COFFEE_AT + SCENE_S)),
    Question("a choir of penguins sings the national anthem", None),
)


def make_library(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Write the videos that are not there yet; returns all of them, sorted.

    Args:
        folder: made here.
        say: told what is being made.

    Raises:
        MissingDependency: a package that ships the material is not installed.
    """
    films: dict[str, Sequence[Shot]] = {
        "cat.mp4": [Shot(find(m.CAT), 6, (0.5, 0.5, 1.0), (0.45, 0.4, 0.7))],
        "flower.mp4": [Shot(find(m.FLOWER), 6, (0.4, 0.5, 0.7), (0.6, 0.5, 1.0))],
        "rocket.mp4": [Shot(find(m.ROCKET), 6, (0.5, 0.8, 0.7), (0.5, 0.3, 0.8))],
        "astronaut.mp4": [Shot(find(m.ASTRONAUT), 6, (0.45, 0.3, 1.0), (0.45, 0.22, 0.8))],
        TOUR: [
            Shot(find(source), SCENE_S, (0.4, 0.4, 0.8), (0.6, 0.4, 1.0)) for source in TOUR_SCENES
        ],
    }
    copies = {
        "bikes.mp4": find(m.BIKES),
        "big-buck-bunny.mp4": find(m.BUNNY),
        "man-in-car.mp4": find(m.CARPHONE),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, shots in films.items():
        if not (folder / name).exists():
            say(f"making {name}")
            film(shots, folder / name)
    for name, source in copies.items():
        if not (folder / name).exists():
            say(f"copying {name}")
            part = folder / f"{name}.part"
            shutil.copyfile(source, part)
            part.replace(folder / name)
    (folder / "LICENCES.txt").write_text(licences(), encoding="utf-8")
    return sorted(folder / name for name in (*films, *copies))


def write_queries(path: Path) -> None:
    """The questions that have an answer, as labelled queries for `finecut quality`."""
    lines = []
    for question in QUESTIONS:
        if question.video is None:
            continue
        line: dict[str, str | float] = {"query": question.query, "video": question.video}
        if question.scene is not None:
            line["start_s"], line["end_s"] = question.scene
        lines.append(json.dumps(line) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def licences() -> str:
    """What each video was made of, and on which terms."""
    used = {
        "cat.mp4": (m.CAT,),
        "flower.mp4": (m.FLOWER,),
        "rocket.mp4": (m.ROCKET,),
        "astronaut.mp4": (m.ASTRONAUT,),
        TOUR: TOUR_SCENES,
        "bikes.mp4": (m.BIKES,),
        "big-buck-bunny.mp4": (m.BUNNY,),
        "man-in-car.mp4": (m.CARPHONE,),
    }
    lines = [
        "Made by `finecut demo` from files of packages installed on this machine.",
        "Photographs were given a moving camera; clips are unchanged.",
        "",
    ]
    for name, sources in used.items():
        for source in sources:
            lines.append(f"{name}: {source.install}, {source.file}: {source.licence}")
    return "\n".join(lines) + "\n"
