"""The judgement of one part: a pure function of recipe, part and pictures.

The same function runs in the judge process, in ``inspector recipe try`` and in tests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from inspector.codes import Code
from inspector.parts import Check, CheckOutcome, Frame, Health, InspectionFault, Located, Part, Pose, Verdict
from inspector.recipe.decide import checks_of, consequence, decide
from inspector.recipe.health import health_of
from inspector.recipe.load import LoadedRecipe
from inspector.recipe.model import Source
from inspector.tool import OF_VIEWS, Answer, Array, Prepared, Tool, View, full_scale

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
    verdict, look = judged(recipe, part, frames)
    began = time.perf_counter_ns()
    health = look()
    stages = {**verdict.stages_us, "health": (time.perf_counter_ns() - began) // 1000}
    return replace(verdict, health=health, stages_us=stages)


def judged(
    recipe: LoadedRecipe, part: Part, frames: Sequence[Frame]
) -> tuple[Verdict, Callable[[], tuple[Health, ...]]]:
    """The verdict as :func:`judge` finds it, and what tells the pictures' health: nobody need wait for that."""
    started = time.perf_counter_ns()
    walk = _Walk(recipe, part)
    refused: Verdict | None = None  # not the fault itself: its traceback would hold the pictures
    try:
        walk.take(frames)
        for name, tool in recipe.spec.steps.items():
            walk.step(name, tool)
    except InspectionFault as fault:
        refused = Verdict.not_inspected(part, fault)
    except Exception as error:  # a tool's bug or exhausted memory must cost one part, not the line
        _log.exception("step %s broke", walk.at)
        text = f"Not inspected: step {walk.at} broke: {type(error).__name__}: {error}"
        refused = Verdict.not_inspected(part, InspectionFault(Code.INTERNAL_ERROR, text[:200]))
    made = replace(
        refused or Verdict(part),
        checks=tuple(walk.checks),
        frames=tuple(frame.ref for frame in frames),
        model_shas=recipe.model_shas,
        pose=next((a.pose for a in walk.answers.values() if isinstance(a, Located) and a.pose is not None), None),
    )
    if refused is None:
        made = decide(made, recipe.spec)
    stages = {**walk.stages_us, "judge": (time.perf_counter_ns() - started) // 1000}
    return replace(made, stages_us=stages), walk.health


@dataclass
class _Picture:
    """What a tool works on: a view's pictures, or what a prepare step made of them."""

    shots: tuple[Frame, ...]
    prepared: Prepared | None = None
    cache: dict[str, Array] = field(default_factory=dict)

    @property
    def full_scale(self) -> int:
        return self.prepared.full_scale if self.prepared else full_scale(self.shots[0])


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
    pictures: dict[str, _Picture] = field(default_factory=dict)  # by source
    prepared: dict[str, _Picture] = field(default_factory=dict)  # by prepare step

    def take(self, frames: Sequence[Frame]) -> None:
        """Give each picture to its source. Raises InspectionFault for any that is missing, doubled or no picture."""
        spec = self.recipe.spec
        unfit: list[tuple[int, str]] = []
        for name, shots in _sorted_by_source(spec.sources, frames).items():
            source, scale = spec.sources[name], self.recipe.scales.get(name)
            try:
                if len(shots) < source.shot.count:
                    raise _missing(source, shots)
                for frame in shots:
                    _shape(frame, source, scale.size_px if scale else None)
            except InspectionFault as fault:
                unfit.append((fault.code, fault.text))
            else:
                self.pictures[name] = _Picture(shots)  # also beside one that is unfit: its health is known
        if unfit:
            raise InspectionFault(*unfit[0])
        for name, picture in self.pictures.items():
            if name not in spec.merged_only:
                for frame in picture.shots:
                    _levels(frame.image, picture.full_scale, _whose(spec.sources[name], frame))

    def health(self) -> tuple[Health, ...]:
        """How good the pictures are that came; nothing when that can't be told. Never raises."""
        frames = {name: picture.shots[0] for name, picture in self.pictures.items()}

        def see(source: str, frame: Frame, located: Located) -> View:
            pose = located.pose or Pose(0.0, 0.0, 0.0)
            return View(frame, self.part, pose, self.recipe.mm_per_px(source))

        try:
            return health_of(self.recipe.spec, frames, self.answers, see)
        except Exception:  # it must not cost a part
            _log.exception("the pictures' health can't be told")
            return ()

    def step(self, name: str, tool: Tool) -> None:
        """Do one step and add its checks. Raises InspectionFault, or whatever the tool breaks with."""
        self.at = name
        needed = [target for _, target, sections in tool.references() if sections != OF_VIEWS]
        cause = next((self.gone[target] for target in needed if target in self.gone), None)
        source = self.recipe.spec.source_of(tool)
        if cause is not None:
            self.gone[name] = cause
            self.checks.append(replace(consequence(name, cause), view=source.name))
            return
        picture = self.prepared[tool.picture] if tool.picture is not None else self.pictures[source.name]
        began = time.perf_counter_ns()
        answer = tool(self._view(tool, source, picture))
        took_us = (time.perf_counter_ns() - began) // 1000
        self.answers[name] = answer
        if isinstance(answer, np.ndarray | Prepared):
            self.stages_us[f"prepare.{name}"] = took_us
            self._prepare(name, tool, picture, answer)
            return
        made = checks_of(name, tool, answer, self.part, self.recipe.spec.head.verdict)
        self.checks += [
            replace(check, took_us=took_us if n == 0 else 0, view=source.name) for n, check in enumerate(made)
        ]
        if len(made) == 1 and made[0].outcome is CheckOutcome.MISSING:
            self.gone[name] = made[0]

    def _prepare(self, name: str, tool: Tool, of: _Picture, answer: Array | Prepared) -> None:
        if not isinstance(answer, Prepared):
            answer = Prepared(answer, 255 if answer.dtype == np.uint8 else of.full_scale)
        if any(sections == OF_VIEWS for _, _, sections in tool.references()):  # alone, they may not have been judged
            _levels(answer.image, answer.full_scale, f"the picture that step {name} made")
        self.prepared[name] = _Picture(of.shots, answer)

    def _view(self, tool: Tool, source: Source, picture: _Picture) -> View:
        pose = Pose(0.0, 0.0, 0.0)
        if tool.fixture is not None:
            located = self.answers[tool.fixture]
            if not isinstance(located, Located) or located.pose is None:
                raise TypeError(f"{tool.fixture} has no pose")
            pose = located.pose
        return View(
            picture.shots[0],
            self.part,
            pose,
            self.recipe.mm_per_px(source.name),
            self.answers,
            picture.prepared,
            picture.cache,
            picture.shots,
            {name: self.pictures[name].shots for _, name, sections in tool.references() if sections == OF_VIEWS},
        )


def _sorted_by_source(sources: Mapping[str, Source], frames: Sequence[Frame]) -> dict[str, tuple[Frame, ...]]:
    """Every source's pictures that came, in the order of their shots.

    Raises InspectionFault for any doubt whose they are.
    """
    only = next(iter(sources.values()))
    found: dict[tuple[str, str, int], Frame] = {}
    for frame in frames:
        ref = frame.ref
        source = sources.get(ref.source) if only.name else only
        if ref.view != (source.view if source else ""):
            raise _no_frame(f"a picture of view {ref.view or '(none)'} came, but the recipe has no such view")
        if source is None:
            if only.view and any(s.camera in (None, ref.camera) for s in sources.values()):
                raise _no_frame(f"a picture of camera {ref.camera} came that was planned for no view")
            continue  # a camera that this recipe doesn't look through
        if source.camera not in (None, ref.camera):
            raise _no_frame(f"the picture of {source.words} came from camera {ref.camera}")
        if ref.shot >= source.shot.count:
            raise _no_frame(f"picture {ref.shot + 1} of {source.words} came, planned were {source.shot.count}")
        if (source.name, ref.camera, ref.shot) in found:
            raise _no_frame(f"two pictures of {source.words if source.view else 'one camera'} for one part")
        found[source.name, ref.camera, ref.shot] = frame
    if not only.name and len(found) != 1:
        raise _no_frame(f"{len(found)} pictures, the recipe needs one of the only camera")
    if only.camera is None and len({camera for _, camera, _ in found}) > 1:
        raise _no_frame("pictures of several cameras, the recipe needs those of the only camera")
    shots: dict[str, tuple[Frame, ...]] = dict.fromkeys(sources, ())
    for name, camera, shot in sorted(found, key=lambda key: key[2]):
        shots[name] += (found[name, camera, shot],)
    return shots


def _missing(source: Source, shots: tuple[Frame, ...]) -> InspectionFault:
    count = source.shot.count
    first = next(n for n in range(count) if n >= len(shots) or shots[n].ref.shot != n)
    return _no_frame(f"no picture{f' {first + 1} of {count}' if count > 1 else ''} of {source.words}")


def _shape(frame: Frame, source: Source, size_px: tuple[int, int] | None) -> None:
    """Raise InspectionFault for pixels that are no picture, or not the one that was calibrated."""
    ref, image = frame.ref, frame.image
    whose = _whose(source, frame)
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or image.size == 0:
        what = f"{image.dtype} pixels in {image.ndim} dimensions, allowed: uint8 or uint16, grey or RGB"
        raise _unfit(whose, what)
    if image.ndim == 3 and image.shape[2] != 3:
        raise _unfit(whose, f"{image.shape[2]} channels, allowed: 1 or 3")
    height, width = image.shape[:2]
    if (width, height) != (ref.width, ref.height):
        raise _unfit(whose, f"{width}x{height} pixels, announced were {ref.width}x{ref.height}")
    if size_px is not None and (width, height) != size_px:
        raise _unfit(whose, f"{width}x{height} pixels, but the calibration is for {size_px[0]}x{size_px[1]}")


def _levels(image: Array, full: int, whose: str) -> None:
    """Raise InspectionFault for a picture in which nothing can be seen."""
    sample = image[::8, ::8].ravel()
    if np.count_nonzero(sample >= full) > SATURATED_SHARE * sample.size:
        raise _unfit(whose, "overexposed: nearly all of it is at full scale")
    one = sample.size // 100
    ranked = np.partition(sample, (one, sample.size - 1 - one))
    dark, bright = float(ranked[one]) * 255 / full, float(ranked[sample.size - 1 - one]) * 255 / full
    if bright < DARK_GREY:
        raise _unfit(whose, f"dark: grey {bright:.0f} of 255 at its brightest; is the light on?")
    if bright - dark < FLAT_GREY:
        raise _unfit(whose, f"empty: all of it is grey {dark:.0f} of 255")


def _whose(source: Source, frame: Frame) -> str:
    return f"the picture of {source.words if source.view else f'camera {frame.ref.camera}'}"


def _no_frame(what: str) -> InspectionFault:
    return InspectionFault(Code.NO_FRAME, f"Not inspected: {what}")


def _unfit(whose: str, what: str) -> InspectionFault:
    return InspectionFault(Code.IMAGE_QUALITY, f"Not inspected: {whose} is {what}")
