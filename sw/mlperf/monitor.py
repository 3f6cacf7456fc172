"""The commands that MLPerf Tiny's runner and EEMBC's EnergyRunner send to a device, and their answers.

Commands end with ``%``, and each answer with ``m-ready``. Source: ``benchmark/api`` of
https://github.com/mlcommons/tiny.
"""

from __future__ import annotations

from collections.abc import Iterator

from sateen.errors import SateenError
from sateen.mlperf.subject import Subject

__all__ = ["Monitor"]

FIRMWARE = "ULPMark for tinyML Firmware V0.0.1"
"""The version of the commands, by which runners know them."""
TERMINATOR = b"%"
LONGEST = 80
"""Characters of a command."""
LINE = 8
"""Bytes in a line of ``db print``."""
MOST = 1 << 24
"""Bytes of an input, at most."""
HELP = (
    "help         : Print this information", "name         : Print the name of the device",
    "timestamp    : Generate a timestamp", "profile      : Print the versions of commands and model",
    "db SUBCMD    : Manipulate a generic byte buffer", "  load N     : Expect N bytes",
    "  HH[HH]*    : Load bytes, in hexadecimal, until there are N", "  print      : Print the bytes",
    "infer N [W=10]: Execute N inferences after W warm-up inferences", "results      : Return the results",
)  # fmt: skip


class Monitor:
    """Answers commands; ``vendor`` is the name that the device gives itself."""

    def __init__(self, subject: Subject, vendor: str = "sateen"):
        self.subject, self.vendor = subject, vendor
        self._command = b""
        self._expected, self._data = 0, bytearray()

    def greeting(self) -> bytes:
        """What a device says when it starts."""
        return _lines(["m-timestamp-mode-performance", "m-init-done", "m-ready"])

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Takes bytes that came, and yields what is answered, as soon as it is known."""
        *commands, rest = (self._command + data).split(TERMINATOR)
        # As the reference does, what is too long is cut.
        self._command = rest[:LONGEST]
        for command in commands:
            words = command[:LONGEST].decode("ascii", "replace").split()
            if words:
                for line in self._answer(words):
                    yield _lines([line])
            yield _lines(["m-ready"])

    def _answer(self, words: list[str]) -> Iterator[str]:
        command, *arguments = words
        answers = {
            "name": self._name, "timestamp": self._timestamp, "profile": self._profile, "help": self._help,
            "db": self._buffer, "infer": self._infer, "results": self._results,
        }  # fmt: skip
        if command not in answers:
            yield f"e-[Unknown command: {command}]"
            return
        try:
            yield from answers[command](arguments)
        except SateenError as error:
            yield f"e-[{' '.join(str(error).split())}]"

    def _name(self, arguments: list[str]) -> Iterator[str]:
        yield f"m-name-dut-[{self.vendor}]"

    def _timestamp(self, arguments: list[str]) -> Iterator[str]:
        yield f"m-lap-us-{round(self.subject.now() * 1e6)}"

    def _profile(self, arguments: list[str]) -> Iterator[str]:
        yield f"m-profile-[{FIRMWARE}]"
        yield f"m-model-[{self.subject.benchmark.name}]"

    def _help(self, arguments: list[str]) -> Iterator[str]:
        yield from (FIRMWARE, "", *HELP)

    def _buffer(self, arguments: list[str]) -> Iterator[str]:
        if not arguments:
            yield "e-[Command 'db' requires a subcommand]"
        elif arguments[0] == "load":
            yield self._expect(arguments[1:])
        elif arguments[0] == "print":
            for start in range(0, len(self._data), LINE):
                yield "m-buffer-" + "-".join(f"{byte:02x}" for byte in self._data[start : start + LINE])
        else:
            yield from self._take(arguments[0])

    def _expect(self, arguments: list[str]) -> str:
        count = _number(arguments[0]) if arguments else None
        if count is None:
            return "e-[Command 'db load' requires the # of bytes]"
        if not 0 < count <= MOST:
            return f"e-[Command 'db load' must be >0 and at most {MOST} bytes]"
        self._expected, self._data = count, bytearray()
        return f"m-[Expecting {count} bytes]"

    def _take(self, digits: str) -> Iterator[str]:
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            yield f"e-[Invalid hex digits '{digits}']"
            return
        if len(self._data) == self._expected:
            yield "e-[No more bytes are expected; send 'db load']"
            return
        # What comes behind the last byte is disregarded, as the reference does.
        self._data += data[: self._expected - len(self._data)]
        if len(self._data) == self._expected:
            self.subject.load(bytes(self._data))
            yield "m-load-done"

    def _infer(self, arguments: list[str]) -> Iterator[str]:
        count = _number(arguments[0]) if arguments else 1
        warm = _number(arguments[1]) if len(arguments) > 1 else 10
        if count is None or count <= 0:
            yield "e-[Inference iterations must be >0]"
            return
        if warm is None or warm < 0:
            yield "e-[Inference warmup must be >=0]"
            return
        yield f"m-warmup-start-{warm}"
        self.subject.infer(warm)
        yield "m-warmup-done"
        yield f"m-infer-start-{count}"
        yield from self._timestamp([])
        self.subject.infer(count)
        yield from self._timestamp([])
        yield "m-infer-done"
        yield from self._results([])

    def _results(self, arguments: list[str]) -> Iterator[str]:
        yield f"m-results-[{','.join(f'{value:0.3f}' for value in self.subject.results())}]"


def _number(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() else None


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("ascii", "replace")
