"""Every published annotation format, on small files written exactly as the originals are."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from finecut.learn.data.benchmark import AnnotationError
from finecut.learn.data.check import check
from finecut.learn.data.folder import Folder
from finecut.learn.data.procedures import read_coin, read_crosstask
from finecut.learn.data.readers import read, sniff
from finecut.learn.data.trecvid import judged_topic, read_qrels, read_topics, write_run
from finecut.learn.data.web_video import merge_speech


def put(root: Path, name: str, content: object) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def msrvtt(root: Path) -> None:
    videos = [
        {
            "id": i,
            "video_id": f"video{i}",
            "category": 3,
            "url": "https://example.org/watch?v=x",
            "start time": 1.5,
            "end time": 11.0,
            "split": split,
        }
        for i, split in enumerate(["train", "train", "validate", "test"])
    ]
    sentences = [
        {"sen_id": 2 * i + j, "video_id": f"video{i}", "caption": f"sentence {j} of {i}"}
        for i in range(4)
        for j in range(2)
    ]
    put(root, "MSRVTT_data.json", {"info": {}, "videos": videos, "sentences": sentences})
    put(root, "MSRVTT_train.9k.csv", "video_id\nvideo1\nvideo0\n")
    put(root, "MSRVTT_train.7k.csv", "video_id\nvideo0\n")
    put(
        root,
        "MSRVTT_JSFUSION_test.csv",
        "key,vid_key,video_id,sentence\n"
        "ret0,msr9770,video9770,a person is connecting something to system\n"
        'ret1,msr9771,video9771,"a little girl, in red, does gymnastics"\n',
    )


def msvd(root: Path) -> None:
    captions = {"-abc_1_5": [["a", "man", "runs"], ["someone", "runs"]], "x_2_4": [["a", "cat"]]}
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(captions, protocol=0))
    put(root, "train_list.txt", "x_2_4\n")
    put(root, "test_list.txt", "-abc_1_5\n\n")


def lsmdc(root: Path) -> None:
    line = "1004_Juno_00.00.32.161-00.00.37.960\t00.00.32.161\t00.00.37.960\t1\t2\t{}\n"
    text = (line.format("SOMEONE caf\xe9.") + line.format("She sits.")).encode("latin-1")
    (root / "LSMDC16_annos_training.csv").write_bytes(text)


def activitynet(root: Path) -> None:
    entry = {
        "duration": 82.73,
        "timestamps": [[0.83, 19.86], [17.37, 60.81]],
        "sentences": ["A young woman stands.", " She dances."],
    }
    put(root, "val_ids.json", ["v_uqiMw7tQ1Cc", "v_gone"])
    put(root, "val_1.json", {"v_uqiMw7tQ1Cc": entry})


def didemo(root: Path) -> None:
    name = "10052357@N03_7585070382_5762149bfc."
    entries = [
        {
            "annotation_id": i,
            "description": text,
            "times": times,
            "video": name,
            "dl_link": "https://example.org",
            "num_segments": 6,
        }
        for i, (text, times) in enumerate(
            [("a dog", [[0, 0], [0, 1], [0, 0]]), ("it runs", [[2, 3], [2, 3], [5, 5]])]
        )
    ]
    put(root, "test_data.json", entries)
    put(root, "test_list.txt", name + "\n")


def youcook2(root: Path) -> None:
    piece = {"id": 0, "segment": [41, 54], "sentence": "place the bacon slices"}
    entry = {
        "subset": "validation",
        "recipe_type": "226",
        "duration": 241.6,
        "video_url": "https://example.org",
        "annotations": [piece, {**piece, "id": 1, "segment": [60, 70]}],
    }
    put(root, "youcookii_annotations_trainval.json", {"database": {"xHr8X2Wpmno": entry}})


def vatex(root: Path) -> None:
    entries = [
        {"videoID": f"G9zN5TTuGO4_00017{i}_000189", "enCap": ["one", "two"], "chCap": ["一"]}
        for i in range(2)
    ]
    put(root, "vatex_validation_v1.0.json", entries)
    put(root, "test_list.txt", "G9zN5TTuGO4_000171_000189\n")


def tgif(root: Path) -> None:
    put(root, "tgif-v1.0.tsv", "https://x.org/a/tumblr_1.gif\ta man is glaring.\n")
    put(root, "splits/test.txt", "https://x.org/a/tumblr_1.gif\n")


def webvid(root: Path) -> None:
    put(
        root,
        "results_2M_val.csv",
        "videoid,contentUrl,duration,page_dir,name\n"
        "21179416,https://x.org/v.mp4,PT00H00M11S,006001_006050,Aerial shot of winter forest\n",
    )


def vindlu(root: Path) -> None:
    put(root, "msrvtt_ret_test1k.json", [{"video": "video7020.mp4", "caption": "a woman folds"}])


def mmaction2(root: Path) -> None:
    put(root, "test_JSFUSION.json", {"video7020.mp4": ["a woman folds", "paper is folded"]})


def laff(root: Path) -> None:
    put(root, "tv/TextData/tv.caption.txt", "v1#enc#0 a man\nv1#enc#1 he runs\nv2#enc#0 a car\n")
    put(root, "tv/VideoSets/tv.txt", "v2\nv1\n")


def asr(root: Path) -> None:
    put(
        root,
        "raw_caption.json",
        {
            "vid": {
                "start": [0, 3, 7],
                "end": [3, 7, 9],
                "text": ["cut it", " ".join("abcdefghij"), "ok"],
            }
        },
    )


def jsonl(root: Path) -> None:
    lines = [
        {"video": "a.mp4", "captions": ["one", "two"], "split": "train"},
        {"video": "b.mp4", "caption": "three", "split": "test", "start_s": 1, "end_s": 4},
    ]
    put(root, "mine.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


# (writer, what sniffing finds, (format, split), protocol, videos, captions of the first)
CASES: list[tuple[Callable[[Path], None], set, tuple[str, str], str, int, tuple[str, ...]]] = [
    (
        msrvtt,
        {
            ("msrvtt", s)
            for s in ("1k-A", "train-9k", "train-7k", "full-train", "full-val", "full-test")
        },
        ("msrvtt", "1k-A"),
        "single",
        2,
        ("a person is connecting something to system",),
    ),
    (msrvtt, set(), ("msrvtt", "train-9k"), "multi", 2, ("sentence 0 of 1", "sentence 1 of 1")),
    (msrvtt, set(), ("msrvtt", "full-val"), "multi", 1, ("sentence 0 of 2", "sentence 1 of 2")),
    (
        msvd,
        {("msvd", "train"), ("msvd", "test")},
        ("msvd", "test"),
        "multi",
        1,
        ("a man runs", "someone runs"),
    ),
    (lsmdc, {("lsmdc", "train")}, ("lsmdc", "train"), "multi", 1, ("SOMEONE café.", "She sits.")),
    (
        activitynet,
        {("activitynet", "val1")},
        ("activitynet", "val1"),
        "paragraph",
        1,
        ("A young woman stands.", "She dances."),
    ),
    (didemo, {("didemo", "test")}, ("didemo", "test"), "paragraph", 1, ("a dog", "it runs")),
    (
        youcook2,
        {("youcook2", "training"), ("youcook2", "validation")},
        ("youcook2", "validation"),
        "single",
        2,
        ("place the bacon slices",),
    ),
    (
        vatex,
        {("vatex", "validation"), ("vatex", "test-1k5")},
        ("vatex", "test-1k5"),
        "multi",
        1,
        ("one", "two"),
    ),
    (tgif, {("tgif", "test")}, ("tgif", "test"), "multi", 1, ("a man is glaring.",)),
    (
        webvid,
        {("webvid", "2M_val")},
        ("webvid", "2M_val"),
        "single",
        1,
        ("Aerial shot of winter forest",),
    ),
    (
        vindlu,
        {("vindlu", "msrvtt_ret_test1k")},
        ("vindlu", "msrvtt_ret_test1k"),
        "single",
        1,
        ("a woman folds",),
    ),
    (
        mmaction2,
        {("mmaction2", "test_JSFUSION")},
        ("mmaction2", "test_JSFUSION"),
        "multi",
        1,
        ("a woman folds", "paper is folded"),
    ),
    (laff, {("laff", "tv")}, ("laff", "tv"), "multi", 2, ("a car",)),
    (
        asr,
        {("asr", "all"), ("asr", "bags")},
        ("asr", "all"),
        "single",
        1,
        ("cut it a b c d e f g h i j ok",),
    ),
    (
        jsonl,
        {("jsonl", "mine:train"), ("jsonl", "mine:test")},
        ("jsonl", "mine:test"),
        "single",
        1,
        ("three",),
    ),
]


@pytest.mark.parametrize(
    ("write", "sniffed", "split", "protocol", "n_videos", "first"),
    CASES,
    ids=[f"{case[2][0]}-{case[2][1]}" for case in CASES],
)
def test_each_published_format_is_read(tmp_path, write, sniffed, split, protocol, n_videos, first):
    write(tmp_path)
    folder = Folder(tmp_path)
    assert not sniffed or set(sniff(folder)) == sniffed
    benchmark = read(folder, split[1], name=split[0])
    assert benchmark.protocol == protocol
    assert benchmark.n_videos == n_videos
    assert benchmark.items[0].captions == first


def test_the_number_of_formats():
    assert len({case[2][0] for case in CASES}) == 14


def test_msrvtt_never_has_just_test(tmp_path):
    msrvtt(tmp_path)
    with pytest.raises(AnnotationError, match="no split 'test'"):
        read(Folder(tmp_path), "test")


def test_didemo_chunks_become_seconds(tmp_path):
    didemo(tmp_path)
    item = read(Folder(tmp_path), "test").items[0]
    assert item.moments == ((0.0, 5.0), (10.0, 20.0))
    assert read(Folder(tmp_path), "test").pairs() == [(0, "a dog it runs")]


def test_lsmdc_files_lie_in_the_films_folder(tmp_path):
    lsmdc(tmp_path)
    item = read(Folder(tmp_path), "train").items[0]
    assert item.video == "1004_Juno/1004_Juno_00.00.32.161-00.00.37.960.avi"


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    msvd(tmp_path)
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps({"x_2_4": Evil()}))
    with pytest.raises(AnnotationError, match=r"asks for builtins\.print"):
        read(Folder(tmp_path), "train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("MSRVTT_JSFUSION_test.csv", "id,text\n1,a\n", "missing video_id, sentence"),
        ("val_1.json", "{", "not JSON"),
        ("val_1.json", {"v_a": {"duration": "x", "sentences": [], "timestamps": []}}, "duration"),
        ("LSMDC16_annos_val.csv", "a,b,c\n", "1 tab-separated columns, expected 6"),
        ("vatex_validation_v1.0.json", [{"videoID": 3}], "videoID must be str"),
        ("x.jsonl", '{"video": "a.mp4", "captions": 3}\n', "captions in line 1"),
    ],
)
def test_broken_files_say_where(tmp_path, name, content, message):
    put(tmp_path, name, content)
    folder = Folder(tmp_path)
    with pytest.raises(AnnotationError, match=message):
        for kind, split in sniff(folder):
            read(folder, split, name=kind)


def test_check_refuses_to_call_a_smaller_gallery_standard(tmp_path):
    rows = "".join(f"ret{i},msr{i},video{i},sentence {i}\n" for i in range(1000))
    put(tmp_path, "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence\n" + rows)
    for i in range(1000):
        put(tmp_path, f"videos/video{i}.mp4", "x")
    whole = check(Folder(tmp_path))[0]
    assert (whole.standard, whole.effective_gallery, whole.missing) == (True, 1000, ())
    (tmp_path / "videos" / "video7.mp4").unlink()
    less = check(Folder(tmp_path))[0]
    assert (less.standard, less.effective_gallery, less.missing) == (False, 999, ("video7",))
    assert less.why_not == "1 videos are missing"


def test_check_probes_videos_when_asked(tmp_path):
    put(tmp_path, "x.jsonl", '{"video": "a.mp4", "caption": "no video at all"}\n')
    put(tmp_path, "a.mp4", "this is text")
    found = check(Folder(tmp_path), probe=True)[0]
    assert [video for video, _ in found.undecodable] == ["a.mp4"]
    assert found.effective_gallery == 0


def test_crosstask_release(tmp_path):
    put(
        tmp_path,
        "tasks_primary.txt",
        "23521\nMake Jello Shots\nhttps://x.org\n2\nadd sugar,stir\n\n",
    )
    put(tmp_path, "annotations/23521_a_b.csv", "1,0.4,2.2\n2,3,5\n")
    data = read_crosstask(Folder(tmp_path))
    assert data.tasks[0].steps == ("add sugar", "stir")
    assert data.videos[0].video_id == "a_b"
    assert data.videos[0].steps == ((0, 0, 3), (1, 3, 5))


def test_coin_labels_seconds(tmp_path):
    annotation = [{"id": "214", "segment": [1.0, 3.0], "label": "wear contact lenses"}]
    entry = {"subset": "testing", "class": "Lenses", "duration": 4.2, "annotation": annotation}
    put(tmp_path, "COIN.json", {"database": {"vid": entry}})
    coin = read_coin(Folder(tmp_path), "testing")
    assert coin.labels == ("background", "wear contact lenses")
    assert coin.frame_labels(coin.videos[0]) == [0, 1, 1, 0, 0]


def test_trecvid_topics_judgements_and_runs(tmp_path):
    put(tmp_path, "tv16.avs.txt", "501 a person playing guitar outdoors\n502 a man indoors\n")
    put(tmp_path, "qrels", "1501 0 shot1_1 1 1\n1501 0 shot1_2 2 -1\n")
    topics, qrels = read_topics(tmp_path / "tv16.avs.txt"), read_qrels(tmp_path / "qrels")
    assert list(topics) == ["501", "502"]
    assert judged_topic("501", qrels) == "1501"
    assert judged_topic("502", qrels) is None
    assert [(j.stratum, j.relevance) for j in qrels["1501"]] == [(1, 1), (2, -1)]
    write_run(tmp_path / "run", {"501": [("shot1_1", 0.5)]})
    assert (tmp_path / "run").read_text() == "501 Q0 shot1_1 1 0.500000 finecut\n"


def test_bags_hold_what_is_said_nearby(tmp_path):
    asr(tmp_path)
    items = read(Folder(tmp_path), "bags").items
    assert [item.captions[0] for item in items] == ["cut it", " ".join("abcdefghij"), "ok"]
    assert items[1].captions == (" ".join("abcdefghij"), "ok", "cut it")  # 3 s and 3.5 s away
    assert items[0].end_s == 3.0


def test_speech_is_merged_until_it_says_something():
    pieces = [(i, i + 1, "one two three") for i in range(10)]
    merged = merge_speech(pieces, min_words=10)
    assert [len(text.split()) for _, _, text in merged] == [12, 18]
    assert (merged[0][0], merged[-1][1]) == (0.0, 10.0)
    assert merge_speech([(0, 1, "hi")], min_words=10) == [(0.0, 1.0, "hi")]


@pytest.mark.parametrize(
    ("split", "videos", "captions"), [("val", 1094, 4180), ("test", 1037, 4021)]
)
def test_real_didemo_files(shared, split, videos, captions):
    benchmark = read(Folder(shared / "data" / "annotations"), split, name="didemo")
    assert (benchmark.n_videos, benchmark.n_captions) == (videos, captions)


def test_real_qvhighlights_file(shared):
    benchmark = read(Folder(shared / "data" / "annotations"), "val", name="qvhighlights")
    assert benchmark.n_captions == 1550
