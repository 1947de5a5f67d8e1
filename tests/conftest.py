"""For all tests: generated examples have no time limit (machines are shared), and on a build server they are fixed."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("inspector", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("inspector")
