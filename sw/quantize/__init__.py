"""Quantization.

In: a float network with calibration data, or a quantized graph. Out: a graph of int8 tensors, the precision that each
layer needs, and term budgets that keep a network's accuracy. Read ``calibration.py`` first.
"""

from sateen.quantize.assessment import Assessment, LayerNoise, assess
from sateen.quantize.calibration import quantize
from sateen.quantize.float_model import Quantized
from sateen.quantize.precision import bits_for, fullest_group, precision, value_ranges
from sateen.quantize.ranges import Calibration
from sateen.quantize.sources import quantize_file, quantize_network, quantize_source
from sateen.quantize.torch_float import quantize_torch
from sateen.quantize.tune import CANDIDATES, Tuning, term_pairs, tune, with_terms

__all__ = [
    "CANDIDATES",
    "Assessment",
    "Calibration",
    "LayerNoise",
    "Quantized",
    "Tuning",
    "assess",
    "bits_for",
    "fullest_group",
    "precision",
    "quantize",
    "quantize_file",
    "quantize_network",
    "quantize_source",
    "quantize_torch",
    "term_pairs",
    "tune",
    "value_ranges",
    "with_terms",
]
