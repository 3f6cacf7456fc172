"""A chip of SDR SDRAM, by its datasheet's rules: whatever breaks one is refused, with the rule's name and the time.

For benches of any controller; :class:`sateen.testing.sdram.SdramDevice` puts it at the pins of a design in cocotb.
Written from the command tables and diagrams of the datasheets (:data:`sateen.hw.spec.sdram.CHIPS`), whose times are
compared in ns, not in a controller's cycles. Power-down, self refresh and clock suspension are not modelled: CKE must
be high.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from sateen.hw.spec.sdram import ALL_BANKS, CAS_BIT, Command, SdramChip

__all__ = ["Pins", "Sdram", "SdramViolation"]

FULL_PAGE = 7
"""The burst length's code for a whole row."""
MASK_LATENCY = 2
"""Edges from DQM to the word that it hides, of words that are read."""
LONG_AGO = -1e18


class SdramViolation(Exception):
    """A rule of the datasheet was broken.

    Attributes
    ----------
    rule : str
        Its name, as the datasheet has it: ``tRCD``, ``refresh``, ``bus conflict`` and so on.
    """

    def __init__(self, message: str, *, rule: str):
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True, kw_only=True)
class Pins:
    """What the chip sees at a rising edge of its clock."""

    command: Command | None = Command.NOP
    """None if CS is high."""
    bank: int = 0
    address: int = 0
    dq: int | None = None
    """What somebody else drives DQ with; None if nobody does."""
    mask: int = 0
    """DQM, a bit for each byte."""
    cke: int = 1


@dataclass
class _Bank:
    """A bank's state, times in ns."""

    row: int | None = None
    activated: float = LONG_AGO
    closed: float = LONG_AGO
    written: float = LONG_AGO
    closes: float | None = None
    """When an automatic precharge begins; None if none is due."""


@dataclass
class _Burst:
    """A burst under way: the columns that are left, the next one first."""

    write: bool
    bank: int
    columns: list[int]
    auto: bool


