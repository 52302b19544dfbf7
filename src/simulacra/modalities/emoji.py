"""Captions of emoji: the Unicode names of the characters that their files are named by.

``emoji_u1f44d_1f3ff.png`` is "thumbs up sign, dark skin tone". Names are of the Unicode standard, lower-cased; joiners
and variation selectors say nothing, modifiers of skin have the short names of CLDR, and the letters of a flag stand
together ("flag de").
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

FILE = re.compile(r"emoji_u([0-9a-f]{2,6}(?:_[0-9a-f]{2,6})*)\.[a-z]+")
SILENT = frozenset({0x200D, 0xFE0E, 0xFE0F})  # the joiner, and whether to show text or a picture
SKIN = {0x1F3FB: "light", 0x1F3FC: "medium-light", 0x1F3FD: "medium", 0x1F3FE: "medium-dark", 0x1F3FF: "dark"}
FLAG_A = 0x1F1E6  # regional indicator symbol letter a

# of Unicode 15.0 and 16.0: with these the captions are the same whichever version a Python knows, from 14.0 on
LATER = {
    0x1F6DC: "wireless", 0x1FA75: "light blue heart", 0x1FA76: "grey heart", 0x1FA77: "pink heart",
    0x1FA87: "maracas", 0x1FA88: "flute", 0x1FA89: "harp", 0x1FA8F: "shovel", 0x1FAAD: "folding hand fan",
    0x1FAAE: "hair pick", 0x1FAAF: "khanda", 0x1FABB: "hyacinth", 0x1FABC: "jellyfish", 0x1FABD: "wing",
    0x1FABE: "leafless tree", 0x1FABF: "goose", 0x1FAC6: "fingerprint", 0x1FACE: "moose", 0x1FACF: "donkey",
    0x1FADA: "ginger root", 0x1FADB: "pea pod", 0x1FADC: "root vegetable", 0x1FADF: "splatter",
    0x1FAE8: "shaking face", 0x1FAE9: "face with bags under eyes", 0x1FAF7: "leftwards pushing hand",
    0x1FAF8: "rightwards pushing hand",
}  # fmt: skip


def is_emoji(path: str) -> bool:
    """Whether a file is named by code points, as Noto Emoji names its pictures."""
    return FILE.fullmatch(PurePosixPath(path).name) is not None


def caption_of(path: str) -> str | None:
    """The caption of such a file; None where a character of it has no name, as those of private use."""
    match = FILE.fullmatch(PurePosixPath(path).name)
    if match is None:
        return None
    points = [int(code, 16) for code in match[1].split("_")]
    letters = [chr(ord("a") + p - FLAG_A) for p in points if FLAG_A <= p < FLAG_A + 26]
    if len(letters) == len(points) > 1:
        return f"flag {''.join(letters)}"
    parts: list[str] = []
    for point in [p for p in points if p not in SILENT]:
        name = f"{SKIN[point]} skin tone" if point in SKIN else LATER.get(point) or _name(point)
        if name is None:
            return None
        parts.append(name)
    return ", ".join(parts) or None


def _name(point: int) -> str | None:
    return unicodedata.name(chr(point), "").lower() or None
