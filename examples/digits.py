"""Compiles the demonstration's network for a configuration: ``python digits.py CONFIG OUTPUT.sateen``."""

from __future__ import annotations

import sys

import sateen
from sateen.digits import load_data, load_network


def main(config: str, output: str) -> None:
    train_x, *_ = load_data()
    sateen.compile(load_network(), config, calibration=train_x).save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
