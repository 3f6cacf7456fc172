"""SDRAM beside an engine: the host's bytes go in and out, and bytes move between it and the engine's memories."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from sateen.hw.host import HOST_REQUEST, MOVE, host_request
from sateen.hw.sdram.controller import SdramController
from sateen.hw.sdram.pins import pins
from sateen.hw.spec.config import Config
from sateen.hw.spec.sdram import PAD_CYCLES, find_chip
from sateen.hw.spec.wire import CHECK_BYTES, Space
from sateen.hw.stream.queue import Queue
from sateen.hw.stream.slice import RegisterSlice

__all__ = ["SdramBridge"]

ANSWERS = 32
"""Bytes under way from the engine's memories, or waiting for the SDRAM: more than their latency."""


@dataclass(frozen=True)
class _Progress:
    """How far a move is."""

    place: Signal
    """The next byte's address in the engine's memory."""
    position: Signal
    """The move's first byte in SDRAM."""
    index: Signal
    """The next byte's place in its word of SDRAM."""
    last: Signal
    """That is the word's last."""
    left: Signal
    """Bytes that are still to be moved, less one."""
    many: Signal
    """They are as many as the engine takes at a time, or more."""
    edges: tuple[Signal, Signal]
    """The words that a store begins and ends with, as they were, of a chip without byte masks."""
    forth: Signal
    """``place`` goes on, by a byte or, with ``whole``, by as many as the engine takes at a time."""
    whole: Signal
    over: Signal
    """The move ends in this cycle."""

    @classmethod
    def of(cls, bridge: SdramBridge) -> _Progress:
        """That of a bridge."""
        length_bits, width = len(bridge.move.payload.length), bridge.chip.data_bits
        index, left, many = Signal(exact_log2(width // 8)), Signal(signed(length_bits + 1)), Signal()
        return cls(
            place=Signal.like(bridge.move.payload.address, name="place"),
            position=Signal.like(bridge.position, name="position"),
            index=index,
            last=Signal(name="last"),
            left=left,
            many=many,
            edges=(Signal(width, name="before"), Signal(width, name="behind")),
            forth=Signal(name="forth"),
            whole=Signal(name="whole_forth"),
            over=Signal(name="over"),
        )


class SdramBridge(wiring.Component):
    """Stands between link and engine. Requests for SDRAM end here, all others pass. Requests take a cycle and answers
    another; the link's logic and this one's meet in registers.

    Moves begin at any byte and have any length. To a pipelined engine they take a cycle a word of SDRAM, where that is
    whole and its place in the engine's memory a multiple of a word, or in the scratchpad; else a cycle a byte, and so
    to a sequential engine, into the checksum, and from and to the host. From the engine they take a cycle a word of the
    scratchpad of a pipelined one, else a cycle a byte. They may go on while a program runs. A move begins within CAS
    latency + 18 cycles, besides those of a refresh. To a chip without byte masks only whole words are written: what
    stands in the first and the last beside a move's bytes is read before, in twice that time.

    Parameters
    ----------
    config : Config
        With a chip of SDRAM.

    Members
    -------
    i : In(stream)
        The host's requests (:data:`sateen.hw.host.HOST_REQUEST`). During a move it may offer none but the bytes of one
        to :attr:`~sateen.hw.spec.wire.Space.SDRAM`, of which only the data count. A move waits for requests before it.
    o : Out(stream)
        Requests to the engine: the host's and those of moves.
    answer : In(stream), always ready
        The engine's.
    response : Out(stream), always ready
        Answers to the host: the engine's, the bytes read from SDRAM, and those of the checksum and the counter. A
        register, so that they come a cycle later, and a move's last one in the cycle behind it.
    seek : In(1), position : In(32)
        Moves begin at byte ``position``, and a checksum with them. One from or to the host begins there without
        ``seek``, and others go on where they were.
    move : In(stream)
        See :data:`sateen.hw.host.MOVE`. One is taken when its last byte is.
    busy : In(1)
        A program runs. While none does, the cycles of moves other than the host's are counted.
    pins : Out
        The chip, see :func:`sateen.hw.sdram.pins.pins`, through registers on both ways
        (:data:`~sateen.hw.spec.sdram.PAD_CYCLES`).
    """

    def __init__(self, config: Config):
        if config.sdram is None:
            raise ValueError("sdram must be the name of a chip, not None")
        self.config, self.chip = config, find_chip(config.sdram)
        byte, answer = (stream.Signature(8 * width, always_ready=True) for width in (1, config.moved_bytes))
        super().__init__(
            {
                "i": In(stream.Signature(HOST_REQUEST)),
                "o": Out(stream.Signature(host_request(config.moved_bytes))),
                "answer": In(answer),
                "response": Out(byte),
                "seek": In(1),
                "position": In(32),
                "move": In(stream.Signature(MOVE)),
                "busy": In(1),
                "pins": Out(pins(self.chip)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.controller = memory = SdramController(
            chip=self.chip, clock_hz=self.config.clock_hz, delay=PAD_CYCLES, length_bits=len(self.move.payload.length)
        )
        connect(m, memory.pins, wiring.flipped(self.pins))
        m.submodules.requests = requests = RegisterSlice(HOST_REQUEST)
        connect(m, wiring.flipped(self.i), requests.i)
        m.submodules.checksum = crc = CRC32_ISO_HDLC(data_width=8).create()
        at = _Progress.of(self)
        asked, width = requests.o.payload, self.config.moved_bytes
        of_host, moving, waited = Signal(), Signal(), Signal(32)
        where = Mux(of_host, self.position, at.position)
        replied, reply = Signal(), Signal(8)
        # A move is steady from the cycle on in which it is offered; its states begin a cycle later.
        m.d.sync += of_host.eq(self.move.payload.space == Space.SDRAM)
        m.d.comb += [
            at.last.eq(at.index == self.chip.data_bits // 8 - 1),
            self.o.payload.space.eq(asked.space),
            self.o.payload.address.eq(asked.address),
            self.o.payload.write.eq(asked.write),
            self.o.payload.data.eq(asked.data.replicate(width)),
            reply.eq(self.answer.payload[:8]),
            crc.data.eq(memory.r.payload.word_select(at.index, 8)),
            crc.start.eq(self.seek),
        ]
        m.d.sync += [
            waited.eq(waited + (moving & ~of_host & ~self.busy)),
            self.response.valid.eq(replied),
            self.response.payload.eq(reply),
        ]
        with m.If(at.forth):
            m.d.sync += at.place.eq(at.place + Mux(at.whole, width, 1))
        with m.If(at.over):
            m.d.comb += self.move.ready.eq(1)
            with m.If(~of_host):
                m.d.sync += at.position.eq(at.position + self.move.payload.length)
        with m.If(self.seek):
            m.d.sync += at.position.eq(self.position)
        with m.FSM() as states:
            self._idle(m, requests.o, at, told=Cat(crc.crc, waited), replied=replied, reply=reply)
            if not self.chip.masks:
                self._edges(m, memory, where, at)
            self._begin(m, memory, where, at)
            self._copy(m, memory, crc, at, of_host=of_host, replied=replied, reply=reply)
            self._store(m, memory, requests.o, where, at, of_host=of_host)
        m.d.comb += moving.eq(~states.ongoing("idle"))
        return m

    def _word(self, address: Value) -> Value:
        """The word of SDRAM that a byte is in."""
        offset = exact_log2(self.chip.data_bits // 8)
        return address[offset : offset + self.chip.address_bits]

    def _idle(
        self, m: Module, requests: wiring.PureInterface, at: _Progress, *, told: Value, replied: Signal, reply: Signal,
    ) -> None:  # fmt: skip
        """The state in which the host's requests pass, or a move begins; ``told`` is what may be read of moves."""
        asked, move = requests.payload, self.move.payload
        of_chip, of_check = Signal(), Signal()
        m.d.comb += [of_chip.eq(asked.space == Space.SDRAM), of_check.eq(asked.space == Space.CHECK)]
        with m.State("idle"):
            checks = requests.valid & of_check & ~asked.write
            m.d.comb += [
                self.o.valid.eq(requests.valid & ~of_chip & ~of_check),
                requests.ready.eq(Mux(of_check, 1, self.o.ready & ~of_chip)),
                replied.eq(self.answer.valid | checks),
            ]
            with m.If(checks):
                m.d.comb += reply.eq(told.word_select(asked.address[: exact_log2(CHECK_BYTES)], 8))
            place = Mux(move.space == Space.SDRAM, self.position, at.position)
            m.d.sync += [
                at.place.eq(move.address),
                at.left.eq(move.length - 1),
                at.many.eq(move.length >= self.config.moved_bytes),
                at.index.eq(place),
            ]
            with m.If(self.move.valid & (~requests.valid | of_chip)):
                m.next = "begin" if self.chip.masks else "first"

    def _edges(self, m: Module, memory: SdramController, where: Value, at: _Progress) -> None:
        """The states that read a store's first and last word, of which it may write a part."""
        last = where + self.move.payload.length - 1
        for name, address, word, following in (
            ("first", where, at.edges[0], "last"), ("last", last, at.edges[1], "begin"),
        ):  # fmt: skip
            with m.State(name):
                m.d.comb += [memory.request.valid.eq(1), memory.request.payload.address.eq(self._word(address))]
                with m.If(~self.move.payload.store | (at.left < 0)):
                    m.d.comb += memory.request.valid.eq(0)
                    m.next = "begin"
                with m.Elif(memory.request.ready):
                    m.next = f"{name} comes"
            with m.State(f"{name} comes"):
                m.d.comb += memory.r.ready.eq(1)
                m.d.sync += word.eq(memory.r.payload)
                with m.If(memory.r.valid):
                    m.next = following

    def _begin(self, m: Module, memory: SdramController, where: Value, at: _Progress) -> None:
        """The state that asks for the words of a move."""
        with m.State("begin"):
            m.d.comb += [
                memory.request.valid.eq(at.left >= 0),
                memory.request.payload.write.eq(self.move.payload.store),
                memory.request.payload.address.eq(self._word(where)),
                memory.request.payload.length.eq((at.left + at.index) >> len(at.index)),
            ]
            with m.If(at.left < 0):
                self._end(m, at)
            with m.Elif(memory.request.ready):
                with m.If(self.move.payload.store):
                    m.next = "store"
                with m.Else():
                    m.next = "copy"

    def _pass(self, m: Module, at: _Progress, taken: Value, whole: Value) -> None:
        """In a state: bytes pass, if one is taken, and with ``whole`` as many as the engine takes at a time."""
        width = self.config.moved_bytes
        with m.If(taken):
            m.d.sync += [
                at.index.eq(at.index + Mux(whole, width, 1)),
                at.left.eq(at.left - Mux(whole, width, 1)),
                at.many.eq(Mux(whole, at.left >= 2 * width - 1, at.left >= width)),
            ]

    def _copy(
        self, m: Module, memory: SdramController, crc: wiring.Component, at: _Progress, *, of_host: Value,
        replied: Signal, reply: Signal,
    ) -> None:  # fmt: skip
        """The state in which bytes go to the engine's memories, into the checksum alone, or to the host."""
        move, request, width = self.move.payload, self.o.payload, self.config.moved_bytes
        checked, whole, taken = Signal(), Signal(), Signal()
        aside, anywhere, by_words = checked | of_host, Signal(), Signal()
        m.d.sync += [
            checked.eq(move.space == Space.CHECK),
            anywhere.eq(move.space == Space.SCRATCHPAD),
            by_words.eq((move.space == Space.WEIGHTS) | (move.space == Space.PROGRAM)),
        ]
        if width > 1:
            aligned = at.place[: exact_log2(width)] == 0
            m.d.comb += whole.eq((at.index == 0) & at.many & (anywhere | (by_words & aligned)))
        with m.State("copy"):
            m.d.comb += [
                request.space.eq(move.space),
                request.address.eq(at.place),
                request.write.eq(Mux(whole, (1 << width) - 1, 1)),
                request.data.eq(Mux(whole, memory.r.payload, crc.data.replicate(width))),
                self.o.valid.eq(memory.r.valid & ~aside & (at.left >= 0)),
                taken.eq(memory.r.valid & (self.o.ready | aside) & (at.left >= 0)),
                at.forth.eq(taken),
                at.whole.eq(whole),
                crc.valid.eq(taken & checked),
                replied.eq(taken & of_host),
                reply.eq(crc.data),
                # What is left of the last word is dropped.
                memory.r.ready.eq(Mux(at.left < 0, at.index != 0, taken & (at.last | whole))),
            ]
            self._pass(m, at, taken, whole)
            with m.If(at.left < 0):
                self._end(m, at)

    def _store(
        self, m: Module, memory: SdramController, requests: wiring.PureInterface, where: Value, at: _Progress, *,
        of_host: Value,
    ) -> None:  # fmt: skip
        """The state in which bytes are asked of the engine, or come from the host, wait in a queue, and are put
        together to words. Of the scratchpad, words are asked for."""
        width, size = self.config.moved_bytes, self.chip.data_bits // 8
        m.submodules.answers = answers = Queue(8 * width, depth=ANSWERS)
        move, request = self.move.payload, self.o.payload
        free, asking = Signal(range(ANSWERS + 1), init=ANSWERS), Signal(signed(len(at.left)))
        asking_many = Signal()
        index, words, enable = Signal.like(at.index, name="asked_index"), Signal(8 * size), Signal(size)
        full, begun, asks, taken, leaves = (Signal(name=name) for name in ("full", "begun", "asks", "taken", "leaves"))
        ask, ask_whole, whole = Signal(), Signal(), Signal()
        m.d.comb += [
            answers.i.payload.eq(Mux(of_host, requests.payload.data, self.answer.payload)),
            ask.eq(~of_host & (asking >= 0) & (free != 0)),
            asks.eq(ask & self.o.ready),
            taken.eq(answers.o.valid & answers.o.ready),
            leaves.eq(full & memory.w.ready),
            memory.w.payload.data.eq(words),
            memory.w.payload.enable.eq(enable),
        ]
        if width > 1:
            wide = Signal()
            m.d.sync += wide.eq(move.space == Space.SCRATCHPAD)
            m.d.comb += [
                ask_whole.eq(wide & (index == 0) & asking_many),
                whole.eq(wide & (at.index == 0) & at.many),
            ]
        if not self.chip.masks:
            beside = Mux(begun, at.edges[1], at.edges[0])
            filled = (Mux(enable[k], words.word_select(k, 8), beside.word_select(k, 8)) for k in range(size))
            m.d.comb += [memory.w.payload.data.eq(Cat(filled)), memory.w.payload.enable.eq((1 << size) - 1)]
        m.d.sync += [asking.eq(move.length - 1), asking_many.eq(move.length >= width), index.eq(where), begun.eq(0)]
        with m.State("store"):
            m.d.comb += [
                answers.i.valid.eq(Mux(of_host, requests.valid, self.answer.valid)),
                requests.ready.eq(of_host & answers.i.ready),
                answers.o.ready.eq((~full | memory.w.ready) & (at.left >= 0)),
                request.space.eq(move.space),
                request.address.eq(at.place),
                request.write.eq(0),
                self.o.valid.eq(ask),
                at.forth.eq(asks),
                at.whole.eq(ask_whole),
                memory.w.valid.eq(full),
            ]
            m.d.sync += [
                asking.eq(asking),
                asking_many.eq(asking_many),
                index.eq(index),
                free.eq(free - asks + (taken & ~of_host)),
                begun.eq(begun | leaves),
            ]
            with m.If(asks):
                m.d.sync += [
                    asking.eq(asking - Mux(ask_whole, width, 1)),
                    asking_many.eq(Mux(ask_whole, asking >= 2 * width - 1, asking >= width)),
                    index.eq(index + Mux(ask_whole, width, 1)),
                ]
            self._pass(m, at, taken, whole)
            self._gather(m, at, answers.o.payload, taken=taken, whole=whole, leaves=leaves, word=(words, enable, full))
            with m.If((at.left < 0) & ~full):
                self._end(m, at)

    def _gather(
        self, m: Module, at: _Progress, data: Value, *, taken: Value, whole: Value, leaves: Value,
        word: tuple[Signal, Signal, Signal],
    ) -> None:  # fmt: skip
        """In a state: bytes that are taken become a word, or with ``whole`` are one; ``word`` is it, which of its bytes
        count, and that it can leave."""
        words, enable, full = word
        with m.If(leaves):
            m.d.sync += [full.eq(0), enable.eq(0)]
        with m.If(taken):
            m.d.sync += [
                words.word_select(at.index, 8).eq(data),
                enable.eq(Mux(leaves, 0, enable) | (1 << at.index)),
                full.eq(at.last | (at.left == 0)),
            ]
        with m.If(taken & whole):
            m.d.sync += [words.eq(data), enable.eq((1 << len(enable)) - 1), full.eq(1)]

    def _end(self, m: Module, at: _Progress) -> None:
        """In a state: the move is over, and the next one goes on behind it."""
        m.d.comb += at.over.eq(1)
        m.next = "idle"
