"""Each physical change of the picture is named by its cause, soon, and before the recipe rejects a good part."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from inspector.parts import Outcome
from inspector.recipe.judge import judge
from inspector.recipe.load import LoadedRecipe, load_recipe
from inspector.station.causes import CHANGED, RULES
from tests.recipe.pictures import frame, part
from tests.station.healthrig import (
    LEARN,
    Change,
    Rig,
    ambient,
    as_is,
    blur,
    fog,
    gain,
    light,
    noise,
    parts,
    spot,
    tilt,
)

PAGE = Path(__file__).parents[2] / "docs/health.md"
PLATE = Path(__file__).parents[2] / "recipes/plate.yaml"


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger in which the limits of good production lie."""
    folder = tmp_path_factory.mktemp("learned")

    async def learn() -> None:
        rig = Rig(folder)
        assert await rig.run(LEARN) is None
        await rig.desk.keep()
        await rig.close()

    asyncio.run(learn())
    return folder / "ledger.db"


@pytest.fixture
async def rig(school: Path, tmp_path: Path) -> AsyncIterator[Rig]:
    shutil.copy(school, tmp_path / "ledger.db")
    rig = Rig(tmp_path)
    yield rig
    await rig.close()


STILL = (0.0, 0.0, 0.0)
CAUSES: list[tuple[str, Change, tuple[float, float, float], str, tuple[str, ...]]] = [
    ("light_low", light(0.88), STILL, "health", ("less light", "brightness -1", "lamp ages")),
    ("light_high", light(1.12), STILL, "health", ("more light", "brightness +1")),
    ("stray_light", ambient(14.0), STILL, "health", ("stray light", "brightness +")),
    ("ambient_low", ambient(-14.0), STILL, "health", ("light from elsewhere is missing", "brightness -")),
    ("focus", blur(2.0), STILL, "health", ("out of focus", "sharpness -")),
    ("knocked", blur(2.0), (12.0, 0.0, 0.0), "health", ("knocked", "sharpness -")),
    ("noise", noise(4.0), STILL, "health", ("more noise", "noise +")),
    ("gain_high", gain(2.0), STILL, "health", ("gain was raised",)),
    ("spot", spot(1070, 500, 150, 0.35), STILL, "health", ("dirt or a drop at right",)),
    ("reflection", spot(210, 500, 170, 2.2), STILL, "health", ("reflection", "at left")),
    ("uneven", tilt(0.25), STILL, "health", ("the light has been moved or turned",)),
    ("fogged", fog(0.6), STILL, "health", ("fogged or greasy", "contrast -")),
    ("dark", light(0.02), STILL, "health", ("no light",)),
    ("flat", fog(0.02), STILL, "health", ("nothing is in the picture",)),
    ("moved", as_is, (12.0, -14.0, 0.0), "position", ("px right", "px up", "fixture")),
    ("moved", as_is, (0.0, 0.0, -1.2), "position", ("deg turned anticlockwise",)),
]


@pytest.mark.parametrize(("kind", "change", "moved", "alarm", "words"), CAUSES, ids=[f"{c[0]}-{c[2]}" for c in CAUSES])
async def test_the_cause_is_named(
    rig: Rig, kind: str, change: Change, moved: tuple[float, float, float], alarm: str, words: tuple[str, ...]
) -> None:
    assert await rig.run(5) is None, "good production first"
    after = await rig.run(60, change, moved=moved)
    assert after is not None, "never seen"
    await rig.run(30, change, moved=moved, until_alarm=False)  # what is said later is right too
    (cause,) = [c for c in rig.desk.report()["causes"] if c["alarm"] == alarm]
    assert cause["kind"] == kind, (after, cause)
    text = rig.standing()[alarm]
    for word in words:
        assert word in text
    assert ("position" in rig.standing()) == (moved != STILL)
    (row,) = [a for a in rig.alarms.listed() if a.id == alarm]
    assert row.action == cause["action"] != "" and row.entry.priority == 2


async def test_good_production_stays_silent(rig: Rig) -> None:
    assert await rig.run(200) is None
    assert rig.said == []


def test_every_cause_is_named_once_and_says_what_to_do() -> None:
    kinds = [rule.kind for rule in (*RULES, CHANGED)]
    assert len(set(kinds)) == len(kinds)
    for rule in (*RULES, CHANGED):
        assert rule.says and rule.action and len(rule.action) <= 120, rule.kind
        assert f" | {rule.says} | {rule.action} |" in PAGE.read_text(encoding="utf-8"), rule.kind


@pytest.fixture(scope="module")
def plate() -> Iterator[LoadedRecipe]:
    loaded = load_recipe(PLATE, backend="cpu")
    yield loaded
    loaded.close()


async def test_a_fading_lamp_is_told_while_the_recipe_still_passes_every_good_part(
    rig: Rig, plate: LoadedRecipe
) -> None:
    factor = 1.0
    while not rig.standing() and factor > 0.5:  # 1 % in 20 parts: in 1000, as lamps do, the alarm comes no later
        factor -= 0.0005
        await rig.run(1, light(factor))
    assert set(rig.standing()) == {"health"} and "less light" in rig.standing()["health"]
    assert factor > 0.88
    darker = factor - 0.12  # and that much later still
    for n, (picture, _) in enumerate(parts()[:6]):
        image = np.clip(np.round(picture * darker), 0, 255).astype(np.uint8)
        verdict = judge(plate, part(sha=plate.sha), [frame(image)])
        assert verdict.outcome is Outcome.PASS, (n, darker, verdict.text)


async def test_the_real_judges_verdicts_are_charted(plate: LoadedRecipe, tmp_path: Path) -> None:
    rig = Rig(tmp_path, learn=6)
    for picture, _ in parts()[:6]:
        verdict = judge(plate, part(sha=plate.sha), [frame(picture.astype(np.uint8))])
        assert verdict.outcome is Outcome.PASS
        rig.desk.add(verdict)
        await rig.settle()
    report = rig.desk.report()
    assert report["learned"]["parts"] == 6 and report["learned"]["utc"]
    whats = [c["what"] for c in report["charts"]]
    assert whats == ["brightness", "contrast", "sharpness", "noise", "saturated", "x", "y", "angle"]
    dark = np.zeros_like(parts()[0][0], np.uint8)
    for _ in range(4):
        verdict = judge(plate, part(sha=plate.sha), [frame(dark)])
        assert verdict.outcome is Outcome.NOT_INSPECTED
        rig.desk.add(verdict)
    assert [c["kind"] for c in rig.desk.report()["causes"]] == ["dark"]
    await rig.close()
