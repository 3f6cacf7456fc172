"""The model of an SDRAM chip: it stores words, and refuses what the datasheet forbids, each rule by its name."""

import dataclasses

import pytest

from sateen.hw.spec.sdram import CHIPS, Command
from sateen.sim.sdram import Pins, Sdram, SdramViolation

CLOCK_HZ = 100_000_000
CHIP = dataclasses.replace(CHIPS["as4c32m16sb"], power_up_us=1)
ALL = 1 << 10
"""Address bit: all banks, or an automatic precharge."""
ONE_WORD, CAS_2 = 0, 2 << 4


class Driver:
    """A controller by hand: commands at edges."""

    def __init__(self, chip=CHIP, *, clock_hz=CLOCK_HZ, mode=CAS_2, boot=True, **settings):
        self.model = Sdram(chip, clock_hz, **settings)
        self.words = {}
        if boot:
            self.idle(int(chip.power_up_us * clock_hz / 1e6) + 1)
            self.give(Command.PRECHARGE, address=ALL)
            self.idle(4)
            for _ in range(chip.power_up_refreshes):
                self.give(Command.REFRESH)
                self.idle(9)
            self.give(Command.MODE, address=mode)
            self.idle(2)

    def give(self, command, **pins):
        """One edge; what the chip drives is kept by the edge at which it is sampled."""
        word = self.model.step(Pins(command=command, **pins))
        if word is not None:
            self.words[self.model.cycle] = word

    def idle(self, cycles, **pins):
        for _ in range(cycles):
            self.give(Command.NOP, **pins)

    def open(self, bank=0, row=3, wait=2):
        self.give(Command.ACTIVATE, bank=bank, address=row)
        self.idle(wait)

    def refused(self, rule, command, **pins):
        with pytest.raises(SdramViolation) as error:
            self.give(command, **pins)
        assert error.value.rule == rule, str(error.value)
        return str(error.value)


def test_stores_words():
    driver = Driver()
    driver.open(bank=2, row=77)
    for column, word in enumerate((0x1234, 0xABCD, 0x5555)):
        driver.give(Command.WRITE, bank=2, address=column, dq=word)
    driver.give(Command.WRITE, bank=2, address=1, dq=0x9999, mask=0b01)
    begin = driver.model.cycle
    for column in (2, 1, 0):
        driver.give(Command.READ, bank=2, address=column)
    driver.idle(4)
    # Sampled CAS latency edges behind the commands.
    assert driver.words == {begin + 2: 0x5555, begin + 3: 0x99CD, begin + 4: 0x1234}
    address = (77 << 2 | 2) << CHIP.column_bits
    assert driver.model.words(address, 3) == [0x1234, 0x99CD, 0x5555]
    assert driver.model.counts[Command.READ] == 3 and driver.model.moved == 7


@pytest.mark.parametrize(
    ("mode", "start", "columns"),
    [
        (CAS_2 | 1, 5, [5, 4]),
        (CAS_2 | 2, 6, [6, 7, 4, 5]),
        (CAS_2 | 3, 13, [13, 14, 15, 8, 9, 10, 11, 12]),
        (CAS_2 | 2 | 8, 6, [6, 7, 4, 5]),
        (CAS_2 | 2 | 8, 5, [5, 4, 7, 6]),
        (CAS_2 | 3 | 8, 3, [3, 2, 1, 0, 7, 6, 5, 4]),
    ],
)
def test_bursts(mode, start, columns):
    """Bursts in the datasheet's orders, sequential and interleaved."""
    driver = Driver(mode=mode)
    driver.model.load(3 << 12, range(64))
    driver.open()
    driver.give(Command.READ, address=start)
    driver.idle(12)
    assert list(driver.words.values()) == columns


def test_burst_ends():
    """A read, a terminate and a precharge of the bank each end a burst; one of the whole row goes around."""
    driver = Driver(mode=CAS_2 | 7)
    driver.model.load(3 << 12, range(1024))
    driver.open(wait=6)
    begin = driver.model.cycle
    driver.give(Command.READ, address=1022)
    driver.idle(3)
    driver.give(Command.READ, address=100)
    driver.idle(1)
    driver.give(Command.TERMINATE)
    driver.idle(6)
    assert driver.words == dict(zip(range(begin + 2, begin + 8), (1022, 1023, 0, 1, 100, 101), strict=True))
    driver.words.clear()
    driver.give(Command.READ, address=7)
    driver.give(Command.PRECHARGE)
    driver.idle(5)
    assert list(driver.words.values()) == [7]


def test_masks_hide_words():
    """DQM hides a word two edges later, so that DQ is free for a write."""
    driver = Driver(mode=CAS_2 | 2)
    driver.open()
    driver.give(Command.READ)
    driver.idle(1, mask=3)
    driver.idle(1, mask=3)
    driver.idle(1, mask=3)
    driver.give(Command.WRITE, address=40, dq=5)
    driver.give(Command.TERMINATE)
    driver.idle(4)
    assert len(driver.words) == 1


def test_auto_precharge():
    driver = Driver()
    driver.open(wait=5)
    driver.give(Command.READ, address=ALL | 1)
    driver.idle(3)
    driver.open(row=4, wait=3)
    driver.give(Command.WRITE, address=ALL | 1, dq=1)
    assert "no open row" in driver.refused("closed bank", Command.READ, address=2)


