"""For all tests: generated examples have no time limit (machines are shared), and on a build server they are fixed.

Where tests run in several processes (`make test`), one that is marked ``alone`` waits until nothing runs beside it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.alone import room

settings.register_profile("inspector", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("inspector")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)  # the only process
    folder = Path(item.config.option.basetemp).parent  # of all workers of this run
    with room(folder, alone=item.get_closest_marker("alone") is not None):
        return (yield)
