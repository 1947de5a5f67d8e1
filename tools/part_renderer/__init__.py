"""Machined plates drawn from a seed, with their truth known exactly."""

from __future__ import annotations

from tools.part_renderer.drawing import DEFECT_KINDS, MM_PER_PX, DefectKind
from tools.part_renderer.rectify import rectify
from tools.part_renderer.render import mixed_run, render, render_nominal
from tools.part_renderer.stamp import read_stamp, write_stamp
from tools.part_renderer.template import Template, render_template
from tools.part_renderer.truth import Dimensions, Pose, Rendered, Truth

__all__ = [
    "DEFECT_KINDS",
    "MM_PER_PX",
    "DefectKind",
    "Dimensions",
    "Pose",
    "Rendered",
    "Template",
    "Truth",
    "mixed_run",
    "read_stamp",
    "rectify",
    "render",
    "render_nominal",
    "render_template",
    "write_stamp",
]
