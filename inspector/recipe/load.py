"""From a recipe's file to a recipe that is ready to judge."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inspector.calibrate.scale import Scale, load_scale
from inspector.recipe.check import read_spec
from inspector.recipe.health import LEAST_SIDE_PX
from inspector.recipe.model import SECTION_NAMES, Spec, deadline_ms
from inspector.recipe.shelf import ArtefactError, Store, ToolShelf, Wish, state_of
from inspector.tool import DefectsTool, Tool
from inspector.wire import Shot
from inspector.yamlfile import FileError, YamlFile

SAYS_MAX = 100_000  # characters


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with its artefacts opened. ``sha`` covers its text and every artefact it took."""

    spec: Spec
    sha: str
    scales: Mapping[str, Scale]  # by the name of the source; without an entry lengths are px
    store: Store
    says: str = ""  # what its file says, as JSON text, for people who ask later; "" when that is longer than SAYS_MAX

    @property
    def number(self) -> int:
        """The number the PLC selects."""
        return self.spec.head.recipe

    @property
    def rev(self) -> int:
        """Revision."""
        return self.spec.head.rev

    @property
    def name(self) -> str:
        """Name for people."""
        return self.spec.head.name

    @property
    def deadline_ms(self) -> int:
        """Time from trigger to verdict, in ms."""
        return deadline_ms(self.spec.head.verdict.within)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras whose pictures it needs; empty: the station's only camera, whatever its name."""
        return tuple(dict.fromkeys(s.camera for s in self.spec.sources.values() if s.camera is not None))

    @property
    def shots(self) -> dict[str, tuple[Shot, ...]]:
        """What each camera has to take, in order ("": the station's only camera); empty without views."""
        found: dict[str, tuple[Shot, ...]] = {}
        for source in self.spec.sources.values():
            if source.view:
                found[source.camera or ""] = (*found.get(source.camera or "", ()), source.shot)
        return found

    @property
    def model_shas(self) -> dict[str, str]:
        """Digest of each model by its name."""
        return dict(self.store.model_shas)

    @property
    def backend(self) -> str:
        """What runs the models: cpu, tensorrt ...; empty without a model."""
        return self.store.backend

    @property
    def artefacts(self) -> dict[str, str]:
        """Digest of each file and model it took, by its name."""
        return dict(self.store.artefacts)

    @property
    def unchanged(self) -> bool:
        """The disk still holds the files this was made from, each of them."""
        return all(state is not None and state_of(path) == state for path, state in self.store.files.items())

    @property
    def keep(self) -> dict[str, int]:
        """Archive: 1 in N by outcome, 0 none."""
        return self.spec.head.verdict.keep.by_outcome

    @property
    def stop_line(self) -> int:
        """Ask the PLC to stop after so many equal rejects in a row; 0 never."""
        return self.spec.head.verdict.stop_line

    def mm_per_px(self, source: str) -> float | None:
        """Scale of a source's picture, None without calibration."""
        scale = self.scales.get(source)
        return scale.mm_per_px if scale else None

    @property
    def located_mm_per_px(self) -> float:
        """Scale of the picture that the first locate step looks at; 0 without such a step or a calibration."""
        first = next((tool for tool in self.spec.steps.values() if tool.section == "locate"), None)
        return 0.0 if first is None else self.mm_per_px(self.spec.source_of(first).name) or 0.0

    def prove(self) -> None:
        """Run every model on its package's reference again. Raises InspectionFault with what it gave."""
        self.store.prove()

    def close(self) -> None:
        """Free the models; calling it twice is harmless."""
        self.store.close()


def load_recipe(path: Path, *, backend: Wish = "auto", cache_dir: Path | None = None, threads: int = 1) -> LoadedRecipe:
    """Read, check and open a recipe; ``threads`` is for its models.

    Raises FileError with every problem, and AcceleratorLost when this process can't use its accelerator any more.
    """
    before = state_of(path)
    spec, file, problems = read_spec(path)
    if spec is None:
        raise FileError(problems)
    store = Store(path.parent, backend, cache_dir, threads)
    store.files[path] = before
    try:
        scales = _scales(spec, file, store, problems)
        for name, tool in spec.steps.items():
            source = spec.source_of(tool)
            scale = scales.get(source.name)
            if scale is None and source.calibration is not None:
                continue  # its calibration has a problem of its own
            problems += _open(file, name, tool, ToolShelf(store, scale, source.shot.count))
        problems += _patches(spec, file, scales)
        if problems:
            raise FileError(problems)
        return LoadedRecipe(spec, _sha(file, store), scales, store, _says(file))
    except BaseException:
        store.close()
        raise


def _scales(spec: Spec, file: YamlFile, store: Store, problems: list[str]) -> dict[str, Scale]:
    scales: dict[str, Scale] = {}
    for name, source in spec.sources.items():
        if source.calibration is None:
            continue
        try:
            scales[name] = load_scale(store.file(source.calibration)[0])
        except FileError as error:
            problems += [file.problem(source.calibration_at, problem) for problem in error.problems]
        except ArtefactError as error:
            problems.append(file.problem(source.calibration_at, str(error)))
    problems[:] = dict.fromkeys(problems)  # several views may share a calibration that can't be had
    return scales


def _patches(spec: Spec, file: YamlFile, scales: Mapping[str, Scale]) -> list[str]:
    """Patches that can't be looked at; where the picture's size isn't known, only their own size counts."""
    problems = []
    for name, patch in (spec.head.health.patches if spec.head.health else {}).items():
        if patch.fixture is not None:
            continue
        left, top, right, bottom = patch.region
        scale = scales.get(spec.patch_source(patch).name)
        width, height = scale.size_px if scale else (math.inf, math.inf)
        if min(right - left, bottom - top) < LEAST_SIDE_PX:
            text = f"{right - left:g}x{bottom - top:g} px, allowed: at least {LEAST_SIDE_PX}x{LEAST_SIDE_PX}"
        elif left < 0 or top < 0 or right > width or bottom > height:
            text = "it lies partly outside the picture" + (f", which is {width}x{height} px" if scale else "")
        else:
            continue
        problems.append(file.problem(["health", "patches", name, "region"], text))
    return problems


def _open(file: YamlFile, name: str, tool: Tool, shelf: ToolShelf) -> list[str]:
    where = (tool.section, name)
    try:
        tool.open(shelf)
    except ArtefactError as error:
        keys = [k for k, v in file.data[tool.section][name].items() if v == error.reference]
        return [file.problem([*where, *keys[:1]], str(error))]
    except ValueError as error:
        return [file.problem(where, str(error))]
    if not isinstance(tool, DefectsTool):
        return []
    labels = tool.labels()
    problems = [
        file.problem([*where, "reject", label], f"found {label!r}, allowed: {', '.join(labels)}")
        for label in tool.reject
        if label not in labels
    ]
    if missing := [label for label in labels if label not in tool.reject]:
        text = f"no limits for {', '.join(missing)}; allowed for each label: limits, or ignore"
        problems.append(file.problem([*where, "reject"], text))
    return problems


def _says(file: YamlFile) -> str:
    text = json.dumps(file.data, ensure_ascii=False, default=str)
    return text if len(text) <= SAYS_MAX else ""


def _sha(file: YamlFile, store: Store) -> str:
    """Over what the recipe says, not how its text is laid out; the order of steps counts, that of keys does not."""
    head = {k: v for k, v in file.data.items() if k not in SECTION_NAMES}
    steps = [[section, list((file.data.get(section) or {}).items())] for section in SECTION_NAMES]
    canonical = json.dumps([head, steps, store.artefacts], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()
