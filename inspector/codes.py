"""System codes of the PLC contract (0-999). A recipe's own reject codes are 1000-9999."""

from __future__ import annotations

from enum import IntEnum

RECIPE_CODE_MIN = 1000
RECIPE_CODE_MAX = 9999


class Code(IntEnum):
    """Why a verdict is what it is, as the PLC sees it."""

    OK = 0
    DEFECT = 100
    ANOMALY = 101
    MISSING_FEATURE = 102
    OUT_OF_TOLERANCE = 103
    WRONG_PART = 104
    CAMERA_LOST = 200
    NO_FRAME = 201
    IMAGE_QUALITY = 202
    PART_NOT_FOUND = 203
    SEVERAL_PARTS = 204
    TIMEOUT = 300
    OVERRUN = 301
    INTERNAL_ERROR = 302
    RECIPE_INVALID = 303
    UNCERTAIN = 304
    STORAGE_FULL = 305
    BAD_COMMAND = 400
    RETAINED_OR_EXPIRED = 401
    NOT_READY = 402
    UNKNOWN_RECIPE = 403
    DUPLICATE_CONTENT = 404
    SELF_TEST = 500
    GOLDEN_FAILED = 501
    GOLDEN_CHECK = 502
    OFFLINE = 900

    @property
    def reason(self) -> str:
        """The contract's short reason, for example ``out_of_tolerance``."""
        return self.name.lower()


def reason_of(code: int, text: str = "") -> str:
    """Reason string for any code: the system's own name, or the recipe's words for 1000-9999."""
    try:
        return Code(code).reason
    except ValueError:
        return text or f"recipe_{code}"
