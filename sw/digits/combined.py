"""Trains the digits network for tiles with selects: ``python -m sateen.digits.combined`` writes the weights that the
package ships.

Joint optimization (:mod:`sateen.sparsity.joint`) continues the dense network's training, for tiles of 8 rows that
choose among 8 activations. It is as deterministic as :mod:`sateen.digits.train`, and takes a few minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from sateen.digits import COMBINED_FILE, load_data
from sateen.digits.train import EPOCHS, Digits, Training, export
from sateen.graph import Network
from sateen.hw.spec.config import parse_config
from sateen.sparsity.joint import ROUNDS, Track, combine_jointly

__all__ = ["CONFIG", "train"]

CONFIG = "small,combine=8"
"""The configuration whose tiles the network fits."""
REDUCTION = 6
"""Factor by which each layer takes fewer tiles."""
LAST_EPOCHS = 6 * EPOCHS
"""Epochs of the last round; the others are shorter."""


def train(
    *, checkpoint: Path | None = None, rounds: int = ROUNDS, epochs: int = EPOCHS // 2, show: bool = False
) -> Network:
    """Trains on the training images, dense and then combined, and returns the network."""
    training = Training()
    model = Digits().double()
    if checkpoint is None or not checkpoint.exists():
        training.fit(model, EPOCHS)

    def fit(model: torch.nn.Module, number: int, track: Track) -> None:
        # Each round has its own seed, so that a run that continues from a checkpoint gives the same result.
        Training(seed=number + 1).fit(model, LAST_EPOCHS if number == rounds - 1 else epochs, track=track)

    combine_jointly(
        model, fit, parse_config(CONFIG), rounds=rounds, reduction=REDUCTION, checkpoint=checkpoint, show=show
    )
    return export(model, name="digits-combined")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digits network for combined columns.")
    parser.add_argument("--output", type=Path, default=COMBINED_FILE, help="file to write (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, help="file to write after each round, and to continue from")
    options = parser.parse_args()
    network = train(checkpoint=options.checkpoint, show=True)
    network.save(options.output)
    _, _, test_x, test_y = load_data()
    accuracy = np.mean(network.forward(test_x).argmax(axis=1) == test_y)
    print(f"{options.output}: {accuracy:.2%} of the test images")


if __name__ == "__main__":
    main()
