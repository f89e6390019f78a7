"""What the everyday verbs say, in English and Chinese. The English sentence is the key.

``FINECUT_LANGUAGE`` (en, zh) decides, else the locale of messages. Errors, ``--help`` and
``--json`` stay English: they are searched for, quoted in reports and read by programs.
"""

from __future__ import annotations

import os

ZH = {
    # search
    "understood as: {query}": "理解为：{query}",
    "Nothing found.": "没有找到。",
    "Nothing to search: no clip fits the filters.": "没有可搜索的内容：没有片段符合筛选。",
    "No good match. Best guesses:": "没有好的匹配。最接近的猜测：",
    "{n} clips searched in {ms} ms": "搜索了 {n} 个片段，用时 {ms} 毫秒",
    "strong": "很可能",
    "fair": "可能",
    "weak": "不太可能",
    # index
    "failed: {path}: {reason}: {message}": "失败：{path}：{reason}：{message}",
    "{n} of {files} failed": "{files} 个中 {n} 个失败",
    "Nothing to do: {n} files are indexed and unchanged.": "无需处理：{n} 个文件已索引且未改变。",
    "{n} files: {told}": "{n} 个文件：{told}",
    "{n} new": "新增 {n}",
    "{n} changed": "更改 {n}",
    "{n} moved": "移动 {n}",
    "{n} duplicates": "重复 {n}",
    "{n} removed": "移除 {n}",
    "{n} unchanged": "未变 {n}",
    "{n} with new words": "有新文字 {n}",
    "{n} failed": "失败 {n}",
    "{video} of video in {seconds} s ({rate}x real time), {size} per hour of video": (
        "{video} 的视频用时 {seconds} 秒（{rate} 倍实时），每小时视频占 {size}"
    ),
    "screen: {read} of {frames} frames had new text and were read": (
        "画面文字：{frames} 帧中有 {read} 帧出现新文字并已读取"
    ),
    "index: {path} (bundle {bundle})": "索引：{path}（bundle {bundle}）",
    "{n} videos are copies of one another: see finecut duplicates": (
        "{n} 个视频互为副本：见 finecut duplicates"
    ),
    "Stopped: {n} files are left; the same command goes on from here.": (
        "已停止：还剩 {n} 个文件；同一命令会从这里继续。"
    ),
    # serve
    "finecut is at {url}  (Ctrl-C stops it)": "finecut 在 {url}  （Ctrl-C 停止）",
}


def language() -> str:
    """ "zh" or "en", by FINECUT_LANGUAGE, else LC_ALL, LC_MESSAGES, LANG: the first that is set."""
    for name in ("FINECUT_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def t(english: str, **values: object) -> str:
    """A sentence in the language of messages, with ``{names}`` put in."""
    said = ZH.get(english, english) if language() == "zh" else english
    return said.format(**values)
