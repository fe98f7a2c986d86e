"""One picture of the held-out digits: every wrong prediction, then the right ones that the model was least sure of."""

from collections.abc import Sequence
from math import ceil

from PIL import Image, ImageDraw, ImageFont

from .digits import Tile
from .stages.post_processing import CAPTION, GREY, INK, RED, WIDTH

BACKGROUND = "#eef2f7"
COLUMNS, GAP, MARGIN, TITLE, HEADING = 14, 8, 36, 84, 54  # tiles in a row, then pixels
STEP_X, STEP_Y = WIDTH + GAP, WIDTH + CAPTION + GAP


def accuracy(tiles: Sequence[Tile]) -> float:
    """The share of right predictions, from 0.0 to 1.0."""
    return sum(tile.prediction.right for tile in tiles) / len(tiles)


def contact_sheet(tiles: Sequence[Tile], *, rows: int = 8) -> Image.Image:
    """`tiles` are the held-out ones; of those that are right, `rows` rows are shown."""
    by_doubt = sorted(tiles, key=lambda tile: tile.prediction.confidence)
    wrong = [tile for tile in reversed(by_doubt) if not tile.prediction.right]
    right = [tile for tile in by_doubt if tile.prediction.right][: rows * COLUMNS]
    sections = [
        (f"All {len(wrong)} wrong ones, the surest first; the arrow points to the truth", RED, wrong),
        (f"{len(right)} of the right ones, the least sure first", INK, right),
    ]
    height = TITLE + sum(HEADING + ceil(len(shown) / COLUMNS) * STEP_Y for _, _, shown in sections) - GAP + 2 * MARGIN
    sheet = Image.new("RGB", (COLUMNS * STEP_X - GAP + 2 * MARGIN, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    title = f"{accuracy(tiles):.1%} of {len(tiles)} held-out digits read right"
    draw.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(38))
    subtitle = "Each tile: a digit that the model was not trained on, what it was read as, and how sure the model was."
    draw.text((MARGIN, MARGIN + 54), subtitle, GREY, ImageFont.load_default(17))
    y = MARGIN + TITLE
    for heading, colour, shown in sections:
        draw.text((MARGIN, y + HEADING - 14), heading, colour, ImageFont.load_default(20), "ls")
        y += HEADING
        for place, tile in enumerate(shown):
            row, column = divmod(place, COLUMNS)
            sheet.paste(tile.image, (MARGIN + column * STEP_X, y + row * STEP_Y))
        y += ceil(len(shown) / COLUMNS) * STEP_Y
    return sheet
