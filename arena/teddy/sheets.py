"""Contact sheets: the rendered picture of a caption above the drawn one, the caption below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 10, 3
CELL, GAP, TEXT, TITLE = 128, 8, 62, 40
PAPER, INK, QUIET = (255, 252, 246), (40, 34, 44), (110, 102, 116)


def contact_sheet(title: str, texts: Sequence[str], real: np.ndarray, drawn: np.ndarray) -> Image.Image:
    """A sheet of the first pictures, twice their size; `real` and `drawn` uint8 RGB (n, 3, 64, 64)."""
    shown = min(COLUMNS * ROWS, len(texts))
    rows = -(-shown // COLUMNS)
    block = 2 * CELL + 4 + TEXT + GAP
    sheet = Image.new("RGB", (GAP + COLUMNS * (CELL + GAP), TITLE + rows * block + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 9), title, INK, ImageFont.load_default(20))
    draw.text(
        (sheet.width - GAP, 14), "above: rendered · below: drawn by the model", QUIET, ImageFont.load_default(13), "ra"
    )
    for i in range(shown):
        left, top = GAP + (i % COLUMNS) * (CELL + GAP), TITLE + (i // COLUMNS) * block
        sheet.paste(_enlarged(real[i]), (left, top))
        sheet.paste(_enlarged(drawn[i]), (left, top + CELL + 4))
        label = textwrap.fill(texts[i], 25, max_lines=5, placeholder=" …")
        draw.multiline_text((left, top + 2 * CELL + 7), label, QUIET, ImageFont.load_default(10), spacing=1)
    return sheet


def picture_grid(images: np.ndarray) -> Image.Image:
    """The first pictures edge to edge, twice their size; `images` uint8 RGB (n, 3, 64, 64)."""
    shown = images[: COLUMNS * ROWS]
    grid = Image.new("RGB", (COLUMNS * CELL, -(-len(shown) // COLUMNS) * CELL), PAPER)
    for i, image in enumerate(shown):
        grid.paste(_enlarged(image), (i % COLUMNS * CELL, i // COLUMNS * CELL))
    return grid


def _enlarged(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image.transpose(1, 2, 0)).resize((CELL, CELL), Image.Resampling.LANCZOS)
