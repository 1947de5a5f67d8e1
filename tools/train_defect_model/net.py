"""The network: a small U-Net at half resolution, with the normalisation inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _conv(inside: int, outside: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
    )


class Net(nn.Module):
    """Normalised grey (N, 1, H, W) to logits (N, labels, H, W); H and W are multiples of 16."""

    def __init__(self, labels: int) -> None:
        """Make an untrained net."""
        super().__init__()
        self.stem = nn.Sequential(_conv(1, 16, 2, 5), _conv(16, 16))
        self.down1 = nn.Sequential(_conv(16, 32, 2), _conv(32, 32))
        self.down2 = nn.Sequential(_conv(32, 48, 2), _conv(48, 48))
        self.down3 = nn.Sequential(_conv(48, 64, 2), _conv(64, 64))
        self.side2, self.side1, self.side0 = (nn.Conv2d(a, b, 1) for a, b in ((64, 48), (48, 32), (32, 16)))
        self.up2, self.up1, self.up0 = _conv(48, 48), _conv(32, 32), _conv(16, 16)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Sequential(nn.Conv2d(16, 4 * labels, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        a = self.stem(x)
        b = self.down1(a)
        c = self.down2(b)
        d = self.down3(c)
        c = self.up2(c + self.grow(self.side2(d)))
        b = self.up1(b + self.grow(self.side1(c)))
        a = self.up0(a + self.grow(self.side0(b)))
        logits: Tensor = self.head(a)
        return logits


def normalise(image: Tensor, mean: Tensor) -> Tensor:
    """Divide by the face's mean, so that the light's strength cancels."""
    return (image / (mean + 1.0) - 1.0) * 2.0


class Shipped(nn.Module):
    """What is exported: uint8 (1, 1, H, W) in, probabilities out."""

    def __init__(self, net: Net) -> None:
        """Wrap a trained net."""
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """Return the probabilities."""
        grey = image.to(torch.float32)
        return torch.sigmoid(self.net(normalise(grey, grey.mean(dim=(2, 3), keepdim=True))))
