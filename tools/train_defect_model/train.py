"""The training loop."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tools.train_defect_model.data import HEIGHT_PX, LABELS, WIDTH_PX, Faces
from tools.train_defect_model.net import Net, normalise

CROP_PX = 160
BATCH = 16


def _augment(face: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change the exposure and the tone curve, at times blur, as another camera or lamp would."""
    grey = np.arange(256) / 255.0
    curve = np.clip(grey ** rng.uniform(0.85, 1.18) * rng.uniform(0.7, 1.3) * 255.0, 0, 255)
    face = cv2.LUT(face, np.round(curve).astype(np.uint8))
    if rng.uniform() < 0.3:
        face = cv2.GaussianBlur(face, (3, 3), rng.uniform(0.3, 0.7))
    return face


def _corner(mask: NDArray[np.uint8], rng: np.random.Generator) -> tuple[int, int]:
    """Choose a crop: three times out of four one that shows a piece of the defect, if there is one."""
    top, left = int(rng.integers(0, HEIGHT_PX - CROP_PX + 1)), int(rng.integers(0, WIDTH_PX - CROP_PX + 1))
    if mask.any() and rng.uniform() < 0.75:
        rows, cols = np.nonzero(mask)
        i = int(rng.integers(0, len(rows)))
        top = int(np.clip(rows[i] - rng.integers(8, CROP_PX - 8), 0, HEIGHT_PX - CROP_PX))
        left = int(np.clip(cols[i] - rng.integers(8, CROP_PX - 8), 0, WIDTH_PX - CROP_PX))
    return top, left


def _batch(faces: Faces, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    inputs = np.empty((BATCH, 1, CROP_PX, CROP_PX), np.float32)
    means = np.empty((BATCH, 1, 1, 1), np.float32)
    masks = np.empty((BATCH, CROP_PX, CROP_PX), np.uint8)
    for k, i in enumerate(rng.integers(0, len(faces.images), BATCH)):
        face, mask = _augment(faces.images[i], rng), faces.masks[i]
        top, left = _corner(mask, rng)
        window = (slice(top, top + CROP_PX), slice(left, left + CROP_PX))
        noise = rng.standard_normal((CROP_PX, CROP_PX), dtype=np.float32) * np.float32(rng.uniform(0.0, 1.5))
        inputs[k, 0], means[k], masks[k] = face[window] + noise, face.mean(), mask[window]
    target = np.stack([masks == 1 + label for label in range(len(LABELS))], axis=1)
    x = normalise(torch.from_numpy(inputs), torch.from_numpy(means)).contiguous(memory_format=torch.channels_last)
    return x, torch.from_numpy(target).float()


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    entropy = functional.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor(3.0))
    p = torch.sigmoid(logits)
    overlap = (p * target).sum((0, 2, 3))
    dice = 1.0 - (2 * overlap + 20.0) / (p.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 20.0)
    return entropy * 4.0 + dice.mean()


def train(faces: Faces, steps: int, seed: int) -> Net:
    """Train a net for a number of steps; prints its progress."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Net(len(LABELS)).to(memory_format=torch.channels_last)  # twice as fast on a CPU
    print(f"{sum(p.numel() for p in net.parameters())} parameters", flush=True)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.15)
    shown = 0.0
    for step in range(1, steps + 1):
        inputs, target = _batch(faces, rng)
        loss = _loss(net(inputs), target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        shown += loss.item()
        if step % 50 == 0:
            print(f"step {step} of {steps}: loss {shown / 50:.4f}", flush=True)
            shown = 0.0
    net.eval()
    return net
