"""Sentences to calibrate a bundle with: ordinary ones for its bank, unlikely ones for the fit.

The bank stands for what people ask for in general; the unlikely ones for what a given library of
everyday videos does not hold. Written for finecut; no data set's captions are among them.
"""

from __future__ import annotations

import random

_SUBJECTS = (
    "a man|a woman|a child|two people|a group of friends|a dog|a cat|a bird|a horse|a car|a boy|"
    "a girl|a crowd|a player|a cook|a cyclist|an old man|a family|a young couple|a bus"
)
_ACTIONS = (
    "walking|sitting|talking to the camera|running|playing|standing|eating|looking at something|"
    "moving slowly|jumping|dancing|working|waiting|turning around|holding something"
)
_PLACES = (
    "in a park|in a kitchen|on a street|on the beach|in a room|on stage|in the snow|near water|"
    "in a forest|in an office|at a stadium|at night|in a garden|in a shop|on a mountain|indoors"
)
_THINGS = (
    "a guitar|a pizza|a computer|a phone|flowers|a mountain|an airplane|a ball|a cake|a painting|"
    "a sword|a robot|a house|trees|a river|a book|shoes|drums|a tractor|a bridge|fish|rain|fire|"
    "clouds|a map|a road|a television|a clock|a window|food on a plate|a bus|a knife|a hat|"
    "a cartoon|a video game|a race|a building|a boat|a baby|a face|hands|a dress|a motorcycle|"
    "a swimming pool|a city from above|a sunset|a text on a screen|a bottle|a table|a train"
)
_VIEWS = ("{}", "a video of {}", "close up of {}", "someone with {}", "{} outdoors")

_UNLIKELY = """
a submarine surfacing through the ice
a judge reading a verdict in court
a satellite being assembled in a clean room
a glass blower shaping a vase
a shepherd crossing a pass with a thousand sheep
an archaeologist brushing sand off a skull
a beekeeper opening a hive in protective clothing
a spreadsheet with yearly sales figures
a lighthouse in a storm at night
an electron microscope picture of a virus
a knight kneeling before a queen
a diver exploring a sunken ship
a monk ringing a temple bell at dawn
a dentist drilling a tooth
an opera singer bowing in front of a red curtain
a fencing duel with masks
a hot air balloon festival from the ground
a glacier breaking into the sea
an auctioneer selling an antique clock
a combine harvester in a wheat field at dusk
a blacksmith hammering glowing iron
a llama carrying sacks up a stone stair
the control room of a power station
a pilot in the cockpit of a jet over the desert
a chess tournament with clocks
a synchronised swimming team in formation
a moose standing in a motorway
a potter forming a bowl on a wheel
firefighters sliding down a pole
a flock of flamingos taking off from a salt lake
a tornado crossing farmland
a falconer with a hooded falcon
a bobsleigh in an ice channel
a steam engine in a museum of technology
a newborn elephant taking its first steps
a telescope dome opening under the stars
a stonemason carving a gargoyle
a pole vaulter clearing the bar
a cable car above a valley full of fog
a woman weaving a carpet on a loom
a printing press running off newspapers
a whale stranded on a sandbank
an ice sculpture of a swan
a tightrope walker between two towers
a gondola under a stone bridge in venice
sled dogs pulling across a frozen lake
a cheese maker turning wheels in a cellar
a proof on a blackboard full of equations
a spider wrapping a fly in its web
the assembly line of a car factory
a parachute opening above a drop zone
a bagpiper in a kilt in front of a castle
a rower alone on a lake at sunrise
an x-ray picture of a broken arm
a herd of bison in front of a geyser
a crane lifting a container off a ship
a coronation with crown and sceptre
a mole coming out of its hill
a lacrosse match in the rain
a wedding in a mosque
""".strip().splitlines()


def ordinary_queries(count: int = 480, seed: int = 0) -> list[str]:
    """Varied everyday sentences for a query bank: half who-does-what-where, half single things.

    >>> len(ordinary_queries(100)), ordinary_queries(100) == ordinary_queries(100)
    (100, True)
    """
    drawn = random.Random(seed)
    things = [view.format(thing) for thing in _THINGS.split("|") for view in _VIEWS]
    lists = [part.split("|") for part in (_SUBJECTS, _ACTIONS, _PLACES)]
    drawn.shuffle(things)
    made = dict.fromkeys(things[: count // 2])
    while len(made) < count:
        made[" ".join(drawn.choice(words) for words in lists)] = None
    return list(made)


def unlikely_queries() -> list[str]:
    """Sentences about things that hardly any library of everyday videos holds."""
    return list(_UNLIKELY)
