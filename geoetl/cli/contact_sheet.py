"""One picture of many thumbnails, for people to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_CELL = 320
_LABEL = 44
_GAP = 16
_COLUMNS = 3
_BACKGROUND = (250, 250, 248)
_INK = (40, 40, 40)
_FAINT = (130, 130, 130)
#: Two greys that show where a thumbnail is transparent.
_CHECKS = ((238, 238, 238), (222, 222, 222))
_CHECK = 10


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail with two lines below it."""

    path: Path
    title: str
    caption: str


def write_contact_sheet(pictures: Sequence[Picture], target: Path) -> None:
    """Write a PNG of all pictures, three in a row."""
    columns = min(_COLUMNS, len(pictures)) or 1
    rows = -(-len(pictures) // columns)
    width = columns * (_CELL + _GAP) + _GAP
    height = rows * (_CELL + _LABEL + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    title_font, caption_font = ImageFont.load_default(15), ImageFont.load_default(12)
    for index, picture in enumerate(pictures):
        left = _GAP + (index % columns) * (_CELL + _GAP)
        top = _GAP + (index // columns) * (_CELL + _LABEL + _GAP)
        with Image.open(picture.path) as opened:
            thumbnail = opened.convert("RGBA")
        thumbnail.thumbnail((_CELL, _CELL))
        cell = _checkered(thumbnail.size)
        cell.alpha_composite(thumbnail)
        sheet.paste(cell.convert("RGB"), (left + (_CELL - thumbnail.width) // 2, top + _CELL - thumbnail.height))
        draw.text((left, top + _CELL + 6), picture.title, fill=_INK, font=title_font)
        draw.text((left, top + _CELL + 26), picture.caption, fill=_FAINT, font=caption_font)
    sheet.save(target)


def _checkered(size: tuple[int, int]) -> Image.Image:
    made = Image.new("RGBA", size, _CHECKS[0])
    draw = ImageDraw.Draw(made)
    for y in range(0, size[1], _CHECK):
        for x in range((y // _CHECK % 2) * _CHECK, size[0], 2 * _CHECK):
            draw.rectangle((x, y, x + _CHECK - 1, y + _CHECK - 1), fill=_CHECKS[1])
    return made
