"""The judge process: judges the parts it is given by one recipe, one after another; others lie ready on its shelf.

Started by the station as ``python -m inspector.recipe.process --fd N --cache DIR --threads 1``. It answers every
message or dies; it never goes on with a recipe that it could not load.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from inspector import child
from inspector.codes import Code
from inspector.parts import Frame, FrameRef, Health, InspectionFault, Part, Trigger, Verdict
from inspector.pixels import decode
from inspector.recipe.judge import judge, judged
from inspector.recipe.load import LoadedRecipe, load_recipe
from inspector.recipe.shelf import AcceleratorLost, Wish
from inspector.ring import RingReader
from inspector.wire import Judge, Judged, Load, Loaded, LoadFailed, Looked, Ping, Prepare, Prepared, Prove, Proved, Stop
from inspector.yamlfile import FileError

IDLE_S = 1.0  # how long one wait for a message is
EXIT_POISONED = 3  # the accelerator is lost to this process; a new one may get it back

_log = logging.getLogger(__name__)
Look = Callable[[], tuple[Health, ...]]  # at the pictures, after the verdict has left


class JudgeProcess:
    """What the judge process knows: one loaded recipe, or none."""

    def __init__(self, channel: child.Channel, backend: Wish, cache_dir: Path | None, threads: int) -> None:
        self._channel = channel
        self._backend: Wish = backend
        self._cache_dir = cache_dir
        self._threads = threads
        self._recipe: LoadedRecipe | None = None
        self._shelf: dict[str, LoadedRecipe] = {}  # ready, by path; the one that judges may be among them
        self._rings = RingReader()
        self._lost = False  # the accelerator, while loading

    def run(self) -> int:
        """Answer messages until the station says stop or is gone; the exit status."""
        try:
            while True:
                message = self._channel.receive(IDLE_S)
                if isinstance(message, Ping):
                    self._channel.pong(message)
                elif isinstance(message, Load):
                    self._channel.send(self._load(message.path))
                    if self._lost:
                        return EXIT_POISONED
                elif isinstance(message, Prepare):
                    self._channel.send(self._prepare(message.path))
                    if self._lost:
                        return EXIT_POISONED
                elif isinstance(message, Prove):
                    self._channel.send(Proved(message.n, self._prove()))
                    if self._poisoned():
                        return EXIT_POISONED
                elif isinstance(message, Judge):
                    verdict, look = self._judge(message)
                    self._channel.send(Judged(verdict))
                    os.sched_yield()  # the station first, where it waits for this core: it has a verdict to tell
                    self._channel.send(Looked(message.part.seq, look()))
                    if self._poisoned():
                        _log.error("the accelerator failed; this process ends, a new one is needed")
                        return EXIT_POISONED
                elif isinstance(message, Stop):
                    return 0
                elif message is not None:
                    _log.error("message %s is not for a judge", message.kind)
        except EOFError:
            return 0  # nobody is left to answer to
        finally:
            self._drop()
            for recipe in self._shelf.values():
                recipe.close()

    def _poisoned(self) -> bool:
        return self._recipe is not None and self._recipe.store.poisoned

    def _drop(self) -> None:
        recipe, self._recipe = self._recipe, None
        if recipe is not None and all(lying is not recipe for lying in self._shelf.values()):
            recipe.close()

    def _prepare(self, path: str) -> Prepared:
        """Put it on the shelf, in the place of what lies there and is no longer what the disk holds."""
        lying = self._shelf.get(path)
        if lying is not None and lying.unchanged:
            return Prepared(path)
        made = self._made(path)
        if isinstance(made, str):
            return Prepared(path, made)
        self._put(path, made)
        return Prepared(path)

    def _put(self, path: str, made: LoadedRecipe) -> None:
        lying = self._shelf.get(path)
        self._shelf[path] = made
        if lying is not None and lying is not self._recipe:
            lying.close()

    def _made(self, path: str) -> LoadedRecipe | str:
        """The recipe, warmed up, or why it can't be had."""
        try:
            recipe = load_recipe(Path(path), backend=self._backend, cache_dir=self._cache_dir, threads=self._threads)
        except FileError as error:
            return str(error)
        except AcceleratorLost as fault:
            self._lost = True
            return f"{path}: {fault.text}"
        except Exception as error:  # the station must hear of it, whatever it is
            _log.error("loading %s broke: %s", path, traceback.format_exc())
            return f"{path}: loading broke: {type(error).__name__}: {error}"
        _warm_up(recipe)
        gc.unfreeze()  # a recipe that was dropped may lie there
        gc.collect()
        gc.freeze()  # what is here now stays: no collection looks through it again while a part waits
        return recipe

    def _load(self, path: str) -> Loaded | LoadFailed:
        self._drop()  # whatever comes now, the old recipe is over: it must not judge under the new one's name
        recipe = self._shelf.get(path)
        if recipe is None or not recipe.unchanged:
            made = self._made(path)
            if isinstance(made, str):
                return LoadFailed(path, made)
            if recipe is not None:
                self._put(path, made)
            recipe = made
        self._recipe = recipe
        return Loaded(
            path,
            recipe.number,
            recipe.rev,
            recipe.name,
            recipe.sha,
            recipe.deadline_ms,
            recipe.cameras,
            backend=recipe.backend,
            model_shas=recipe.model_shas,
            artefacts=recipe.artefacts,
            keep=recipe.keep,
            stop_line=recipe.stop_line,
            shots=recipe.shots,
            mm_per_px=recipe.located_mm_per_px,
            says=recipe.says,
        )

    def _prove(self) -> str:
        """What is not as it should be with the loaded recipe, "" when all is."""
        recipe = self._recipe
        if recipe is None:
            return "no recipe is loaded"
        try:
            recipe.prove()
            _warm_up(recipe)
        except InspectionFault as fault:
            return fault.text
        except Exception as error:
            _log.error("proving broke: %s", traceback.format_exc())
            return f"proving broke: {type(error).__name__}: {error}"[:200]
        return ""

    def _judge(self, order: Judge) -> tuple[Verdict, Look]:
        part, recipe = order.part, self._recipe
        try:
            if recipe is None:
                raise InspectionFault(Code.RECIPE_INVALID, "Not inspected: no recipe is loaded")
            if part.recipe_sha != recipe.sha:
                raise InspectionFault(
                    Code.RECIPE_INVALID,
                    f"Not inspected: the part is for recipe {part.recipe} ({part.recipe_sha[:12] or 'none'}), "
                    f"loaded is {recipe.number} ({recipe.sha[:12]})",
                )
            frames = [Frame(ref, decode(self._rings.read(ref), ref.pixel_format)) for ref in order.frames]
            verdict, look = judged(recipe, part, frames)
            if gone := [ref for ref in order.frames if not self._rings.still(ref)]:
                whose = f"view {gone[0].view}" if gone[0].view else f"camera {gone[0].camera}"
                text = f"Not inspected: the picture of {whose} was overwritten while it was judged"
                raise InspectionFault(Code.NO_FRAME, text)
            return verdict, look
        except InspectionFault as fault:
            return Verdict.not_inspected(part, fault), _nothing
        except Exception as error:  # one part is lost, not the line
            _log.error("judging part %d broke: %s", part.seq, traceback.format_exc())
            text = f"Not inspected: the judge broke: {type(error).__name__}: {error}"
            return Verdict.not_inspected(part, InspectionFault(Code.INTERNAL_ERROR, text[:200])), _nothing


