"""Made-up clips with captions of which one thing at a time matters: order, direction, small size.

Coloured shapes on a dark ground. Every task has its own kind of scene and of sentence, and clips
come in *groups* that differ in nothing but what the task is about, so that a model which does not
see it can only guess within the group:

    task        caption                                            a group
    still       a big red ring, a blue square and a small red cross one clip; nothing ever moves
    appearance  a red circle and a blue square                     one clip
    order       first a red circle then a blue square              both orders
    direction   a red circle moves left past a blue square         there and back
    small       a small red circle near a big blue square          4 small things, one big
    brief       a red circle appears beside a blue square          4 passing things, one lasting
    several     a red circle and a blue square                     the two colours swapped
    action      a red circle rises beside a blue square            another verb; another noun

Seeded, and every pair of things belongs to one split for good: what is tested was never trained on
in that combination, whatever the seeds. Letters: G clips, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finecut.errors import UsageError
from finecut.learn.data.synthetic_scene import Scene, render
from finecut.learn.data.synthetic_tasks import MAKERS, SPLITS, Split, Task

PATIENCE = 1000  # draws in a row without a new sentence: there is none, or hardly one


@dataclass(frozen=True)
class SyntheticClips:
    """One split of one task: clip i shows what sentence i says."""

    task: Task
    split: Split
    frames: NDArray[np.uint8]  # [G, F, side, side, 3] RGB; frame f is second f
    captions: tuple[str, ...]
    groups: NDArray[np.int64]  # [G] clips of one number differ only in what the task is about
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return len(self.captions)


def make_clips(
    task: Task,
    clips: int,
    *,
    split: Split = "train",
    seed: int = 0,
    frames: int = 8,
    side: int = 32,
) -> SyntheticClips:
    """Clips as arrays, one frame a second: what `finecut data synthetic` writes as files.

    Args:
        task: what matters; see the table above.
        clips: G. Groups are kept whole, so that fewer may come out than asked for, by less than
            a group.
        split: outside of training no sentence comes twice.
        seed: of everything but the division into splits.
        frames: F, at least 4; the clip lasts as many seconds.
        side: pixels, at least 16.

    Raises:
        UsageError: unknown task or split, impossible sizes, or more clips than there are
            different sentences.

    >>> two = make_clips("order", 2, split="test", frames=4, side=16)
    >>> two.frames.shape, two.captions[0].split()[0], two.groups.tolist()
    ((2, 4, 16, 16, 3), 'first', [0, 0])
    """
    scenes = make_scenes(task, clips, split=split, seed=seed, frames=frames)
    if side < 16:
        raise UsageError(f"side is {side} pixels, expected at least 16.")
    pixels = np.stack([render(scene, np.arange(frames), side) for scene in scenes])
    groups = np.array([scene.group for scene in scenes], dtype=np.int64)
    captions = tuple(scene.caption for scene in scenes)
    return SyntheticClips(task, split, pixels, captions, groups, tuple(scenes))


def make_scenes(
    task: Task, clips: int, *, split: Split = "train", seed: int = 0, frames: int = 8
) -> list[Scene]:
    """What the clips show, before anything is drawn; arguments as `make_clips`."""
    if task not in MAKERS:
        raise UsageError(f"task {task!r}; expected one of {', '.join(MAKERS)}.")
    if split not in SPLITS:
        raise UsageError(f"split {split!r}; expected one of {', '.join(SPLITS)}.")
    least = 1 if task == "still" else 4
    if frames < least:
        raise UsageError(f"frames is {frames}, expected at least {least} (one a second).")
    rng = np.random.default_rng([seed, list(MAKERS).index(task), SPLITS.index(split)])
    scenes: list[Scene] = []
    seen: set[str] = set()
    misses = 0
    while len(scenes) < clips:
        group = MAKERS[task](rng, split, float(frames), len(scenes))
        names = _names(task, group)
        if len({scene.caption for scene in group}) < len(group) or (
            split != "train" and names & seen
        ):
            misses += 1
            if misses > PATIENCE:
                raise UsageError(
                    f"{task} {split}: after {len(scenes)} clips no new sentence was found, asked "
                    f"were {clips}; ask for fewer."
                )
            continue
        if len(scenes) + len(group) > clips:
            if not scenes:
                raise UsageError(f"{task}: clips come in groups of {len(group)}, got {clips}.")
            break
        misses = 0
        seen |= names
        scenes += group
    return scenes


def _names(task: Task, group: list[Scene]) -> set[str]:
    """What may come once outside of training: a sentence, and the lasting thing of rivals, beside
    which a distractor of another group could pass for this group's answer."""
    names = {scene.caption for scene in group}
    return names | {str(group[0].sprites[0].thing)} if task in ("small", "brief") else names
