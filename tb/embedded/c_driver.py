"""The C driver and models, compiled and loaded into this process."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from sateen.compiler import Model
from sateen.embedded import export

SHIM = Path(__file__).parent / "shim.c"
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-Wconversion", "-Wshadow"]
"""The first are the driver's promise."""
CHECKED = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]

SEND = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t)
RECEIVE = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t, ctypes.c_uint32
)
NOW = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
TAKE = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t)
WAIT = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint32)


def statuses(header: str) -> type[IntEnum]:
    """The driver's statuses, as its header lists them."""
    listed = re.search(r"typedef enum \{\n(    SATEEN_OK = 0,.*?)\} sateen_status;", header, re.DOTALL)
    return IntEnum("Status", [(name, n) for n, name in enumerate(re.findall(r"^    SATEEN_(\w+)", listed[1], re.M))])


class CDriver:
    """The driver with models, and one device in it. Programs named ``stuck`` may take 1,024 cycles."""

    def __init__(self, folder: Path, *, device_part: bool = False, **models: Model):
        self.models = models
        files: dict[str, str] = {}
        for name, model in models.items():
            files |= export(model, name, device_part=device_part)
        if "stuck.c" in files:
            files["stuck.c"] = re.sub(r"\.limit = \d+", ".limit = 5", files["stuck.c"])
        for file, text in files.items():
            (folder / file).write_text(text)
        sources = [*(file for file in files if file.endswith(".c")), SHIM]
        command = ["gcc", *FLAGS, *CHECKED, "-shared", "-fPIC", "-O1", "-I.", *map(str, sources), "-o", "driver.so"]
        subprocess.run(command, cwd=folder, check=True)
        self.library = ctypes.CDLL(str(folder / "driver.so"))
        self.library.sateen_message.restype = ctypes.c_char_p
        self.Status = statuses(files["sateen.h"])
        self.kept: list[Any] = []

    def _model(self, name: str) -> ctypes.c_void_p:
        return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(self.library, f"{name}_model")))

    def open_link(
        self,
        send: Callable[[bytes], bool],
        receive: Callable[[int, int], bytes | None],
        now: Callable[[], int],
        *,
        bits_per_second: int = 0,
        clock_hz: int = 0,
        session: int = 1,
    ) -> IntEnum:
        """``receive`` takes the most bytes and milliseconds; ``None`` is a broken line."""

        def take(_: Any, data: Any, size: int, milliseconds: int) -> int:
            came = receive(size, milliseconds)
            if came is None:
                return -1
            ctypes.memmove(data, came, len(came))
            return len(came)

        functions = [
            SEND(lambda _, data, size: send(ctypes.string_at(data, size))),
            RECEIVE(take),
            NOW(lambda _: now()),
        ]
        self.kept = functions
        rest = ctypes.c_uint32(bits_per_second), ctypes.c_uint32(clock_hz), ctypes.c_uint16(session)
        return self.Status(self.library.shim_open_link(*functions, *rest))

    def open_axi(
        self,
        write: Callable[[int, int], None],
        read: Callable[[int], int],
        send: Callable[[bytes], bool],
        receive: Callable[[int], bytes | None],
        wait: Callable[[int], bool] | None = None,
    ) -> IntEnum:
        def take(_: Any, data: Any, size: int) -> bool:
            came = receive(size)
            if came is not None:
                ctypes.memmove(data, came, size)
            return came is not None

        self.kept = [
            WRITE(lambda _, address, value: write(address, value)),
            READ(lambda _, address: read(address)),
            SEND(lambda _, data, size: send(ctypes.string_at(data, size))),
            TAKE(take),
            WAIT(lambda _, looks: wait(looks)) if wait else WAIT(0),
        ]
        return self.Status(self.library.shim_open_axi(*self.kept))

    def load(self, name: str) -> IntEnum:
        return self.Status(self.library.shim_load(self._model(name)))

    def run(self, name: str, *inputs: np.ndarray) -> tuple[IntEnum, list[np.ndarray]]:
        """One item, in the model's file's types."""
        model, graph = self.models[name], self.models[name].graph
        data = [np.ascontiguousarray(each) for each in inputs]
        outputs = graph.outputs if not model.steps[-1].host else model.steps[-2].reads
        tensors = [graph.tensors[each] for each in outputs]
        results = [np.zeros((1, *each.shape[1:]), np.uint8 if each.unsigned else np.int8) for each in tensors]
        pointers = [
            (ctypes.c_void_p * len(arrays))(*(each.ctypes.data for each in arrays)) for arrays in (data, results)
        ]
        pointer = self._model(name)
        # One byte more shows a write behind the end.
        work = ctypes.create_string_buffer(b"\x5a" * (self.library.shim_work_bytes(pointer) + 1))
        status = self.Status(self.library.shim_run(pointer, *pointers, work))
        assert work.raw[-2:-1] == b"\x5a"
        return status, results

    def write(self, space: int, address: int, data: bytes) -> IntEnum:
        return self.Status(self.library.shim_write(space, ctypes.c_uint32(address), data, len(data)))

    def read(self, space: int, address: int, size: int) -> tuple[IntEnum, bytes]:
        data = ctypes.create_string_buffer(max(size, 1))
        status = self.Status(self.library.shim_read(space, ctypes.c_uint32(address), data, ctypes.c_uint32(size)))
        return status, data.raw[:size]

    @property
    def place(self) -> int:
        return self.library.shim_place()

    @property
    def refusal(self) -> int:
        return self.library.shim_refusal()

    @property
    def retransmissions(self) -> int:
        return self.library.shim_retransmissions()
