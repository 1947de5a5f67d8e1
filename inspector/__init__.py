"""Inspector: a visual inspection station whose every trigger gets exactly one verdict."""

from __future__ import annotations

__version__ = "0.1.0"
