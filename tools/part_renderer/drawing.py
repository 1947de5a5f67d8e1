"""The drawing of the plate: every nominal, tolerance and smallest defect, in one place.

Part frame: origin at the plate's top-left corner (where the top and the left edge would meet without the
chamfer), x to the right, y down, millimetres. Picture frame: pixel (column, row), the centre of the first
pixel is (0, 0); picture millimetres are pixels times MM_PER_PX.
"""

from __future__ import annotations

from typing import Literal, get_args

IMAGE_WIDTH_PX = 1280
IMAGE_HEIGHT_PX = 1024
MM_PER_PX = 0.06

PLATE_LENGTH_MM = 60.0
PLATE_WIDTH_MM = 40.0
CHAMFER_MM = 3.0  # legs of the cut-off top-left corner

BORE_DIAMETER_MM = 6.0
BORE_LEFT_MM = (12.0, 20.0)
BORE_RIGHT_MM = (48.0, 20.0)
SLOT_CENTRE_MM = (30.0, 30.0)
SLOT_LENGTH_MM = 14.0  # overall, along x, ends rounded
SLOT_WIDTH_MM = 4.0

CODE_CENTRE_MM = (30.0, 9.0)
CODE_SIZE_MM = 7.0
CODE_FIELD_MM = 9.0  # the light field the code is lasered on, its quiet zone included
CODE_TEXT = "PLATE-A"
OTHER_CODE_TEXT = "PLATE-B"

# The locating mark: an engraved arrow head with a ring left standing in it, and a bar beside it.
MARK_TRIANGLE_MM = ((4.4, 4.6), (11.0, 7.4), (4.4, 10.2))
MARK_RING_MM = (6.5, 7.4, 0.9)  # x, y, radius
MARK_BAR_MM = (9.4, 3.9, 13.0, 4.7)  # left, top, right, bottom
MARK_BOX_MM = (4.0, 3.5, 13.4, 10.6)

TEXT = "4711-0815 A"
TEXT_BOX_MM = (43.0, 30.4, 56.5, 32.4)

# What a good part may have (uniform within the limits).
PLATE_TOLERANCE_MM = 0.05
BORE_TOLERANCE_MM = 0.03
BORE_POSITION_TOLERANCE_MM = 0.01
SLOT_TOLERANCE_MM = 0.04

# Where a part may lie: shift of the plate's centre from the middle of the belt, and rotation about it.
MAX_SHIFT_MM = 6.0
MAX_ANGLE_DEG = 8.0
BELT_CENTRE_PX = (639.5, 503.5)  # half of what the stamp leaves free
STAMP_HEIGHT_PX = 16
PICTURE_MARGIN_PX = 4.0  # the whole plate stays this far inside the picture

# The smallest and the largest defect ever drawn. Contrasts are grey levels at the drawn object, before
# lighting, blur and noise.
HOLE_DEVIATION_MM = (0.12, 0.45)
SLOT_DEVIATION_MM = (0.15, 0.50)
SCRATCH_LENGTH_MM = (3.0, 18.0)  # of which at least the minimum lies on clear metal
SCRATCH_WIDTH_MM = (0.10, 0.30)
SCRATCH_CONTRAST = (25.0, 70.0)
STAIN_AREA_MM2 = (1.2, 12.0)
STAIN_CONTRAST = (20.0, 60.0)
BROKEN_DEPTH_MM = (1.5, 3.5)
BROKEN_WIDTH_MM = (3.0, 8.0)

# What is no defect, however large: the limits of nuisance on good parts.
MACHINING_MARK_CONTRAST = (2.0, 9.0)
MACHINING_MARK_WIDTH_MM = (0.06, 0.20)
SPECK_DIAMETER_MM = (0.06, 0.25)
SPECK_CONTRAST = (8.0, 25.0)
SMUDGE_CONTRAST = (2.0, 6.0)

DefectKind = Literal[
    "hole_big",
    "hole_small",
    "hole_missing",
    "slot_wide",
    "slot_narrow",
    "scratch",
    "stain",
    "broken_edge",
    "wrong_code",
]
DEFECT_KINDS: tuple[DefectKind, ...] = get_args(DefectKind)

# DataMatrix ECC 200 symbols, 14 x 14, one integer a row, most significant bit left, 1 is dark.
CODE_SYMBOLS: dict[str, tuple[int, ...]] = {
    CODE_TEXT: (
        0x2AAA, 0x2851, 0x2098, 0x2139, 0x2F22, 0x241D, 0x3034,
        0x3C0F, 0x3A46, 0x25C9, 0x2DD8, 0x2365, 0x3006, 0x3FFF,
    ),
    OTHER_CODE_TEXT: (
        0x2AAA, 0x2859, 0x2094, 0x2135, 0x2F4E, 0x24D1, 0x2026,
        0x3D3F, 0x3C8E, 0x2C21, 0x234A, 0x38E5, 0x3086, 0x3FFF,
    ),
}  # fmt: skip
CODE_MODULES = 14
