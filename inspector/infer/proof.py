"""Proof that a backend gives a package's reference outputs: by value, and by what is found at the thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.codes import Code
from inspector.infer.package import Package
from inspector.parts import InspectionFault

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]


@dataclass(frozen=True)
class Proof:
    """How near a backend came to the reference."""

    max_difference: float  # largest absolute difference of a probability
    agreement: dict[str, float]  # per label: overlap (IoU) of the masks at the threshold, over all inputs

    @property
    def worst_agreement(self) -> float:
        """The smallest overlap of all labels."""
        return min(self.agreement.values())


def prove(package: Package, run: Run) -> Proof:
    """Run every reference input. Raises InspectionFault with the numbers when the answers are others."""
    outputs = np.concatenate(
        [run({package.input.name: picture[None]})[package.output.name] for picture in package.reference_inputs]
    )
    proof = compare(package, outputs)
    limits = package.spec.reference
    # written so that a NaN fails
    if not proof.max_difference <= limits.tolerance:
        raise InspectionFault(
            Code.RECIPE_INVALID,
            f"Model {package.name} gives other answers here than its reference: differs by up to"
            f" {proof.max_difference:.4f}, allowed is {limits.tolerance:g}",
        )
    for label, agreement in proof.agreement.items():
        if not agreement >= limits.agreement:
            raise InspectionFault(
                Code.RECIPE_INVALID,
                f"Model {package.name} finds other defects here than its reference: {label} overlaps by"
                f" {agreement:.4f}, at least {limits.agreement:g} is allowed",
            )
    return proof


def compare(package: Package, outputs: Array) -> Proof:
    """How near ``outputs`` (N, labels, H, W) are to the package's reference outputs."""
    wanted = package.reference_outputs
    agreement: dict[str, float] = {}
    for channel, label in enumerate(package.labels):
        found, reference = outputs[:, channel] >= label.threshold, wanted[:, channel] >= label.threshold
        agreement[label.name] = float((found & reference).sum() / (found | reference).sum())
    return Proof(float(np.abs(outputs - wanted).max()), agreement)