def _nothing() -> tuple[Health, ...]:
    return ()


def _warm_up(recipe: LoadedRecipe) -> None:
    """Judge two made-up pictures, so that the first real part does not pay for first uses. What comes out is void."""
    rng = np.random.default_rng(1)
    trigger = Trigger("warm-up", "", 0, "", "operator")
    part = Part(0, "", "", trigger, recipe.number, recipe.rev, recipe.name, recipe.sha, 0)
    for _ in range(2):
        frames = []
        for name, source in recipe.spec.sources.items():
            scale = recipe.scales.get(name)
            width, height = scale.size_px if scale else (1280, 1024)
            image = rng.integers(0, 256, (height, width), dtype=np.uint8)
            exposure_us = source.shot.exposure_us or 0.0
            camera = source.camera or "camera"
            ref = FrameRef(camera, 0, "", 0, 0, width, height, "Mono8", exposure_us, 0.0, 0, 0, 0, view=source.view)
            frames += [Frame(replace(ref, shot=shot), image) for shot in range(source.shot.count)]
        judge(recipe, part, frames)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a child of the station."""
    parser = argparse.ArgumentParser(prog="inspector.recipe.process", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="socket to the station")
    parser.add_argument("--cache", type=Path, help="folder for built inference engines")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of OpenCV and of the models")
    parser.add_argument("--backend", choices=("auto", "cpu", "tensorrt"), default="auto", help="what runs models")
    options = parser.parse_args(arguments)
    channel = child.start(options.fd, "judge")
    cv2.setNumThreads(options.threads)
    return JudgeProcess(channel, cast("Wish", options.backend), options.cache, options.threads).run()


if __name__ == "__main__":
    sys.exit(main())
