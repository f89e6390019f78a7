"""The bank of ordinary queries: what people might type, over everyday things, scenes and doings.

Written for this project; nothing in it is taken from a data set. Confidence is measured against
it: a clip that answers a query must stand out from what it is for these sentences.
"""

from __future__ import annotations

_THINGS = """
a red car; an old bicycle; a steam train; a fishing boat; a passenger plane; a yellow bus;
a motorcycle; a delivery truck; a tractor; a hot air balloon; a wooden chair; a laptop;
a mobile phone; a pile of books; a vase of flowers; a cup of coffee; a bowl of soup;
a slice of cake; a plate of pasta; a loaf of bread; a basket of fruit; a glass of wine;
a guitar; a piano; a drum kit; a violin; a camera on a tripod; a wristwatch; a pair of shoes;
a suitcase; an umbrella; a candle; a mirror; a clock tower; a stone bridge; a lighthouse;
a windmill; a castle; a church; a skyscraper; a wooden cabin; a tent; a swimming pool;
a fountain; a statue; a traffic light; a map; a painting; a television; a robot;
a cat; a small dog; a horse; a cow; a sheep; a flock of birds; an owl; a parrot; a duck;
a shark; a goldfish; a butterfly; a spider; a snake; an elephant; a lion; a bear; a monkey;
a kangaroo; a dinosaur; a tree; a cactus; a mushroom; a waterfall; a volcano; the moon;
a rainbow; snow on a roof; a campfire; a thunderstorm; a rocket launch; an empty road
"""
_PEOPLE = "a man; a woman; two friends; a child; a group of people; an old man; a young woman"
_DOINGS = """
cooking in a kitchen; riding a bicycle; swimming in the sea; playing football;
playing the guitar; singing on a stage; dancing at a wedding; driving a car; reading a newspaper;
writing at a desk; talking to the camera; walking along a beach; climbing a rock; skiing;
jumping over a fence; feeding a baby; washing a car; painting a wall; repairing an engine;
planting flowers; cutting hair; lifting weights; doing yoga; playing chess;
giving a speech; riding a horse; throwing a ball; opening a present; eating at a restaurant;
waiting for a bus; taking a picture; crossing the street; sleeping on a sofa; laughing
"""
_PLACES = """
a busy street at night; a quiet library; an airport hall; a football stadium; a supermarket;
a hospital corridor; a classroom; an office with computers; a workshop full of tools;
a farm; a forest in autumn; a desert; a snowy mountain; a lake at sunrise; a tropical island;
a city seen from above; a harbour; a railway station; a market; a museum; a church from inside;
a bathroom; a bedroom; a garden; a playground; a construction site; a factory; the sea floor;
outer space; a concert; a traffic jam; a parade
"""
_LOOKS = """
a close-up of a face; a close-up of hands; hands typing on a keyboard; a person seen from behind;
a slow motion shot; a black and white film; a cartoon character; a video game;
an animation; a news presenter in a studio; a weather map; a chart with numbers;
text on a screen; a logo on a white background; a view from a car window; a drone shot of a coast;
a recording of a computer screen; a time lapse of clouds; a blurry picture; a dark room;
fireworks; a crowd cheering; an interview; an advertisement; a music video; a cooking show
"""


def query_bank() -> list[str]:
    """Every thing, place and look once, and every doing with two kinds of people.

    >>> bank = query_bank()
    >>> len(bank) == len(set(bank)), bank[0], bank[-1]
    (True, 'a red car', 'a cooking show')
    """
    people, doings = _split(_PEOPLE), _split(_DOINGS)
    acts = []
    for i, doing in enumerate(doings):
        for step in (0, 3):
            who = people[(i + step) % len(people)]
            many = who.startswith(("two", "a group"))
            acts.append(f"{who} {'are' if many else 'is'} {doing}")
    return _split(_THINGS) + acts + _split(_PLACES) + _split(_LOOKS)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", " ").split(";")]