class Sdram:
    """The chip. :meth:`step` is one rising edge of its clock.

    Parameters
    ----------
    chip : SdramChip
    clock_hz : int
        Its clock.
    postponed : int
        Refreshes that may be late at any time. The datasheets allow all of :attr:`~SdramChip.refreshes` to be, which
        shows only after milliseconds; a controller that spreads them is late by one at most.
    seed : int
        Of what is in the cells at power-up.

    Attributes
    ----------
    cycle : int
        Edges so far.
    counts : dict
        Commands so far, without NOP.
    moved : int
        Words read and written so far.
    """

    def __init__(self, chip: SdramChip, clock_hz: int, *, postponed: int = 8, seed: int = 1):
        if postponed < 1:
            raise ValueError(f"postponed must be 1 or more, not {postponed!r}")
        self.chip, self.period, self.postponed = chip, 1e9 / clock_hz, postponed
        self.cycle, self.moved = 0, 0
        self.counts: dict[Command, int] = {command: 0 for command in Command if command is not Command.NOP}
        self._random = random.Random(seed)
        self._rows: dict[tuple[int, int], list[int]] = {}
        self._banks = [_Bank() for _ in range(1 << chip.bank_bits)]
        self._burst: _Burst | None = None
        self._cas = 0
        self._length, self._interleaved, self._single_write = 1, False, False
        self._all_closed = False
        self._ready: float | None = None
        """When initialization ended."""
        self._refreshes = 0
        self._refreshed = self._mode = self._activated = LONG_AGO
        self._words: dict[int, int] = {}
        """By edge, the words on their way out."""
        self._masks: list[int] = []
        self._drove = [False, False]
        """Whether DQ has been the chip's at the last two edges."""

    # The cells, past all pins: for benches.

    def load(self, address: int, words: Iterable[int]) -> None:
        """Puts words into the cells from a word's address on: row, bank and column, from the upper end."""
        for offset, word in enumerate(words):
            row, column = self._locate(address + offset)
            row[column] = word & ((1 << self.chip.data_bits) - 1)

    def words(self, address: int, count: int) -> list[int]:
        """What is in the cells from a word's address on."""
        found = (self._locate(address + offset) for offset in range(count))
        return [row[column] for row, column in found]

    def _locate(self, address: int) -> tuple[list[int], int]:
        chip = self.chip
        upper, column = divmod(address, 1 << chip.column_bits)
        row, bank = divmod(upper, 1 << chip.bank_bits)
        return self._cells(bank, row % (1 << chip.row_bits)), column

    def _cells(self, bank: int, row: int) -> list[int]:
        if (bank, row) not in self._rows:
            cells = [self._random.getrandbits(self.chip.data_bits) for _ in range(1 << self.chip.column_bits)]
            self._rows[bank, row] = cells
        return self._rows[bank, row]

    # The pins.

    def step(self, pins: Pins) -> int | None:
        """One rising edge of the clock.

        Returns
        -------
        What the chip drives DQ with at the next edge; None if it does not.

        Raises
        ------
        SdramViolation
            If a rule is broken.
        """
        now = self.cycle * self.period
        if not pins.cke and self._ready is not None:
            self._refuse("CKE", "CKE is low; power-down, self refresh and suspension are not modelled")
        self._bus(pins)
        self._check_time(now)
        if pins.command not in (None, Command.NOP):
            self._command(pins, now)
        self._advance(pins, now)
        self._masks = [*self._masks[-MASK_LATENCY:], pins.mask]
        self.cycle += 1
        word = self._words.pop(self.cycle, None)
        # DQM hides bytes from two edges after it.
        hides = self._masks[-MASK_LATENCY] if len(self._masks) >= MASK_LATENCY else 0
        if word is not None and hides == (1 << (self.chip.data_bits // 8)) - 1:
            word = None
        self._drove = [self._drove[1], word is not None]
        return word

    def _refuse(self, rule: str, message: str) -> None:
        time = self.cycle * self.period / 1000
        raise SdramViolation(
            f"cycle {self.cycle} ({time:.3f} us), rule {rule}: {message} ({self.chip.title})", rule=rule
        )

    def _apart(self, rule: str, what: str, since: float, now: float, least: float) -> None:
        """Refuses what comes too early. A thousandth of a cycle is rounding, not time."""
        if now - since < least - 0.001 * self.period:
            self._refuse(rule, f"{what} after {now - since:.4g} ns; it must be {least:g} ns or more")

    def _bus(self, pins: Pins) -> None:
        """Two must not drive DQ at a time, and the chip lets go of it only after the edge."""
        before, here = self._drove
        if pins.dq is not None and here:
            self._refuse("bus conflict", "DQ is driven while the chip drives a word that was read")
        if pins.dq is not None and before:
            self._refuse(
                "tHZ", "DQ is driven at the edge behind a word that was read; the chip lets go of it only then"
            )

    def _check_time(self, now: float) -> None:
        """What must happen in time: refreshes, and precharges of rows that have long been open."""
        if self._ready is not None:
            due = (now - self._ready) / self.chip.refresh_ns
            if due - self._refreshes > self.postponed:
                self._refuse(
                    "refresh", f"{self._refreshes} refreshes since initialization, {due:.1f} are due; at most "
                    f"{self.postponed} may be late",
                )  # fmt: skip
        for number, bank in enumerate(self._banks):
            if bank.closes is not None and now >= bank.closes:
                bank.row, bank.closed, bank.closes = None, bank.closes, None
            if bank.row is not None and now - bank.activated > self.chip.t_ras_max:
                self._refuse("tRAS", f"the row of bank {number} is open for more than {self.chip.t_ras_max:g} ns")

    def _command(self, pins: Pins, now: float) -> None:
        command, chip = pins.command, self.chip
        assert command is not None
        name = command.name
        if now < chip.power_up_us * 1000 - 0.001 * self.period:
            self._refuse("power-up", f"{name} before the first {chip.power_up_us:g} us are over")
        self._apart("tRFC", f"{name} comes behind a REFRESH", self._refreshed, now, chip.t_rfc)
        self._apart("tMRD", f"{name} comes behind a MODE", self._mode, now, chip.mrd_cycles * self.period)
        self.counts[command] += 1
        if command is Command.ACTIVATE:
            self._activate(pins, now)
        elif command in (Command.READ, Command.WRITE):
            self._column(pins, now)
        elif command is Command.PRECHARGE:
            self._precharge(pins, now)
        elif command is Command.TERMINATE:
            self._burst = None
        else:
            self._idle(name, now)
            if command is Command.REFRESH:
                self._refreshed = now
                self._refreshes += 1
            else:
                self._write_mode(pins, now)
            if self._ready is None and self._cas and self._refreshes >= chip.power_up_refreshes:
                self._ready, self._refreshes = now, 0

    def _idle(self, name: str, now: float) -> None:
        """What a refresh or a write of the mode register needs."""
        if not self._all_closed:
            self._refuse("initialization", f"{name} before a PRECHARGE of all banks")
        for number, bank in enumerate(self._banks):
            if bank.row is not None:
                self._refuse("open row", f"{name} while a row of bank {number} is open")
            self._apart("tRP", f"{name} comes behind a PRECHARGE of bank {number}", bank.closed, now, self.chip.t_rp)

    def _write_mode(self, pins: Pins, now: float) -> None:
        length, cas = pins.address & 7, pins.address >> CAS_BIT & 7
        if length in (4, 5, 6) or cas not in self.chip.clock_ns or pins.address >> 7 & 3 or pins.address >> 10:
            self._refuse("mode", f"the mode register has no meaning for {pins.address:#x}")
        if self.period < self.chip.clock_ns[cas] * 0.999:
            self._refuse("tCK", f"a clock of {self.period:.4g} ns is too fast for CAS latency {cas}; it must be "
                         f"{self.chip.clock_ns[cas]:g} ns or more")  # fmt: skip
        self._cas, self._mode = cas, now
        self._interleaved, self._single_write = bool(pins.address >> 3 & 1), bool(pins.address >> 9 & 1)
        self._length = 1 << self.chip.column_bits if length == FULL_PAGE else 1 << length
        if self._interleaved and length not in (2, 3):
            self._interleaved = False

    def _activate(self, pins: Pins, now: float) -> None:
        bank, chip, what = self._banks[pins.bank], self.chip, f"ACTIVATE of bank {pins.bank}"
        self._initialized(what)
        if bank.row is not None:
            self._refuse("open row", f"{what}, whose row {bank.row} is open")
        self._apart("tRC", f"{what} comes behind its last one", bank.activated, now, chip.t_rc)
        self._apart("tRP", f"{what} comes behind its PRECHARGE", bank.closed, now, chip.t_rp)
        self._apart("tRRD", f"{what} comes behind that of another bank", self._activated, now, chip.t_rrd)
        bank.row, bank.activated, bank.written = pins.address % (1 << chip.row_bits), now, LONG_AGO
        self._activated = now

    def _initialized(self, what: str) -> None:
        if self._ready is None:
            missing = [] if self._all_closed else ["a PRECHARGE of all banks"]
            if self._refreshes < self.chip.power_up_refreshes:
                missing.append(f"{self.chip.power_up_refreshes - self._refreshes} REFRESH")
            missing += [] if self._cas else ["MODE"]
            self._refuse("initialization", f"{what} before {', '.join(missing)}")

    def _column(self, pins: Pins, now: float) -> None:
        write = pins.command is Command.WRITE
        bank, what = self._banks[pins.bank], f"{'WRITE' if write else 'READ'} of bank {pins.bank}"
        self._initialized(what)
        if bank.row is None or bank.closes is not None:
            self._refuse("closed bank", f"{what}, which has no open row")
        self._apart("tRCD", f"{what} comes behind its ACTIVATE", bank.activated, now, self.chip.t_rcd)
        if self._burst and self._burst.auto:
            self._refuse("auto precharge", f"{what} cuts a burst that ends with an automatic precharge")
        start = pins.address % (1 << self.chip.column_bits)
        length = 1 if write and self._single_write else self._length
        block = start // length * length
        columns = [
            block + ((start ^ index if self._interleaved else start + index) % length) for index in range(length)
        ]
        self._burst = _Burst(write, pins.bank, columns, bool(pins.address >> ALL_BANKS & 1))

    def _precharge(self, pins: Pins, now: float) -> None:
        every = bool(pins.address >> ALL_BANKS & 1)
        for number in range(len(self._banks)) if every else [pins.bank]:
            bank, what = self._banks[number], f"PRECHARGE of bank {number}"
            if bank.closes is not None:
                self._refuse("auto precharge", f"{what}, which is being closed")
            if bank.row is not None:
                self._apart("tRAS", f"{what} comes behind its ACTIVATE", bank.activated, now, self.chip.t_ras)
                recovery = max(self.chip.t_wr, self.chip.wr_cycles * self.period)
                self._apart("tWR", f"{what} comes behind a word that was written", bank.written, now, recovery)
                bank.row, bank.closed = None, now
            elif every and not self._all_closed:
                bank.closed = now
            if self._burst and self._burst.bank == number:
                self._burst = None
        self._all_closed |= every

    def _advance(self, pins: Pins, now: float) -> None:
        """The next word of the burst."""
        burst = self._burst
        if burst is None:
            return
        bank = self._banks[burst.bank]
        assert bank.row is not None
        cells, column = self._cells(burst.bank, bank.row), burst.columns.pop(0)
        whole = (1 << (self.chip.data_bits // 8)) - 1
        if not burst.write:
            self._words[self.cycle + self._cas] = cells[column]
        elif pins.mask != whole:
            if pins.dq is None:
                self._refuse("floating bus", f"a word is written to bank {burst.bank}, and nobody drives DQ")
            cells[column] = _merged(cells[column], pins.dq or 0, pins.mask, self.chip.data_bits)
            bank.written = now
        self.moved += 1
        if burst.columns:
            return
        self._burst = None
        if self._length == 1 << self.chip.column_bits and self._length > 8 and not burst.auto:
            # A burst of a whole row goes on until something ends it.
            first = (column + 1) % self._length
            self._burst = _Burst(burst.write, burst.bank, [*range(first, self._length), *range(first)], False)
        elif burst.auto:
            ends = now + (max(self.chip.t_wr, self.chip.wr_cycles * self.period) if burst.write else self.period)
            bank.closes = max(ends, bank.activated + self.chip.t_ras)


def _merged(old: int, new: int, mask: int, bits: int) -> int:
    """``new`` where the mask is 0, a byte a bit, and ``old`` elsewhere."""
    kept = sum(0xFF << 8 * byte for byte in range(bits // 8) if mask >> byte & 1)
    return (old & kept) | (new & ~kept)
