"""A calibration file: how large a pixel is on the part, how well that is known, and until when it holds."""

from __future__ import annotations

import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from inspector.yamlfile import YamlFile, load


class Scale(BaseModel):
    """One camera's scale. It holds for one lens setting, one distance and one picture size."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    camera: str = Field(min_length=1, description="The camera it was made for.")
    mm_per_px: float = Field(gt=0, le=100, description="Size of a pixel on the part, in mm.")
    residual_px: float = Field(ge=0, description="RMS error of the calibration's points, in px.")
    size_px: tuple[int, int] = Field(description="Width and height of the picture it was made with.")
    method: str = Field(min_length=1, description="How it was made.")
    date: datetime.date = Field(description="The day it was made.")
    valid_until: datetime.date | None = Field(None, description="The last day it may be used.")


def load_scale(path: Path, today: datetime.date | None = None) -> Scale:
    """Read a calibration. Raises FileError, also when it is past its last day or dated in the future."""
    day = today or datetime.date.today()

    def dates(scale: Scale, file: YamlFile) -> list[str]:
        problems = []
        if scale.valid_until is not None and scale.valid_until < day:
            problems.append(file.problem(["valid_until"], f"found {scale.valid_until}, the calibration has expired"))
        if scale.date > day:
            problems.append(file.problem(["date"], f"found {scale.date}, allowed: not after today ({day})"))
        return problems

    return load(path, Scale, dates)
