"""Trains the digits network: ``python -m sateen.digits.train`` writes the weights that the package ships.

Training is deterministic: fixed seeds, one thread, and double precision. Differences in rounding between processors
stay near float32's resolution: a relative change of 1e-13 in every pixel moves no weight by more than 1e-7. Needs the
``train`` extra and half a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sateen.digits import NETWORK_FILE, load_data
from sateen.graph.network import BatchNorm, Conv2D, Flatten, FullyConnected, MaxPool2D, Network, Relu

__all__ = ["Digits", "Training", "export", "train"]

SEED = 0
EPOCHS = 40
BATCH = 52
"""Images in a batch: 1/25 of the training images."""
LEARNING_RATE = 0.01
WEIGHT_DECAY = 0.01
LABEL_SMOOTHING = 0.05
SHIFT = 1
"""In every epoch, each image is shifted by up to this many pixels."""


class Digits(nn.Module):
    """Two 3×3 convolutions, a max pool and a fully connected layer; NCHW."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16, eps=BatchNorm.epsilon)
        self.conv2, self.norm2 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32, eps=BatchNorm.epsilon)
        self.logits = nn.Linear(4 * 4 * 32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(self.norm2(self.conv2(x)))
        x = functional.max_pool2d(x, 2)
        # Flattened as NHWC, as the exported network does.
        return self.logits(x.permute(0, 2, 3, 1).flatten(1))


def _shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The images, each shifted by up to :data:`SHIFT` pixels."""
    padded = functional.pad(images, (SHIFT,) * 4)
    dy, dx = torch.randint(2 * SHIFT + 1, (2, len(images), 1, 1), generator=generator)
    rows, columns = torch.arange(8).view(1, 8, 1) + dy, torch.arange(8).view(1, 1, 8) + dx
    return padded[torch.arange(len(images)).view(-1, 1, 1), 0, rows, columns].unsqueeze(1)


def export(model: nn.Module, *, name: str = "digits") -> Network:
    """The network without PyTorch."""
    arrays = {name: value.numpy().astype(np.float32) for name, value in model.state_dict().items()}

    def conv(name: str) -> Conv2D:
        weights = np.ascontiguousarray(arrays[f"{name}.weight"].transpose(0, 2, 3, 1))
        return Conv2D(name=name, weights=weights, bias=arrays[f"{name}.bias"], padding=((1, 1), (1, 1)))

    def norm(name: str) -> BatchNorm:
        fields = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
        return BatchNorm(name=name, **{field: arrays[f"{name}.{source}"] for field, source in fields.items()})

    return Network(
        name=name,
        input_shape=(8, 8, 1),
        layers=[
            conv("conv1"),
            norm("norm1"),
            Relu(name="relu1"),
            conv("conv2"),
            norm("norm2"),
            Relu(name="relu2"),
            MaxPool2D(name="pool", size=(2, 2), stride=(2, 2)),
            Flatten(name="flatten"),
            FullyConnected(name="logits", weights=arrays["logits.weight"], bias=arrays["logits.bias"]),
        ],
    )


class Training:
    """The training images and the training loop, deterministic from construction on."""

    def __init__(self, *, seed: int = SEED):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        train_x, train_y, _, _ = load_data()
        self.images = torch.tensor(train_x, dtype=torch.float64).permute(0, 3, 1, 2)
        self.labels = torch.tensor(train_y)

    def fit(
        self,
        model: nn.Module,
        epochs: int,
        *,
        track: Callable[[Iterable[int], str], Iterable[int]] = lambda items, _: items,
    ) -> None:
        """Trains a model in place; ``track`` shows the progress."""
        images, labels, generator = self.images, self.labels, self.generator
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
        steps = epochs * (len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for _ in track(range(epochs), "epochs"):
            moved = _shifted(images, generator)
            for batch in torch.randperm(len(images), generator=generator).view(-1, BATCH):
                optimizer.zero_grad()
                functional.cross_entropy(model(moved[batch]), labels[batch], label_smoothing=LABEL_SMOOTHING).backward()
                optimizer.step()
                schedule.step()


def train(*, epochs: int = EPOCHS) -> Network:
    """Trains on the training images and returns the network."""
    training = Training()
    model = Digits().double()
    training.fit(model, epochs)
    return export(model)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digits network.")
    parser.add_argument("--output", type=Path, default=NETWORK_FILE, help="file to write (default: %(default)s)")
    output = parser.parse_args().output
    network = train()
    network.save(output)
    _, _, test_x, test_y = load_data()
    accuracy = np.mean(network.forward(test_x).argmax(axis=1) == test_y)
    print(f"{output}: {accuracy:.2%} of the test images")


if __name__ == "__main__":
    main()
