# ruff: noqa: E501
"""A few everyday lines in many languages, as subtitles have them, for tests of encodings."""

from __future__ import annotations

LINES: dict[str, tuple[str, ...]] = {
    "zh-hans": ("你好，请问你是谁？", "我不知道你在说什么。", "快走，我们没有时间了！", "他昨天已经去了东京塔。"),
    "zh-hant": ("你好，請問你是誰？", "我不知道你在說什麼。", "快走，我們沒有時間了！", "他昨天已經去了東京塔。"),
    "ja": ("ここで何をしているの？", "早く行かなきゃ！", "昨日、東京タワーに行きました。", "猫が好きですか。"),
    "ko": ("안녕하세요, 누구세요?", "무슨 말인지 모르겠어요.", "빨리 가자, 시간이 없어!", "어제 서울에 갔습니다."),
    "ru": ("Кто вы такой и что вам нужно?", "Я не знаю, о чём ты говоришь.", "Быстрее, у нас нет времени!"),
    "uk": ("Хто ви і що вам потрібно?", "Я не знаю, про що ти говориш.", "Швидше, у нас немає часу!"),
    "bg": ("Кой си ти и какво искаш?", "Не знам за какво говориш.", "Побързай, нямаме време!"),
    "fr": ("Qui êtes-vous et que voulez-vous ?", "Je ne sais pas où il a été.", "Ça va, c'est déjà arrivé."),
    "de": ("Wer sind Sie und was möchten Sie?", "Ich weiß nicht, worüber du sprichst.", "Schöne Grüße!"),
    "es": ("¿Quién es usted y qué quiere?", "Mañana estará aquí el señor.", "¡Rápido, no tenemos tiempo!"),
    "pt": ("Quem é você e o que é que quer?", "Não sei do que está a falar.", "As crianças já lá estão."),
    "sv": ("Vem är du och vad vill du ha?", "Jag vet inte vad du pratar om.", "Skynda på, vi måste gå!"),
    "pl": ("Kim pan jest i czego pan chce?", "Nie wiem, o czym mówisz, proszę.", "Szybciej, już późno, chodźmy!"),
    "cs": ("Kdo jste a co chcete?", "Nevím, o čem to mluvíš.", "Rychle, už nemáme čas, příteli!", "Děkuji vám."),
    "hu": ("Ki maga és mit akar tőlem?", "Nem tudom, miről beszélsz.", "Gyorsan, nincs időnk, nővérem!"),
    "ro": ("Cine eşti şi ce vrei de la mine?", "Nu ştiu despre ce vorbeşti.", "Repede, nu avem timp, fraţilor!"),
    "tr": ("Siz kimsiniz ve ne istiyorsunuz, değil mi?", "Neden bahsettiğini bilmiyorum.", "Çabuk, vaktimiz yok, kardeşim!"),
    "lt": ("Kas jūs ir ko norite?", "Nežinau, apie ką tu kalbi.", "Greičiau, mes neturime laiko, drauguži!"),
    "el": ("Ποιος είσαι και τι θέλεις;", "Δεν ξέρω για τι πράγμα μιλάς.", "Γρήγορα, δεν έχουμε χρόνο!"),
    "he": ("מי אתה ומה אתה רוצה?", "אני לא יודע על מה אתה מדבר.", "מהר, אין לנו זמן!"),
    "ar": ("من أنت وماذا تريد؟", "لا أعرف عما تتحدث.", "بسرعة، ليس لدينا وقت!"),
    "th": ("คุณเป็นใครและต้องการอะไร", "ฉันไม่รู้ว่าคุณพูดเรื่องอะไร", "เร็วเข้า เราไม่มีเวลาแล้ว"),
}  # fmt: skip
"""By language: lines of dialogue."""

OLD: tuple[tuple[str, str], ...] = (
    ("zh-hans", "gb18030"),
    ("zh-hant", "big5"),
    ("ja", "cp932"),
    ("ja", "euc_jp"),
    ("ko", "cp949"),
    ("ru", "cp1251"),
    ("ru", "koi8_r"),
    ("ru", "cp866"),
    ("uk", "cp1251"),
    ("bg", "cp1251"),
    ("fr", "cp1252"),
    ("de", "cp1252"),
    ("es", "cp1252"),
    ("pt", "cp1252"),
    ("sv", "cp1252"),
    ("pl", "cp1250"),
    ("cs", "cp1250"),
    ("hu", "cp1250"),
    ("ro", "cp1250"),
    ("tr", "cp1254"),
    ("lt", "cp1257"),
    ("el", "cp1253"),
    ("he", "cp1255"),
    ("ar", "cp1256"),
    ("th", "cp874"),
)
"""Languages in the encodings their subtitles came in before UTF-8."""


def srt(lines: tuple[str, ...], seconds: float = 2.0) -> str:
    """The lines as a SubRip file, one after another."""
    blocks = []
    for number, line in enumerate(lines):
        start, end = number * seconds, (number + 1) * seconds - 0.1
        blocks.append(f"{number + 1}\n{_clock(start)} --> {_clock(end)}\n{line}\n")
    return "\n".join(blocks)


def _clock(seconds: float) -> str:
    whole, part = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{part:03d}"
