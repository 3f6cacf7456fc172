"""The demonstration: a small convolutional network for handwritten digits, trained by :mod:`sateen.digits.train`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sateen.graph import Network

__all__ = ["COMBINED_FILE", "NETWORK_FILE", "load_data", "load_network"]

NETWORK_FILE = Path(__file__).with_name("digits.npz")
"""The trained float network."""
COMBINED_FILE = Path(__file__).with_name("combined.npz")
"""The network that :mod:`sateen.digits.combined` trains, for tiles with selects."""

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


def load_network(*, combined: bool = False) -> Network:
    """The trained float network: it takes (N, 8, 8, 1) of 0 to 1 and gives (N, 10) logits. ``combined`` chooses the one
    for tiles with selects."""
    return Network.load(COMBINED_FILE if combined else NETWORK_FILE)


def load_data() -> tuple[Images, Labels, Images, Labels]:
    """Images and labels for training, then those for testing; needs scikit-learn, which brings the data.

    1,300 and 497 images (N, 8, 8, 1) of 0 to 1, in a fixed split that keeps the proportions of the classes. The test
    images are for measuring accuracy only: neither training nor calibration sees them.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=497, stratify=labels, random_state=0)
    return train_x, train_y, test_x, test_y