def after(*steps):
    """A driver behind some commands: names, with the cycles that follow."""
    driver = Driver()
    for command, pins, idle in steps:
        driver.give(command, **pins)
        driver.idle(idle)
    return driver


OPEN = (Command.ACTIVATE, {"address": 3}, 2)
RULES = [
    ("tRCD", [(Command.ACTIVATE, {}, 1)], (Command.READ, {})),
    ("tRCD", [(Command.ACTIVATE, {}, 1)], (Command.WRITE, {"dq": 1})),
    ("tRAS", [(Command.ACTIVATE, {}, 3)], (Command.PRECHARGE, {})),
    ("tRP", [OPEN, (Command.NOP, {}, 3), (Command.PRECHARGE, {}, 1)], (Command.ACTIVATE, {})),
    ("tRP", [OPEN, (Command.NOP, {}, 3), (Command.PRECHARGE, {}, 1)], (Command.REFRESH, {})),
    ("tRRD", [(Command.ACTIVATE, {}, 0)], (Command.ACTIVATE, {"bank": 1})),
    ("tWR", [OPEN, (Command.NOP, {}, 5), (Command.WRITE, {"dq": 1}, 0)], (Command.PRECHARGE, {})),
    ("tWR", [OPEN, (Command.NOP, {}, 5), (Command.WRITE, {"dq": 1}, 0)], (Command.PRECHARGE, {"address": ALL})),
    ("tRFC", [(Command.REFRESH, {}, 5)], (Command.ACTIVATE, {})),
    ("tRFC", [(Command.REFRESH, {}, 5)], (Command.REFRESH, {})),
    ("tMRD", [(Command.MODE, {"address": CAS_2}, 0)], (Command.ACTIVATE, {})),
    ("open row", [OPEN, (Command.NOP, {}, 9)], (Command.ACTIVATE, {"address": 5})),
    ("open row", [OPEN, (Command.NOP, {}, 9)], (Command.REFRESH, {})),
    ("open row", [OPEN, (Command.NOP, {}, 9)], (Command.MODE, {"address": CAS_2})),
    ("closed bank", [], (Command.READ, {})),
    ("closed bank", [OPEN], (Command.WRITE, {"bank": 1, "dq": 1})),
    ("floating bus", [OPEN], (Command.WRITE, {})),
    ("bus conflict", [OPEN, (Command.READ, {}, 1)], (Command.WRITE, {"dq": 1})),
    ("tHZ", [OPEN, (Command.READ, {}, 2)], (Command.WRITE, {"dq": 1})),
    ("mode", [], (Command.MODE, {"address": 4 << 4})),
    ("mode", [], (Command.MODE, {"address": CAS_2 | 5})),
    ("CKE", [], (Command.NOP, {"cke": 0})),
]


@pytest.mark.parametrize(("rule", "before", "last"), RULES)
def test_refuses(rule, before, last):
    command, pins = last
    message = after(*before).refused(rule, command, **pins)
    assert f"rule {rule}: " in message and message.startswith("cycle ")


@pytest.mark.parametrize(
    ("rule", "before", "last"),
    [each for each in RULES if each[0] in ("tRCD", "tRAS", "tRP", "tRRD", "tRFC", "tMRD", "tHZ")],
)
def test_allows(rule, before, last):
    """A cycle later it is allowed."""
    driver = after(*before)
    driver.idle(1)
    driver.give(last[0], **last[1])


def test_row_cycle():
    """tRC can be longer than tRAS and tRP."""
    driver = Driver(dataclasses.replace(CHIP, t_rc=100))
    driver.open(wait=4)
    driver.give(Command.PRECHARGE)
    driver.idle(3)
    assert "90 ns; it must be 100 ns or more" in driver.refused("tRC", Command.ACTIVATE)


def test_initialization():
    driver = Driver(boot=False)
    driver.idle(98)
    driver.refused("power-up", Command.PRECHARGE, address=ALL)
    driver = Driver(boot=False)
    driver.idle(101)
    driver.refused("initialization", Command.REFRESH)
    message = driver.refused("initialization", Command.ACTIVATE)
    assert "before a PRECHARGE of all banks, 2 REFRESH, MODE" in message
    driver.give(Command.PRECHARGE, address=ALL)
    driver.idle(3)
    driver.give(Command.REFRESH)
    driver.idle(7)
    driver.give(Command.MODE, address=CAS_2)
    driver.idle(2)
    assert "ACTIVATE of bank 0 before 1 REFRESH " in driver.refused("initialization", Command.ACTIVATE)


def test_too_fast_for_its_cas_latency():
    with pytest.raises(SdramViolation, match="rule tCK: a clock of 7.519 ns is too fast for CAS latency 2"):
        Driver(clock_hz=133_000_000)
    Driver(clock_hz=133_000_000, mode=3 << 4)


def test_refresh():
    """Late refreshes are refused once there are too many."""
    driver = Driver(postponed=2)
    driver.idle(2 * 781 - 2)
    with pytest.raises(SdramViolation, match="0 refreshes since initialization, 2.0 are due") as error:
        driver.idle(5)
    assert error.value.rule == "refresh"
    with pytest.raises(ValueError, match="postponed must be 1 or more, not 0"):
        Sdram(CHIP, CLOCK_HZ, postponed=0)


def test_rows_are_not_open_for_ever():
    driver = Driver(dataclasses.replace(CHIP, t_ras_max=1000))
    driver.open()
    with pytest.raises(SdramViolation, match="the row of bank 0 is open for more than 1000 ns"):
        driver.idle(120)
