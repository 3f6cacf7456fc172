"""Configurations: what is allowed, and what is said of what is not."""

import pytest

from sateen.hw.spec.config import PRESETS, Config, parse_config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS, OutputStream
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.nests import ACTIVATION_DIMS, OUTPUT_DIMS, Dim, steps


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"rows": 3},
            "rows must be a whole number from 4 to 64 "
            "(the accumulators need 4 cycles between two tiles of weights), not 3",
        ),
        ({"rows": 65}, "rows must be a whole number from 4 to 64"),
        ({"rows": 8.0}, "not 8.0"),
        ({"cols": 0}, "cols must be a whole number from 1 to 64, not 0"),
        ({"pe": "abacus"}, "pe must be one of mac, packed, bitserial, balanced, interleaved, term, not 'abacus'"),
        ({"pe": "packed", "cols": 5}, "cols must be a multiple of 2 (pairs with pe=packed), not 5"),
        ({"pe": "packed", "combine": 2}, "combine must be 1 with pe=packed, not 2"),
        ({"weight_bits": 1}, "weight_bits must be a whole number from 2 to 9, not 1"),
        (
            {"pe": "term", "weight_bits": 7},
            "weight_bits must be a whole number from 8 to 8 (pe=term keeps terms of them instead), not 7",
        ),
        ({"lanes": 9}, "lanes must be a whole number from 1 to 8 (cols), not 9"),
        ({"scratchpad_bytes": 16385}, "scratchpad_bytes must be a multiple of 8 (banks), not 16385"),
        ({"scratchpad_bytes": 1 << 21}, "scratchpad_bytes must be a whole number from 128 to 1048576"),
        ({"weight_bytes": 65537}, "weight_bytes must be a multiple of 8 (weight_word_bytes × weight_rows), not 65537"),
        ({"weight_bytes": 65544, "weight_rows": 2}, "must be a multiple of 16 (weight_word_bytes × weight_rows)"),
        ({"weight_rows": 4}, "weight_rows must be 1 or 2 with rows=8, combine=1 and pe=mac, not 4"),
        ({"weight_rows": 2, "combine": 2}, "weight_rows must be 1 with rows=8, combine=2 and pe=mac, not 2"),
        ({"weight_rows": 2, "pe": "term"}, "weight_rows must be 1 with rows=8, combine=1 and pe=term, not 2"),
        ({"products": 2}, "products must be a whole number from 0 to 1, not 2"),
        ({"products": 1}, "weight_bits must be 9 with products=1, not 8"),
        ({"products": 1, "weight_bits": 9, "pe": "bitserial"}, "pe must be mac with products=1, not 'bitserial'"),
        (
            {"products": 1, "weight_bits": 9, "multipliers": 32},
            "multipliers must be none with products=1, one for each PE, not 32",
        ),
        ({"weights_per_byte": 3}, "weights_per_byte must be 1, 2 or 4, not 3"),
        (
            {"weights_per_byte": 2, "weight_bits": 5},
            "weights_per_byte must be 1 with combine=1 and weight_bits=5, not 2; 2 in a byte have 4 bits or fewer",
        ),
        (
            {"weights_per_byte": 4, "weight_bits": 2, "combine": 2},
            "weights_per_byte must be 1 with combine=2 and weight_bits=2, not 4; 4 in a byte have 2 bits or fewer",
        ),
        (
            {"weights_per_byte": 2, "weight_bits": 4, "weight_rows": 2},
            "rows must be a whole number from 16 to 64 (four times weight_rows × weights_per_byte), not 8",
        ),
        (
            {"weights_per_byte": 2, "weight_bits": 4, "rows": 9},
            "rows must be a multiple of 2 (weight_rows × weights_per_byte), not 9",
        ),
        (
            {"weights_per_byte": 2, "weight_bits": 4, "engine": "sequential", "lanes": 1},
            "weights_per_byte must be 1 with engine=sequential, not 2",
        ),
        ({"weight_rows": True}, "weight_rows must be a whole number from 1 to 4, not True"),
        ({"overlap": 2}, "overlap must be a whole number from 0 to 1, not 2"),
        ({"overlap": 1, "engine": "sequential", "lanes": 1}, "overlap must be 0 with engine=sequential, not 1"),
        ({"lutram": 1, "engine": "sequential", "lanes": 1}, "lutram must be 0 with engine=sequential, not 1"),
        ({"link": "spi"}, "link must be one of uart, usb, ethernet, not 'spi'"),
        ({"positions": 100}, "positions must be a power of two, not 100"),
        ({"descriptors": 0}, "descriptors must be a whole number from 1 to 255, not 0"),
        ({"frame_bytes": 200}, "frame_bytes must be a power of two, not 200"),
        ({"baud": 50_000_000}, "baud must be a whole number from 300 to 12500000 (clock_hz / 8), not 50000000"),
        ({"clock_hz": 10}, "clock_hz must be a whole number from 1000000 to 1000000000, not 10"),
        ({"multipliers": 65}, "multipliers must be a whole number from 0 to 64 (rows × cols), not 65"),
        ({"multipliers": True}, "multipliers must be a whole number"),
    ],
)
def test_rejects(fields, message):
    with pytest.raises(ValueError) as error:
        Config(**fields)
    assert message in str(error.value)


@pytest.mark.parametrize("name", PRESETS)
def test_identity_round_trip(name):
    identity = Identity(PRESETS[name], "abc")
    assert Identity.decode(identity.encode()) == identity


@pytest.mark.parametrize(
    ("data", "message"),
    [
        *((data, "not Sateen's") for data in (b"", b"\xff" * 100, b"{}", b"[1]", b"[" * 100_000)),
        (b'{"sateen":99,"build":"","config":{}}', "speaks format 99"),
        (b'{"sateen":3,"build":1,"config":{}}', "names its build 1"),
        (b'{"sateen":3,"build":"","config":7}', "a configuration must be a dictionary of its fields, not 7"),
        (b'{"sateen":3,"build":"","config":{"pe":[]}}', r"pe must be one of .*, not \[\]"),
    ],
)
def test_identity_rejects(data, message):
    with pytest.raises(ValueError, match=message):
        Identity.decode(data)


def test_names():
    assert parse_config("small,rows=8,cols=16").cols == 16
    assert parse_config("large,multipliers=none").multipliers is None
    for name, message in [
        ("", "is no preset"),
        ("small,x=1", "is no field"),
        ("small,rows", "field=value"),
        ("small,rows=two", "'two'"),
    ]:
        with pytest.raises(ValueError, match=message):
            parse_config(name)


def test_layout_is_what_shapes_a_model():
    same = parse_config("small,clock_hz=50000000,multipliers=0,lanes=8")
    assert same.layout == PRESETS["small"].layout and same.digest != PRESETS["small"].digest
    assert parse_config("small,cols=16").layout != PRESETS["small"].layout


def test_steps_return_to_the_start():
    assert steps([Dim(3, (100,)), Dim(2, (7,)), Dim(5, (1,))]) == [(100 - 7 - 4,), (7 - 4,), (1,)]


def test_sections_fill_a_descriptor():
    assert sum(SECTIONS.values()) <= DESCRIPTOR_WORDS
    assert len(ACTIVATION_DIMS) == 9 and len(OUTPUT_DIMS) == 4
    stream = OutputStream(
        address=1,
        channels=2,
        taps=3,
        zero_point=-4,
        low=-5,
        high=6,
        rounding=1,
        dims=(Dim(1, (0,)),) * len(OUTPUT_DIMS),
    )
    assert len(stream.encode()) == 4 * SECTIONS["output"]
