"""Two frames on the way at a time: the next one travels while the device executes the one before."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sateen.errors import DeviceError, DeviceTakenError
from sateen.hw.spec.wire import Frame, FrameType, Stuffing
from sateen.runtime.frames import Operation, check, check_user, frames, silent

if TYPE_CHECKING:
    from sateen.runtime.link import Link

__all__ = ["Job", "Window"]

log = logging.getLogger(__name__)

WIDTH = 2
"""Frames on the way: as many as the device's receive buffers."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Operations that may be executed again from the first one on, whatever of them has been executed and whatever was
    executed after them, with the same results: an inference with its inputs, or writes alone."""

    operations: Sequence[Operation]
    busy_cycles: int = 0
    """How long the programs that are waited for may run."""
    finish: Callable[[bytes | DeviceError], None]
    """Called with the data of all reads, or with why the device refused an operation or ended a program."""


@dataclass
class Progress:
    """A job that has begun."""

    job: Job
    frames: list[tuple[bytes, int]]
    """Payloads, and the bytes of their answers."""
    sent: int = 0
    answers: list[bytes] = field(default_factory=list)
    error: DeviceError | None = None


@dataclass(frozen=True)
class Flying:
    """A frame on the way."""

    progress: Progress
    seq: int
    encoded: bytes
    size: int


class Window:
    """Executes jobs over a link, in order.

    The device keeps its last answer only. If that to the older of two frames is lost, both have been executed, and
    their jobs begin again, the first of them with one frame at a time, which loses nothing.

    Parameters
    ----------
    link : Link
        Its turn is held.
    source : callable
        The next job; ``None`` if there is none.
    poll_seconds : float, optional
        How often ``source`` is asked again while the last answers are waited for; by default it is not.
    """

    def __init__(self, link: Link, source: Callable[[], Job | None], *, poll_seconds: float | None = None):
        self.link, self.source, self.poll_seconds = link, source, poll_seconds
        self.begun: list[Progress] = []
        self.flying: deque[Flying] = deque()
        self.careful: Progress | None = None
        """The job whose answers were lost."""
        self.stuffing = Stuffing()

    def run(self) -> None:
        """Until there is no further job, and all have ended.

        Raises
        ------
        LinkError
            If the device does not answer.
        DeviceTakenError
            If somebody else uses it.
        DeviceError
            If the connection is lost.
        """
        while True:
            data = self._fill()
            if not self.flying:
                return
            self._wait(data)

    def _fill(self) -> bytes:
        """Adds frames for which there is room; what is to be sent."""
        data, link = b"", self.link
        while len(self.flying) < (WIDTH if self.careful is None else 1) and (progress := self._next()) is not None:
            payload, size = progress.frames[progress.sent]
            progress.sent += 1
            seq = link.count_frame()
            encoded = Frame(FrameType.REQUEST, seq, payload, link.session).encode()
            self.flying.append(Flying(progress, seq, encoded, size))
            data += encoded
        return data

    def _next(self) -> Progress | None:
        """The job of the next frame."""
        for progress in self.begun:
            if progress.error is None and progress.sent < len(progress.frames):
                return progress
        job = self.source()
        if job is None:
            return None
        self.begun.append(Progress(job, list(frames(job.operations, self.link.frame_bytes))))
        return self.begun[-1]

    def _wait(self, data: bytes) -> None:
        """Sends, until the oldest frame is answered, an answer is known to be lost, or there is another job."""
        for attempt in range(self.link.tries):
            if attempt:
                self.link.retransmissions += 1
                log.info("no answer to frame %d, sending it again", self.flying[0].seq)
                data = b"".join(each.encoded for each in self.flying)
            if self._listen(data):
                return
        raise silent(self.link.tries)

    def _listen(self, data: bytes) -> bool:
        """Sends once; whether something has changed before the time is over."""
        link, transport = self.link, self.link.transport
        size = sum(len(each.encoded) + link.frame_bytes for each in self.flying)
        timeout = link.patience(size, self.flying[0].progress.job.busy_cycles)
        deadline, begin = transport.now() + timeout, link.bytes
        link.bytes += len(data)
        left = timeout
        while left > 0:
            polling = self.poll_seconds is not None and len(self.flying) < WIDTH and self.careful is None
            now = transport.now()
            came = transport.exchange(data, timeout=min(left, self.poll_seconds or left) if polling else left)
            data = b""
            link.bytes += len(came)
            answers = [Frame.decode(body) for body in self.stuffing.feed(came)]
            # All of them: behind the oldest frame's answer there may be the other one's.
            if any([self._take(answer) for answer in answers if answer is not None]):
                return True
            if polling and (more := self._fill()):
                data = more
                link.bytes += len(more)
            elif not came and (not polling or transport.now() <= now):
                return False
            # Whatever trickles in, the deadline stands.
            left = deadline - transport.now() if link.may_continue(begin) else 0
        return False

    def _take(self, answer: Frame) -> bool:
        """Takes an answer; whether it is one to a frame on the way."""
        if (answer.type, answer.session) != (FrameType.RESPONSE, self.link.session):
            return False
        place = next((place for place, each in enumerate(self.flying) if each.seq == answer.seq), None)
        if place is None:
            return False
        check_user(answer.payload)
        if place == 0:
            frame = self.flying.popleft()
            self.link.unanswered = len(self.flying)
            self._accept(frame, answer.payload)
        else:
            self._begin_again()
        return True

    def _accept(self, frame: Flying, payload: bytes) -> None:
        progress = frame.progress
        if progress.error is None:
            try:
                check(payload, frame.size)
                progress.answers.append(payload[:-1])
            except DeviceTakenError:
                raise
            except DeviceError as error:
                progress.error = error
        self._finish()

    def _finish(self) -> None:
        """Ends the oldest job, if nothing of it is left."""
        while self.begun:
            progress = self.begun[0]
            whole = len(progress.answers) == len(progress.frames)
            if not (whole or progress.error) or any(each.progress is progress for each in self.flying):
                return
            self.begun.pop(0)
            if progress is self.careful:
                self.careful = None
            progress.job.finish(progress.error or b"".join(progress.answers))

    def _begin_again(self) -> None:
        """The answer to the oldest frame is lost: another one was executed after it."""
        log.info("the answer to frame %d is lost, beginning again", self.flying[0].seq)
        self.link.retransmissions += 1
        self.flying.clear()
        self.link.unanswered = 0
        for progress in self.begun:
            if progress.error is None:
                progress.sent, progress.answers = 0, []
        self._finish()
        self.careful = self.begun[0] if self.begun else None
