from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acquire.rig import World
from tools.virtual_camera.control import build


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    build()


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**options: Any) -> World:
        made.append(World(tmp_path, **options))
        return made[-1]

    yield make
    for world in made:
        world.control.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
