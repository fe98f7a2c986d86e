"""Draw each prediction as a tile. The digit and its caption are two sub-tasks, drawn in a pool and joined here."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..digits import SIDE, Digit, Prediction, Tile
from ..pipeline_core import SubTaskPoolWorker

PAPER, INK, GREY, RED = "#ffffff", "#1f2937", "#64748b", "#dc2626"
WIDTH, CAPTION, FRAME = 84, 24, 3  # pixels
SMOOTH = 6  # Everything is drawn so many times too large, then reduced.
EDGE = [round(255 * min(1.0, max(0.0, (grey / 255 - 0.25) / 0.4))) for grey in range(256)]  # From blurred to crisp.


@dataclass(frozen=True)
class Caption:
    """What stands below a digit: "7 98%"; or, white on red, "7→3 98%", when it was taken for a 7 and is a 3."""

    predicted: int
    truth: int
    confidence: float


class PostProcessingWorker(SubTaskPoolWorker[Prediction, Digit | Caption, Image.Image, Tile]):
    """The tile of a wrong prediction has a red frame."""

    def setup(self) -> None:
        self.font = ImageFont.load_default(15 * SMOOTH)  # Threads may share it.

    def split(self, item: Prediction) -> list[Digit | Caption]:
        return [item.digit, Caption(item.predicted, item.digit.truth, item.confidence)]

    def process_sub_task(self, sub: Digit | Caption) -> Image.Image:
        return draw_digit(sub) if isinstance(sub, Digit) else self.draw_caption(sub)

    def merge(self, item: Prediction, results: list[Image.Image]) -> Tile:
        digit, caption = results
        tile = Image.new("RGB", (WIDTH, WIDTH + CAPTION), PAPER)
        tile.paste(digit, (0, 0))
        tile.paste(caption, (0, WIDTH))
        if not item.right:
            ImageDraw.Draw(tile).rectangle((0, 0, WIDTH - 1, WIDTH + CAPTION - 1), outline=RED, width=FRAME)
        return Tile(item, tile)

    def draw_caption(self, caption: Caption) -> Image.Image:
        wrong = caption.predicted != caption.truth
        strip = Image.new("RGB", (WIDTH * SMOOTH, CAPTION * SMOOTH), RED if wrong else PAPER)
        draw = ImageDraw.Draw(strip)
        middle = CAPTION * SMOOTH / 2

        def write(x: int, text: str, colour: str, anchor: str) -> None:
            draw.text((x * SMOOTH, middle), text, colour, self.font, anchor)

        write(8, str(caption.predicted), PAPER if wrong else INK, "lm")
        if wrong:
            draw_arrow(draw, 18 * SMOOTH, 29 * SMOOTH, middle)
            write(31, str(caption.truth), PAPER, "lm")
        write(WIDTH - 7, f"{caption.confidence:.0%}", PAPER if wrong else GREY, "rm")
        return strip.reduce(SMOOTH)


def draw_digit(digit: Digit) -> Image.Image:
    """The digit in ink on paper, as smooth as a pen would draw it, with a margin of one of its pixels."""
    scan = Image.fromarray(np.pad(np.uint8(255 * digit.pixels).reshape(SIDE, SIDE), 1))
    large = scan.resize((WIDTH * SMOOTH, WIDTH * SMOOTH), Image.Resampling.BICUBIC)
    image = Image.new("RGB", (WIDTH, WIDTH), PAPER)
    image.paste(INK, (0, 0), large.point(EDGE).reduce(SMOOTH))
    return image


def draw_arrow(draw: ImageDraw.ImageDraw, start: float, end: float, y: float) -> None:
    """Pillow's own font has no arrow."""
    draw.line((start, y, end - SMOOTH, y), PAPER, width=SMOOTH + 2)
    head = 3.5 * SMOOTH
    draw.polygon([(end, y), (end - head, y - head), (end - head, y + head)], PAPER)
