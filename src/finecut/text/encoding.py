"""Text of unknown encoding, as subtitle files are: read by marks, by UTF's own rules, else by which
of the old encodings makes the commonest letters of its languages out of the bytes.

A file of one language has most of its letters among a few; read in a wrong encoding they become
rare letters, symbols, or letters of another case. That needs no more than a list of common letters
for each encoding, is right from a line or two on, and can be looked into, unlike a trained model.
"""

from __future__ import annotations

import codecs
import unicodedata
from functools import cache
from typing import NamedTuple

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_BYTES = 1 << 12  # of lines that hold more than ASCII, which decide
ZEROS_PART = 0.3  # of the bytes at even (or odd) places that are zero in UTF-16 with Latin digits
DAMAGED_PART = 0.02  # of the letters of a UTF-8 file that may be broken
COMMON, USUAL, RARE, WRONG = 1.0, 0.6, 0.2, -1.0  # what a character counts for an encoding
COMMONEST = 16  # letters of an alphabet that make up most of a text; the next are usual ones


class _Candidate(NamedTuple):
    encoding: str
    common: str  # letters and signs
    scripts: tuple[str, ...]  # first words of the Unicode names of its other letters
    languages: str  # that are written in it, as file names call them


_HANS = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所"
    "然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与"
    "长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己"
    "身果加西月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题"
    "活更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直命山金指许保队形社便空决治展马科五基"
    "眼书非则听白却界达光放强即像难且权思王完色路记南住告类求程北边死张该交万取望觉领共确传师观清今让识候带争运笑"
    "吗呢吧谢请爱找快等啊哦她您谁怎"
)
_HANT = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所"
    "然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日軍者意無力它與"
    "長把機十民第公此已工使情明性知全三又關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己"
    "身果加西月話合回特代內信表化老給世位次度門任常先海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題"
    "活更別打女變四神總何電數安少報才結反受目太量再感建務做接必場件計管期市直命山金指許保隊形社便空決治展馬科五基"
    "眼書非則聽白卻界達光放強即像難且權思王完色路記南住告類求程北邊死張該交萬取望覺領共確傳師觀清今讓識候帶爭運笑"
    "嗎呢吧謝請愛找快等啊哦她您誰怎喔囉"
)
_CJK_SIGNS = "，。！？、：；“”‘’…—「」『』《》（）　～・"
_KANA = "".join(map(chr, range(0x3041, 0x3094))) + "".join(map(chr, range(0x30A1, 0x30F7))) + "ー"
_KANJI = (
    "日一人年大本中上生出事国会見行分気今何私言時思手前間後子彼知来者自方家心話女男名学校先所物食入"
    "車東京山水小高場合長当同開新聞好待使作最度死早体達君僕俺誰帰"
)
_HANGUL = (
    "이다는에을가고를의하은한지도로사기나그어리아라시서인자해만있으니들게것수대면내여거보일없우말데요네야너안무전정"
    "않주까오할제었했습당신저래좀뭐알왜겠같됐되돼잖죠구건걸군음세러려부마모란스생각람미동원와과못더잘때문또"
)
_CYRILLIC = "оеаинтсрвлкмдпуяыьгзбчйхжшюіїє—–«»№…„“”’"
_WEST = "éèàêçùâîôûëïöüäßñáíóúãõåøæœÉÀÖÜÄ¿¡«»’‘“”…–—°·€"
_CENTRAL = "ąćęłńóśźżáčďéěíňřšťúůýžőűăâîşţöüäßđÁÉÍČŠŽŁŚŻ„”“’…–—"
_TURKISH = "ğışçöüâîİŞÇÖÜ’‘“”…–—"
_BALTIC = "āčēģīķļņšūžąęėįųõäöü„“”’…–—"
_GREEK = "αοιετσνηυρπκμλςωδάέήίόύώ…–—«»’"
_HEBREW = "יוהלאמתשרבנםעדחקפסגכטזצןךףץ…–—’”"
_ARABIC = "اليمونرتبةعدسفهكقحجأإآى،؟"
_THAI = "านรอกเงมยลวดทสตะคปบผหชพ่้ัีิืุูไใแโๆ็์ำ"

