"""Language models: decoders of the Llama family, from a file to a text that a device writes.

In comes a file of llama2.c or GGUF, out comes text. Read ``decoder.py`` first, which says what such a model computes,
in floating point; then ``integers.py``, the same in integers, which is the golden model, and ``quantizing.py``, which
leads from one to the other. ``device.py`` gives the products with constant weights to a device, ``writing.py`` chooses
tokens, ``watching.py`` keeps what each one looked at. ``eviction.py`` bounds the cache, ``lowrank.py`` cuts matrices.
``sateen tell`` uses all of it.
"""

from sateen.language.decoder import FloatDecoder, Llama, Shape
from sateen.language.device import DeviceProducts, check_size, compile_products
from sateen.language.eviction import EvictingCache
from sateen.language.integers import Cache, Decoder, GoldenProducts, Products, Quantized
from sateen.language.loading import load
from sateen.language.quantizing import quantize, written
from sateen.language.sampling import sample, surprise
from sateen.language.tokenizer import Tokenizer
from sateen.language.watching import Look, Step, WatchedDecoder
from sateen.language.writing import Writer

__all__ = [
    "Cache",
    "Decoder",
    "DeviceProducts",
    "EvictingCache",
    "FloatDecoder",
    "GoldenProducts",
    "Llama",
    "Look",
    "Products",
    "Quantized",
    "Shape",
    "Step",
    "Tokenizer",
    "WatchedDecoder",
    "Writer",
    "check_size",
    "compile_products",
    "load",
    "quantize",
    "sample",
    "surprise",
    "written",
]
