"""Language models: decoders of the Llama family, from a file to a text that a device writes.

In comes a file of llama2.c or GGUF, out comes text. Read ``decoder.py`` first, which says what such a model computes,
in floating point. There are two quantized forms. The first runs whole on a device: ``int8.py`` is its graph,
``int8_quantizing.py`` leads there, ``int8_decoder.py`` is the golden model, ``int8_program.py`` the device's program,
with ``int8_attention.py``, and ``int8_device.py`` what drives it. In the second the host does everything but the
products with constant weights, with more bits, and may give up or take back parts of the cache: ``integers.py`` is its
golden model, ``quantizing.py`` leads there, ``device.py`` has the products, ``eviction.py`` bounds the cache,
``lowrank.py`` cuts matrices. ``micro.py`` is a much smaller decoder, microGPT, which ``micro_training.py`` trains and
``micro_quantizing.py`` brings into the first form. ``writing.py`` chooses tokens, ``watching.py`` keeps what each one
looked at. ``sateen tell`` uses all of it.
"""

from sateen.language.decoder import FloatDecoder, Llama, Shape
from sateen.language.device import DeviceProducts, check_size, compile_products
from sateen.language.eviction import EvictingCache
from sateen.language.int8 import Int8Model
from sateen.language.int8_decoder import Int8Decoder
from sateen.language.int8_device import DeviceDecoder
from sateen.language.int8_program import DecoderProgram, device_refusal
from sateen.language.int8_quantizing import quantize_int8
from sateen.language.integers import Cache, Decoder, GoldenProducts, Products, Quantized
from sateen.language.loading import load
from sateen.language.micro import FloatMicro, Micro, load_micro
from sateen.language.micro_quantizing import quantize_micro
from sateen.language.quantizing import quantize, written
from sateen.language.sampling import sample, surprise
from sateen.language.tokenizer import Tokenizer
from sateen.language.watching import Look, Step, WatchedDecoder, WatchedInt8Decoder
from sateen.language.writing import Writer

__all__ = [
    "Cache",
    "Decoder",
    "DecoderProgram",
    "DeviceDecoder",
    "DeviceProducts",
    "EvictingCache",
    "FloatDecoder",
    "FloatMicro",
    "GoldenProducts",
    "Int8Decoder",
    "Int8Model",
    "Llama",
    "Look",
    "Micro",
    "Products",
    "Quantized",
    "Shape",
    "Step",
    "Tokenizer",
    "WatchedDecoder",
    "WatchedInt8Decoder",
    "Writer",
    "check_size",
    "compile_products",
    "device_refusal",
    "load",
    "load_micro",
    "quantize",
    "quantize_int8",
    "quantize_micro",
    "sample",
    "surprise",
    "written",
]
