"""Networks in plain PyTorch: those of MLPerf Tiny, and MobileNetV2."""

from __future__ import annotations

from typing import Any

import needs

torch = needs.package("torch", extra="torch")
nn, functional = torch.nn, torch.nn.functional


def initialized(module: Any, seed: int = 0) -> Any:
    """A module in evaluation mode with random weights, and batch normalization as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            for name, low, high in (("running_mean", -0.2, 0.2), ("running_var", 0.5, 2), ("bias", -0.2, 0.2)):
                getattr(part, name).data.uniform_(low, high, generator=generator)
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, generator=generator)
    return module.eval()


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(2))
        self.short = nn.Conv2d(before, after, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(self.norms[1](self.second(y)) + self.short(x))


class ResNet8(nn.Module):
    """The image classification network of MLPerf Tiny; ``width`` 16 is the original."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.last = nn.Linear(4 * width, 10)

    def forward(self, x):
        x = self.blocks(torch.relu(self.norm(self.first(x))))
        return self.last(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def _separable(before: int, after: int, stride: int = 1) -> list[Any]:
    return [
        nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False), nn.BatchNorm2d(before), nn.ReLU(),
        nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
    ]  # fmt: skip


class DsCnn(nn.Module):
    """The keyword spotting network of MLPerf Tiny, on spectrograms [1, 49, 10]; ``width`` 64 is the original."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, (10, 4), 2, (4, 1), bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2),
            *(part for _ in range(4) for part in _separable(width, width)), nn.Dropout(0.4),
        )  # fmt: skip
        self.last = nn.Linear(width, 12)

    def forward(self, x):
        x = self.body(x)
        x = functional.avg_pool2d(x, x.shape[2:])
        return functional.softmax(self.last(x.view(x.size(0), -1)), dim=1)


class Inverted(nn.Module):
    """An inverted residual of MobileNetV2."""

    def __init__(self, before: int, after: int, stride: int, expand: int):
        super().__init__()
        inner, parts = before * expand, []
        if expand > 1:
            parts += [nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(inplace=True)]
        parts += [nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner)]
        parts += [nn.ReLU6(inplace=True), nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after)]
        self.body, self.skips = nn.Sequential(*parts), stride == 1 and before == after

    def forward(self, x):
        return x + self.body(x) if self.skips else self.body(x)


class MobileNetV2(nn.Module):
    """MobileNetV2, with channels times ``width``."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    """(expansion, channels, blocks, stride of the first)."""

    def __init__(self, width: float = 1.0, classes: int = 1000, last: int = 1280):
        super().__init__()
        channels = self._channels(32, width)
        parts = [nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6(inplace=True)]
        for expand, wanted, count, stride in self.STAGES:
            after = self._channels(wanted, width)
            for place in range(count):
                parts.append(Inverted(channels, after, stride if place == 0 else 1, expand))
                channels = after
        parts += [nn.Conv2d(channels, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU6(inplace=True)]
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    @staticmethod
    def _channels(count: int, width: float) -> int:
        return max(8, int(count * width + 4) // 8 * 8)

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))
