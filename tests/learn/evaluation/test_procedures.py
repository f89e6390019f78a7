"""CrossTask, COIN and moments, on videos whose seconds are known by their colour."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from finecut.errors import FinecutError, UsageError
from finecut.learn.data.folder import Folder
from finecut.learn.data.frames import Footage, read_frames
from finecut.learn.data.procedures import StepVideo
from finecut.learn.data.sampling import Sampling
from finecut.learn.evaluation import moments, procedures
from finecut.learn.evaluation.cache import PartCache
from finecut.learn.evaluation.procedures_run import evaluate_procedures, is_procedure
from finecut.learn.evaluation.run import Options, evaluate_run
from finecut.learn.evaluation.tokens import TokenParts
from finecut.learn.inputs.video import FrameNeeds
from finecut.learn.methods.protocol import Rerank, TextTokens, VideoTokens
from finecut.learn.steps import StepHits
from index.clips import write_video
from learn.evaluation.small_run import make_run

CHANNEL = {"red": 0, "green": 1, "blue": 2}


class Colours:
    """Frame tokens are mean colours, sentences are the colours they name."""

    reads = 0

    def encode_video(self, pixels: torch.Tensor, frame_mask: torch.Tensor) -> VideoTokens:
        self.reads += 1
        colour = pixels.mean(dim=(3, 4))
        return VideoTokens(colour.mean(1), colour, frame_mask)

    def encode_text(self, channel: torch.Tensor) -> TextTokens:
        embeds = torch.eye(3)[channel] * 3 - 1
        return TextTokens(embeds, embeds)


def words(sentences: list[str]) -> dict[str, torch.Tensor]:
    return {"channel": torch.tensor([CHANNEL[sentence] for sentence in sentences])}


@pytest.fixture(scope="module")
def crosstask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crosstask")
    tasks = ["7\nPaint\nhttp://x\n3\nred,blue,green\n", "8\nTurn\nhttp://x\n2\ngreen,red\n"]
    (root / "tasks_primary.txt").write_text("\n".join(tasks))
    write_video(root / "videos" / "a.mp4", ["red", "blue", "green"], seconds=2.0)
    write_video(root / "videos" / "b.mp4", ["red", "green"], seconds=3.0)
    (root / "annotations").mkdir()
    (root / "annotations" / "7_a.csv").write_text("1,0,2\n2,2.0,4.0\n3,4,6\n")
    (root / "annotations" / "8_b.csv").write_text("1,3,6\n2,0,3\n")  # not in the task's order
    (root / "annotations" / "8_gone.csv").write_text("1,0,1\n")
    return root


def seconds(root: Path) -> procedures.SecondsOf:
    return procedures.SecondsOf(Folder(root), 4, FrameNeeds(32, 4))


def test_steps_are_found_by_colour_and_order(crosstask: Path, tmp_path: Path) -> None:
    model, store = Colours(), PartCache(tmp_path, "a", ["b"])
    folder = Folder(crosstask)
    found = procedures.crosstask_figures(model, folder, seconds(crosstask), words, store=store)
    # b: green, then red, in a video that shows red first: one of the two steps can be right
    assert found["per_task"] == {"7": 100.0, "8": 50.0}
    assert (found["recall"], found["videos"], found["missing"]) == (75.0, 2, 1)
    assert model.reads == 2 + 2  # six seconds each, four at a time
    again = procedures.crosstask_figures(model, folder, seconds(crosstask), words, store=store)
    assert again == found and model.reads == 4  # nothing was encoded again


def test_every_second_is_one_token(crosstask: Path) -> None:
    windows = list(seconds(crosstask)("a"))  # type: ignore[arg-type]
    assert [int(w["frame_mask"].sum()) for w in windows] == [4, 2]
    assert all(w["pixels"].shape == (1, 4, 3, 32, 32) for w in windows)
    tokens = procedures.second_tokens(Colours(), iter(windows), None, "x", 0)
    assert tokens.argmax(dim=1).tolist() == [0, 0, 2, 2, 1, 1]
    assert seconds(crosstask)("nowhere") is None


def test_a_video_shorter_than_its_steps_finds_none() -> None:
    video = StepVideo("a", "7", ((0, 0, 1), (0, 2, 3), (1, 1, 2)))
    assert procedures.hits_of(video, np.zeros((1, 3), np.float32)) == StepHits(0, 2)


def test_released_features_are_read_a_second_a_row(crosstask: Path) -> None:
    np.save(crosstask / "feat.npy", np.arange(12, dtype=np.float32).reshape(6, 2))
    of = procedures.SecondsOf(Folder(crosstask), 4, None, 2)
    first, second = of("feat")  # type: ignore[misc]
    assert first["features"].shape == (1, 4, 2) and second["features"][0, 1].tolist() == [10, 11]
    with pytest.raises(FinecutError, match=r"expected features \[seconds, 5\], got \[6, 2\]"):
        list(procedures.SecondsOf(Folder(crosstask), 4, None, 5)("feat"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def coin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coin")
    database = {}
    for name, subset, colours in (
        ("t1", "training", ["red", "black"]),
        ("t2", "training", ["black", "blue"]),
        ("e1", "testing", ["blue", "black", "red"]),
        ("gone", "testing", ["red"]),
    ):
        if name != "gone":
            write_video(root / f"{name}.mp4", colours, seconds=2.0)
        pieces = [
            {"id": str(number), "label": colour, "segment": [2.0 * at, 2.0 * at + 2]}
            for at, colour in enumerate(colours)
            for number in [{"red": 1, "blue": 2}.get(colour)]
            if number
        ]
        database[name] = {
            "subset": subset, "class": "x", "duration": 2.0 * len(colours), "annotation": pieces,
        }  # fmt: skip
    (root / "COIN.json").write_text(json.dumps({"database": database}))
    return root


def test_seconds_are_labelled_by_a_linear_classifier(coin: Path) -> None:
    found = procedures.coin_figures(Colours(), Folder(coin), seconds(coin))
    assert found == {
        "frame_accuracy": 100.0, "classes": 3, "videos": 1, "training_videos": 2, "missing": 1,
    }  # fmt: skip


def test_nothing_there_is_an_error(coin: Path, crosstask: Path) -> None:
    with pytest.raises(UsageError, match="none of COIN's 2 training videos is there"):
        procedures.coin_figures(Colours(), Folder(coin), lambda _: None)
    with pytest.raises(UsageError, match="none of CrossTask's 3 videos is there"):
        procedures.crosstask_figures(Colours(), Folder(crosstask), lambda _: None, words)


@pytest.mark.parametrize("method", ["clip4clip-seqTransf", "eercf"])
def test_a_run_is_measured_on_both(
    method: str, crosstask: Path, coin: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", method)
    assert is_procedure([run], crosstask, "primary") and is_procedure([run], coin, "testing")
    assert not is_procedure([run], coin, "primary") and not is_procedure([run], coin, "test")
    found = evaluate_procedures(run, "primary", root=crosstask)
    assert 0 <= found["crosstask"]["recall"] <= 100 and found["standard"] is False
    assert "1 videos are missing" in found["why_not"]
    assert evaluate_procedures(run, "primary", root=crosstask, cache=False) == found
    found = evaluate_procedures(run, "testing", root=coin)
    assert found["coin"]["classes"] == 3 and found["method"] == method.split("-")[0]


# ---------------------------------------------------------------------- moments


class Timed:
    """One video of ten seconds and two sentences: its red, and its blue."""

    moments = ((0.0, 4.0), (6.0, 10.0))
    video_of_text = np.zeros(2, np.int64)
    sampling = Sampling(max_frames=10, rule="time")

    def __init__(self, path: Path) -> None:
        colours = ["red", "red", "green", "blue", "blue"]
        self.footage = [Footage((write_video(path, colours, seconds=2.0),))]


class Reads(Colours):
    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        sims = torch.einsum("qd,gfd->qgf", text.text_embeds, video.frame_embeds)
        return Rerank(sims.amax(-1), sims.softmax(dim=-1))


def test_moments_are_found_where_the_frames_match(tmp_path: Path) -> None:
    data, model = Timed(tmp_path / "v.mp4"), Reads()
    assert moments.has_times(data)
    times, end_s = moments.frame_times(data.footage[0], data.sampling)
    assert times.tolist() == pytest.approx(list(range(10)), abs=0.21) and end_s == 10.0
    pixels = read_frames(data.footage[0], data.sampling, 32).pixels
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2)[None].float() / 128 - 1
    video = TokenParts([model.encode_video(frames, torch.ones(1, 10, dtype=torch.bool))])
    text = TokenParts([model.encode_text(**words(["red", "blue"]))])
    found = moments.moment_figures(model, data, text, video)  # type: ignore[arg-type]
    # each moment is one frame too long on its inner side: IoU 4 of 5 seconds
    assert found is not None and found["queries"] == 2
    assert found["r_at_1_iou_0.7"] == 100.0 and found["miou"] == pytest.approx(80.0, abs=5)
    data.moments = ((5.0, 9.0), (0.0, 3.0))
    found = moments.moment_figures(model, data, text, video)  # type: ignore[arg-type]
    assert found is not None and found["r_at_1_iou_0.3"] == 0.0


def test_another_protocol_asks_for_sentences_and_their_moments(tmp_path: Path) -> None:
    root, times = tmp_path / "anet", [[0.0, 2.0], [2.0, 4.0]]
    annotations = {}
    for number in range(3):
        write_video(root / f"x{number}.mp4", ["red", "blue"], seconds=2.0, seed=number)
        annotations[f"v_x{number}"] = {
            "duration": 4.0, "timestamps": times, "sentences": ["Red.", "Then blue."],
        }  # fmt: skip
    (root / "val_1.json").write_text(json.dumps(annotations))
    (root / "val_ids.json").write_text(json.dumps(list(annotations)))
    run = make_run(tmp_path / "run", layout="activitynet")
    own = evaluate_run(run, "val1", root=root).to_json()
    assert own["protocol"] == "paragraph" and own["queries"] == 3 and "moments" not in own
    found = evaluate_run(run, "val1", root=root, options=Options(protocol="multi")).to_json()
    assert found["protocol"] == "multi" and found["queries"] == 6
    assert "protocol multi, published paragraph" in found["why_not"]
    assert found["moments"]["queries"] == 6 and 0 <= found["moments"]["miou"] <= 100
