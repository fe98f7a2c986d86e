"""Check a scanned digit and bring its pixels to the range that the model was trained on."""

from ..digits import INK, SIDE, Digit, RawDigit
from ..pipeline_core import BaseWorker


class PreProcessingWorker(BaseWorker[RawDigit, Digit]):
    """Raises ValueError for what is no digit: a wrong number of pixels, one out of range, or a blank page."""

    def process_item(self, item: RawDigit) -> Digit:
        pixels = item.pixels
        if pixels.shape != (SIDE * SIDE,):
            raise ValueError(f"digit {item.index} has the shape {pixels.shape}, not ({SIDE * SIDE},)")
        if not ((pixels >= 0) & (pixels <= INK)).all():  # NaN is not in range either.
            raise ValueError(f"digit {item.index} has pixels outside 0 to {INK:g}")
        if not pixels.any():
            raise ValueError(f"digit {item.index} is blank")
        return Digit(item.index, item.truth, item.held_out, pixels / INK)
