"""The judgement of one part: a pure function of recipe, part and pictures.

The same function runs in the judge process, in ``inspector recipe try`` and in tests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from inspector.codes import Code
from inspector.parts import Check, CheckOutcome, Frame, InspectionFault, Located, Part, Pose, Verdict
from inspector.recipe.decide import checks_of, consequence, decide
from inspector.recipe.load import LoadedRecipe
from inspector.tool import Answer, Array, Tool, View, full_scale

_log = logging.getLogger(__name__)

# What counts as no usable picture; grey of 0..255 on every 8th pixel of every 8th row.
DARK_GREY = 10.0  # the brightest 1 % must be above it: lens cap, no light, no exposure
SATURATED_SHARE = 0.95  # so much at full scale: overexposed, or the light shines into the lens
FLAT_GREY = 4.0  # brightest 1 % less darkest 1 %: nothing is in the picture at all


def judge(recipe: LoadedRecipe, part: Part, frames: Sequence[Frame]) -> Verdict:
    """The verdict about one part; never raises for what a picture or a tool does.

    An InspectionFault makes it NOT_INSPECTED with the fault's code, any other exception of a tool
    NOT_INSPECTED with INTERNAL_ERROR, naming the step. Checks made before the fault stay in the verdict.
    """
    started = time.perf_counter_ns()
    walk = _Walk(recipe, part)
    fault: InspectionFault | None = None
    try:
        walk.take(frames)
        for name, tool in recipe.spec.steps.items():
            walk.step(name, tool)
    except InspectionFault as error:
        fault = error
    except Exception as error:  # a tool's bug or exhausted memory must cost one part, not the line
        _log.exception("step %s broke", walk.at)
        text = f"Not inspected: step {walk.at} broke: {type(error).__name__}: {error}"
        fault = InspectionFault(Code.INTERNAL_ERROR, text[:200])
    base = Verdict(part) if fault is None else Verdict.not_inspected(part, fault)
    made = replace(
        base,
        checks=tuple(walk.checks),
        frames=tuple(frame.ref for frame in frames),
        model_shas=recipe.model_shas,
    )
    if fault is None:
        made = decide(made, recipe.spec)
    stages = {**walk.stages_us, "judge": (time.perf_counter_ns() - started) // 1000}
    return replace(made, stages_us=stages)


@dataclass
class _Picture:
    frame: Frame
    image: Array
    cache: dict[str, Array] = field(default_factory=dict)


@dataclass
class _Walk:
    """What is known so far about the part being judged."""

    recipe: LoadedRecipe
    part: Part
    at: str = "pictures"
    checks: list[Check] = field(default_factory=list)
    stages_us: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    gone: dict[str, Check] = field(default_factory=dict)  # steps that others can't build on
    pictures: dict[str | None, _Picture] = field(default_factory=dict)  # by camera
    prepared: dict[str, _Picture] = field(default_factory=dict)  # by prepare step

    def take(self, frames: Sequence[Frame]) -> None:
        """Check the pictures. Raises InspectionFault."""
        by_camera = {frame.ref.camera: frame for frame in frames}
        if len(by_camera) != len(frames):
            raise InspectionFault(Code.NO_FRAME, "Not inspected: two pictures of one camera for one part")
        if not self.recipe.cameras and len(frames) != 1:
            raise InspectionFault(
                Code.NO_FRAME, f"Not inspected: {len(frames)} pictures, the recipe needs one of the only camera"
            )
        for camera in self.recipe.cameras or (None,):
            frame = next(iter(frames)) if camera is None else by_camera.get(camera)
            if frame is None:
                raise InspectionFault(Code.NO_FRAME, f"Not inspected: no picture of camera {camera}")
            scale = self.recipe.scales.get(camera)
            _sane(frame, scale.size_px if scale else None)
            self.pictures[camera] = _Picture(frame, frame.image)

    def step(self, name: str, tool: Tool) -> None:
        """Do one step and add its checks. Raises InspectionFault, or whatever the tool breaks with."""
        self.at = name
        cause = next((self.gone[target] for _, target, _ in tool.references() if target in self.gone), None)
        if cause is not None:
            self.gone[name] = cause
            self.checks.append(consequence(name, cause))
            return
        began = time.perf_counter_ns()
        answer = tool(self._view(tool))
        took_us = (time.perf_counter_ns() - began) // 1000
        self.answers[name] = answer
        if isinstance(answer, np.ndarray):
            self.stages_us[f"prepare.{name}"] = took_us
            self.prepared[name] = _Picture(self._picture(tool).frame, answer)
            return
        made = checks_of(name, tool, answer, self.part, self.recipe.spec.head.verdict)
        self.checks += [replace(check, took_us=took_us if n == 0 else 0) for n, check in enumerate(made)]
        if len(made) == 1 and made[0].outcome is CheckOutcome.MISSING:
            self.gone[name] = made[0]

    def _picture(self, tool: Tool) -> _Picture:
        if tool.picture is not None:
            return self.prepared[tool.picture]
        return self.pictures[self.recipe.spec.camera_of(tool)]

    def _view(self, tool: Tool) -> View:
        picture = self._picture(tool)
        pose = Pose(0.0, 0.0, 0.0)
        if tool.fixture is not None:
            located = self.answers[tool.fixture]
            if not isinstance(located, Located) or located.pose is None:
                raise TypeError(f"{tool.fixture} has no pose")
            pose = located.pose
        return View(
            picture.frame,
            self.part,
            pose,
            self.recipe.mm_per_px(self.recipe.spec.camera_of(tool)),
            self.answers,
            picture.image if tool.picture is not None else None,
            picture.cache,
        )


def _sane(frame: Frame, size_px: tuple[int, int] | None) -> None:
    """Raise InspectionFault for pixels that are no picture, or not the one that was calibrated."""
    ref, image = frame.ref, frame.image
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or image.size == 0:
        what = f"{image.dtype} pixels in {image.ndim} dimensions, allowed: uint8 or uint16, grey or RGB"
        raise _unfit(ref.camera, what)
    if image.ndim == 3 and image.shape[2] != 3:
        raise _unfit(ref.camera, f"{image.shape[2]} channels, allowed: 1 or 3")
    height, width = image.shape[:2]
    if (width, height) != (ref.width, ref.height):
        raise _unfit(ref.camera, f"{width}x{height} pixels, announced were {ref.width}x{ref.height}")
    if size_px is not None and (width, height) != size_px:
        raise _unfit(ref.camera, f"{width}x{height} pixels, but the calibration is for {size_px[0]}x{size_px[1]}")
    full = full_scale(frame)
    sample = image[::8, ::8].ravel()
    if np.count_nonzero(sample >= full) > SATURATED_SHARE * sample.size:
        raise _unfit(ref.camera, "overexposed: nearly all of it is at full scale")
    one = sample.size // 100
    ranked = np.partition(sample, (one, sample.size - 1 - one))
    dark, bright = float(ranked[one]) * 255 / full, float(ranked[sample.size - 1 - one]) * 255 / full
    if bright < DARK_GREY:
        raise _unfit(ref.camera, f"dark: grey {bright:.0f} of 255 at its brightest; is the light on?")
    if bright - dark < FLAT_GREY:
        raise _unfit(ref.camera, f"empty: all of it is grey {dark:.0f} of 255")


def _unfit(camera: str, what: str) -> InspectionFault:
    return InspectionFault(Code.IMAGE_QUALITY, f"Not inspected: the picture of camera {camera} is {what}")
