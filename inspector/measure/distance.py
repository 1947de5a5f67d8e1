"""Distance between what two earlier steps found."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from inspector.parts import Located, Measured, Point, Shape
from inspector.tool import MeasureTool, Step, View


class Distance(MeasureTool):
    """Distance between the anchors of two earlier steps: hole centres, middles of widths, origins of parts."""

    looks: ClassVar[bool] = False

    tool: Literal["distance"]
    between: tuple[Step, Step] = Field(description="The two earlier measure or locate steps.")

    @field_validator("between")
    @classmethod
    def _two_steps(cls, between: tuple[str, str]) -> tuple[str, str]:
        if between[0] == between[1]:
            raise ValueError("allowed are two different steps")
        return between

    def references(self) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """See :meth:`Tool.references`."""
        yield from super().references()
        for step in self.between:
            yield "between", step, ("measure", "locate")

    def __call__(self, view: View) -> Measured:
        """Measure one picture."""
        ends: list[Point] = []
        variance = 0.0
        for step in self.between:
            anchor, std = _anchor(view.answers[step])
            if anchor is None:
                return Measured(None, view.unit, why=f"{step} has no point to measure from")
            ends.append(anchor)
            variance += std**2
        value = view.length(math.dist(*ends))
        return Measured(
            value, view.unit, uncertainty=math.sqrt(variance) or None, shapes=(Shape("line", (ends[0], ends[1])),)
        )


def _anchor(answer: object) -> tuple[Point | None, float]:
    """The point to measure from, and its standard deviation along one axis in the step's unit."""
    if isinstance(answer, Measured):
        # a circle's centre is known sqrt(2) better than its diameter; for a width's middle this is on the safe side
        return answer.anchor_px, (answer.uncertainty or 0.0) / math.sqrt(2)
    if isinstance(answer, Located) and answer.pose is not None:
        return (answer.pose.x_px, answer.pose.y_px), 0.0
    return None, 0.0
