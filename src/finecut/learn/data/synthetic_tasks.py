"""The tasks of the made-up clips: which scenes make a group, and which pairs of things are tested.

Every maker draws one group of scenes from a generator; `synthetic.make_scenes` calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations
from typing import Literal

import numpy as np

from finecut.learn.data.synthetic_scene import COLOURS, SHAPES, Scene, Sprite, Thing

Task = Literal["still", "appearance", "order", "direction", "small", "brief", "several", "action"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

PAIR_SHARES = (0.7, 0.1, 0.2)  # of all pairs of things, by split [choice]
PAIR_SEED = 20261122  # which pair is in which split never depends on a caller's seed
GROUP_OF_RIVALS = 4  # clips of a group of `small` or `brief`
SMALL_DISTRACTORS = 3  # small things that the caption does not name
PLAIN_SIZE, BIG_SIZE, SMALL_SIZE = 0.17, 0.24, 0.09  # radius as a share of the frame's side
SIZES = {"small": SMALL_SIZE, "": PLAIN_SIZE, "big": BIG_SIZE}
VERBS = ("rises", "falls", "grows", "shrinks", "blinks", "shakes")
DIRECTIONS = {  # where a moving thing starts and ends, x and y as shares of the side
    "left": ((0.9, None), (0.1, None)),
    "right": ((0.1, None), (0.9, None)),
    "up": ((None, 0.9), (None, 0.1)),
    "down": ((None, 0.1), (None, 0.9)),
}
BACK = {"left": "right", "right": "left", "up": "down", "down": "up"}
THINGS = tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)

Pair = tuple[Thing, Thing]


# ------------------------------------------------------------------ which pair is in which split


def _key(first: Thing, second: Thing) -> tuple[str, ...]:
    """Alike for both orders and for swapped colours: no rival of a tested clip is trained on."""
    return (
        *sorted((first.colour, second.colour)),
        *sorted((first.shape, second.shape)),
    )


@cache
def _split_of_pairs() -> dict[tuple[str, ...], Split]:
    keys = sorted({_key(a, b) for a, b in combinations(THINGS, 2)})
    order = np.random.default_rng(PAIR_SEED).permutation(len(keys))
    ends = np.cumsum(PAIR_SHARES) * len(keys)
    return {keys[i]: SPLITS[int(np.searchsorted(ends, n + 0.5))] for n, i in enumerate(order)}


@cache
def pairs_of(split: Split) -> tuple[Pair, ...]:
    """Every unordered pair of two different things that belongs to the split."""
    owner = _split_of_pairs()
    return tuple((a, b) for a, b in combinations(THINGS, 2) if owner[_key(a, b)] == split)


@cache
def _partners(split: Split, thing: Thing) -> tuple[Thing, ...]:
    return tuple(other for other in THINGS if other != thing and _in(split, thing, other))


def _in(split: Split, a: Thing, b: Thing) -> bool:
    return _split_of_pairs().get(_key(a, b)) == split


def _any_pair(rng: np.random.Generator, split: Split) -> Pair:
    pairs = pairs_of(split)
    first, second = pairs[rng.integers(len(pairs))]
    return (first, second) if rng.random() < 0.5 else (second, first)


# ------------------------------------------------------------------ the tasks, one group a call


def _still_life(rng: np.random.Generator, split: Split, seconds: float, number: int) -> list[Scene]:
    """One to three things of any size: what a picture tower learns from before it sees clips."""
    things = list(_any_pair(rng, split))
    third = THINGS[rng.integers(len(THINGS))]
    if all(third != thing and _in(split, third, thing) for thing in things):
        things.append(third)
    elif rng.random() < 0.5:
        things.pop()
    things.sort(key=THINGS.index)
    words = [str(w) for w in rng.choice(list(SIZES), len(things))]
    sprites = tuple(
        Sprite(thing, SIZES[word], SIZES[word], place, place, 0.0, seconds)
        for thing, word, place in zip(things, words, _cells(rng, len(things), 3), strict=True)
    )
    named = [f"{word} {thing}".strip() for word, thing in zip(words, things, strict=True)]
    named = [f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in named]
    caption = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return [Scene(sprites, caption, number, seconds, _noise(rng))]


def _appearance(rng: np.random.Generator, split: Split, seconds: float, number: int) -> list[Scene]:
    pair = _any_pair(rng, split)
    sprites = _two_places(rng, pair, seconds)
    return [Scene(sprites, _both(pair), number, seconds, _noise(rng))]


def _order(rng: np.random.Generator, split: Split, seconds: float, number: int) -> list[Scene]:
    group = []
    first, second = _any_pair(rng, split)
    half = float(int(seconds) // 2)
    for one, two in ((first, second), (second, first)):
        sprites = (
            _wanderer(rng, one, PLAIN_SIZE, start_s=0.0, end_s=half),
            _wanderer(rng, two, PLAIN_SIZE, start_s=half, end_s=seconds),
        )
        caption = f"first {a(one)} then {a(two)}"
        group.append(Scene(sprites, caption, number, seconds, _noise(rng)))
    return group


def _direction(rng: np.random.Generator, split: Split, seconds: float, number: int) -> list[Scene]:
    mover, other = _any_pair(rng, split)
    way = str(rng.choice(list(DIRECTIONS)))
    group = []
    for word in (way, BACK[way]):
        start, end = DIRECTIONS[word]
        across = float(rng.uniform(0.2, 0.8))
        (x0, y0), (x1, y1) = (
            tuple(across if v is None else v for v in place) for place in (start, end)
        )
        # The last frame is one second before the end: the path is stretched so that the frames
        # of there and back are the same set, in the other order.
        stretch = seconds / (seconds - 1)
        x1, y1 = x0 + (x1 - x0) * stretch, y0 + (y1 - y0) * stretch
        path = Sprite(mover, PLAIN_SIZE, PLAIN_SIZE, (x0, y0), (x1, y1), 0.0, seconds)
        caption = f"{a(mover)} moves {word} past {a(other)}"
        sprites = (_still(rng, other, PLAIN_SIZE, seconds), path)
        group.append(Scene(sprites, caption, number, seconds, _noise(rng)))
    return group


def _small(rng: np.random.Generator, split: Split, seconds: float, number: int) -> list[Scene]:
    base, targets, others = _rivals(rng, split)
    group = []
    for target in targets:
        crowd = [target, *_choose(rng, others, SMALL_DISTRACTORS)]
        cells = _cells(rng, len(crowd), 4)
        small = [
            Sprite(thing, SMALL_SIZE, SMALL_SIZE, cell, cell, 0.0, seconds)
            for thing, cell in zip(crowd, cells, strict=True)
        ]
        big = _still(rng, base, BIG_SIZE, seconds)
        caption = f"a small {target} near a big {base}"
        group.append(Scene((big, *small), caption, number, seconds, _noise(rng)))
    return group


def _brief(rng: np.random.Generator, split: Split, seconds: float, number: int) -> list[Scene]:
    base, targets, others = _rivals(rng, split)
    group = []
    for target in targets:
        passing = [target, *_choose(rng, others, int(seconds) - 1)]
        passing = [passing[i] for i in rng.permutation(len(passing))]
        places = _two_cells(rng)
        sprites = [Sprite(base, PLAIN_SIZE, PLAIN_SIZE, places[0], places[0], 0.0, seconds)]
        sprites += [
            Sprite(thing, PLAIN_SIZE, PLAIN_SIZE, places[1], places[1], float(s), s + 1.0)
            for s, thing in enumerate(passing)
        ]
        caption = f"{a(target)} appears beside {a(base)}"
        group.append(Scene(tuple(sprites), caption, number, seconds, _noise(rng)))
    return group


def _several(rng: np.random.Generator, split: Split, seconds: float, number: int) -> list[Scene]:
    first, second = _any_pair(rng, split)
    while first.colour == second.colour or first.shape == second.shape:
        first, second = _any_pair(rng, split)
    swapped = (Thing(second.colour, first.shape), Thing(first.colour, second.shape))
    return [
        Scene(_two_places(rng, pair, seconds), _both(pair), number, seconds, _noise(rng))
        for pair in ((first, second), swapped)
    ]


def _action(rng: np.random.Generator, split: Split, seconds: float, number: int) -> list[Scene]:
    mover, other = _any_pair(rng, split)
    verb, other_verb = (str(v) for v in rng.choice(VERBS, 2, replace=False))
    alike = [t for t in _partners(split, other) if t.colour == mover.colour and t != mover]
    if not alike:
        return [Scene((), "", number, seconds, 0)] * 2  # two equal captions: drawn again
    cast = ((mover, verb), (mover, other_verb), (_choose(rng, alike, 1)[0], verb))
    group = []
    for thing, does in cast:
        sides = (0.3, 0.75) if rng.random() < 0.5 else (0.7, 0.25)
        still = Sprite(other, PLAIN_SIZE, PLAIN_SIZE, *[(sides[1], rng.uniform(0.2, 0.8))] * 2,
                       0.0, seconds)  # fmt: skip
        caption = f"{a(thing)} {does} beside {a(other)}"
        sprites = (still, _acting(thing, does, sides[0], seconds))
        group.append(Scene(sprites, caption, number, seconds, _noise(rng)))
    return group


MAKERS: dict[str, Callable[[np.random.Generator, Split, float, int], list[Scene]]] = {
    "still": _still_life,
    "appearance": _appearance,
    "order": _order,
    "direction": _direction,
    "small": _small,
    "brief": _brief,
    "several": _several,
    "action": _action,
}
TASKS: tuple[str, ...] = tuple(MAKERS)


# ------------------------------------------------------------------ what tasks are made of


def a(thing: Thing) -> str:
    """The thing with its article.

    >>> a(Thing("orange", "ring")), a(Thing("red", "ring"))
    ('an orange ring', 'a red ring')
    """
    return f"{'an' if str(thing)[0] in 'aeiou' else 'a'} {thing}"


def _both(pair: Pair) -> str:
    """One sentence for two things, whichever comes first."""
    return " and ".join(a(thing) for thing in sorted(pair, key=THINGS.index))


def _rivals(rng: np.random.Generator, split: Split) -> tuple[Thing, list[Thing], list[Thing]]:
    """A lasting thing, things told apart beside it, and things that may distract."""
    while True:
        base = THINGS[rng.integers(len(THINGS))]
        partners = _partners(split, base)
        if len(partners) >= GROUP_OF_RIVALS:
            break
    targets = _choose(rng, partners, GROUP_OF_RIVALS)
    others = [t for t in THINGS if t != base and t not in targets]
    return base, targets, others


def _choose(rng: np.random.Generator, things: Sequence[Thing], count: int) -> list[Thing]:
    return [things[i] for i in rng.choice(len(things), count, replace=False)]


def _two_cells(rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two places that plain things do not share: beside, or above each other."""
    low, high = rng.uniform(0.2, 0.3), rng.uniform(0.7, 0.8)
    cross = rng.uniform(0.25, 0.75, 2)
    one, two = (low, cross[0]), (high, cross[1])
    if rng.random() < 0.5:
        one, two = one[::-1], two[::-1]
    places = [(float(p[0]), float(p[1])) for p in (one, two)]
    return (places[0], places[1]) if rng.random() < 0.5 else (places[1], places[0])