_CANDIDATES = (
    _Candidate("gb18030", _HANS + _CJK_SIGNS, ("CJK",), "zh chs chi zho zh-hans zh-cn cn sc"),
    _Candidate("big5hkscs", _HANT + _CJK_SIGNS, ("CJK",), "zh cht chi zho zh-hant zh-tw tw hk tc"),
    _Candidate("cp932", _KANA + _KANJI + _CJK_SIGNS, ("CJK",), "ja jpn jp"),
    _Candidate("euc_jp", _KANA + _KANJI + _CJK_SIGNS, ("CJK",), "ja jpn jp"),
    _Candidate("cp949", _HANGUL + "…“”‘’", ("HANGUL",), "ko kor kr"),
    _Candidate("cp1251", _CYRILLIC, ("CYRILLIC",), "ru rus uk ukr bg bul sr srp mk be"),
    _Candidate("koi8_u", _CYRILLIC, ("CYRILLIC",), "ru rus uk ukr"),
    _Candidate("cp866", _CYRILLIC, ("CYRILLIC",), "ru rus"),
    _Candidate("cp1252", _WEST, ("LATIN",), "en eng fr fre de ger es spa pt por it ita nl sv no"),
    _Candidate("cp1250", _CENTRAL, ("LATIN",), "pl pol cs cze hu hun sk slo ro rum hr hrv sl slv"),
    _Candidate("cp1254", _TURKISH, ("LATIN",), "tr tur"),
    _Candidate("cp1257", _BALTIC, ("LATIN",), "lt lit lv lav et est"),
    _Candidate("cp1253", _GREEK, ("GREEK",), "el gre ell"),
    _Candidate("cp1255", _HEBREW, ("HEBREW",), "he heb iw"),
    _Candidate("cp1256", _ARABIC, ("ARABIC",), "ar ara fa per fas ur"),
    _Candidate("cp874", _THAI, ("THAI",), "th tha"),
)
_HINT = 0.25  # what the language in a file's name is worth


def decode_text(data: bytes, language: str = "") -> tuple[str, str]:
    """The text in some bytes, and the name of the encoding that was taken for it.

    Args:
        data: the file, or its beginning.
        language: as the file's name has it ("zh", "rus", …), which helps where two fit.

    >>> decode_text("Привет, как дела?".encode("cp1251"))
    ('Привет, как дела?', 'cp1251')
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace").lstrip("\ufeff"), name
    wide = _utf_16(data)
    if wide:
        return data.decode(wide, "replace"), wide
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if not broken:
        return text, "utf-8"
    sample = _sample(data)
    beyond = sum(character > "\x7f" for character in sample.decode("utf-8", "ignore"))
    if broken <= 1 + DAMAGED_PART * beyond and beyond > 4:
        return text, "utf-8"  # cut inside a letter, or a byte was hit
    name = _best(sample, language.lower())
    return data.decode(name, "replace"), name


def _utf_16(data: bytes) -> str | None:
    """UTF-16 without its mark: digits, times and spaces have a zero in every other byte."""
    start = data[:8192]
    half = len(start) // 2
    if not half:
        return None
    even, odd = start[0::2].count(0) / half, start[1::2].count(0) / half
    if odd > ZEROS_PART and even < 0.1 * odd:
        return "utf-16-le"
    return "utf-16-be" if even > ZEROS_PART and odd < 0.1 * even else None


def _sample(data: bytes) -> bytes:
    """The first lines that hold more than ASCII. No byte of a letter is a line feed in any of the
    encodings, so lines can be told apart before letters can."""
    lines: list[bytes] = []
    size = 0
    for line in data.split(b"\n"):
        if not line.isascii():
            lines.append(line[:2000])
            size += len(lines[-1])
            if size > SAMPLE_BYTES:
                break
    return b"\n".join(lines)


def _best(sample: bytes, language: str) -> str:
    best, name = -10.0, "cp1252"
    for candidate in _CANDIDATES:
        score = _fit(sample, candidate)
        if language and language in candidate.languages.split():
            score += _HINT
        if score > best + 1e-9:
            best, name = score, candidate.encoding
    return name


@cache
def _worth(candidate: _Candidate) -> dict[str, float]:
    """What the common characters of an encoding count. Of alphabets that fill the same bytes with
    other letters the commonest decide."""
    graded = candidate.scripts[0] not in ("CJK", "HANGUL", "LATIN")
    return {
        character: USUAL if graded and place >= COMMONEST else COMMON
        for place, character in enumerate(candidate.common)
    }


def _fit(sample: bytes, candidate: _Candidate) -> float:
    """How well the bytes read in an encoding, from -2 to 1 (every letter is a common one)."""
    text = sample.decode(candidate.encoding, "replace")
    worth = _worth(candidate)
    latin = candidate.scripts == ("LATIN",)
    alphabet = candidate.scripts != ("CJK",)
    total, count = 0.0, 0
    before, n_strange = "", 0
    for character in text:
        if character <= "\x7f":
            # Words of other alphabets hold no Latin letters: half a word read in a wrong encoding.
            if alphabet and not latin and character.isalpha() and n_strange:
                total += WRONG
            before, n_strange = character, 0
            continue
        count += 1
        if character in worth:
            total += worth[character]
        elif character == "\ufffd":
            total += 2 * WRONG
        else:
            name = unicodedata.name(character, "").split(" ")[0]
            capital = character.lower() in worth
            total += RARE * (2 if capital else 1) if name in candidate.scripts else WRONG
        if character.isalpha():
            if character.isupper() and before.islower():
                total += WRONG  # wrong readings turn small letters into capitals
            if alphabet and not latin and "A" <= before <= "z" and before.isalpha():
                total += WRONG
            n_strange += 1
            if latin and n_strange > 3:
                total += WRONG  # accented letters stand among plain ones
        else:
            n_strange = 0
        before = character
    return total / max(1, count)
