from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.walk.harness import Walk


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    walk = Walk(tmp_path_factory.mktemp("walk"))
    try:
        yield walk.start()
    finally:
        walk.close()


@pytest.fixture
def walk(shared: Walk) -> Walk:
    """The one running station, ready and at rest."""
    shared.calm()
    return shared


@pytest.fixture
def make_walk(tmp_path: Path) -> Iterator[Callable[..., Walk]]:
    made: list[Walk] = []

    def make(**options: Any) -> Walk:
        made.append(Walk(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