def _two_places(rng: np.random.Generator, pair: Pair, seconds: float) -> tuple[Sprite, ...]:
    return tuple(
        Sprite(thing, PLAIN_SIZE, PLAIN_SIZE, place, place, 0.0, seconds)
        for thing, place in zip(pair, _two_cells(rng), strict=True)
    )


def _cells(rng: np.random.Generator, count: int, across: int) -> list[tuple[float, float]]:
    """Places of a grid of ``across`` x ``across``, none twice."""
    chosen = rng.choice(across * across, count, replace=False)
    spots = [((c % across + 0.5) / across, (c // across + 0.5) / across) for c in chosen]
    shift = rng.uniform(-0.02, 0.02, (count, 2))
    return [(float(x + dx), float(y + dy)) for (x, y), (dx, dy) in zip(spots, shift, strict=True)]


def _place(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.uniform(0.22, 0.78, 2)
    return float(x), float(y)


def _still(rng: np.random.Generator, thing: Thing, size: float, seconds: float) -> Sprite:
    place = _place(rng)
    return Sprite(thing, size, size, place, place, 0.0, seconds)


def _wanderer(
    rng: np.random.Generator, thing: Thing, size: float, *, start_s: float, end_s: float
) -> Sprite:
    return Sprite(thing, size, size, _place(rng), _place(rng), start_s, end_s)


def _acting(thing: Thing, verb: str, x: float, seconds: float) -> Sprite:
    """Rising, falling, growing and shrinking run to the last frame, one second before the end."""
    stretch = seconds / (seconds - 1)
    middle, size = (x, 0.5), PLAIN_SIZE
    if verb in ("rises", "falls"):
        y0, y1 = (0.85, 0.15) if verb == "rises" else (0.15, 0.85)
        return Sprite(thing, size, size, (x, y0), (x, y0 + (y1 - y0) * stretch), 0.0, seconds)
    if verb in ("grows", "shrinks"):
        s0, s1 = (0.08, 0.24) if verb == "grows" else (0.24, 0.08)
        return Sprite(thing, s0, s0 + (s1 - s0) * stretch, middle, middle, 0.0, seconds)
    return Sprite(thing, size, size, middle, middle, 0.0, seconds, manner=verb)


def _noise(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
