"""What a device says of itself: JSON text in a read-only memory."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sateen.hw.spec.config import Config

__all__ = ["IDENTITY_BYTES", "Identity"]

IDENTITY_BYTES = 1024
"""Size of the identity memory; the text is padded with spaces."""


@dataclass(frozen=True)
class Identity:
    """A device's identity: its configuration and the name of its build."""

    config: Config
    build: str
    """What the device was built from: the configuration's digest, or of a bitstream ``BOARD/IDENTITY``."""

    FORMAT = 3
    """Version of the wire format and the descriptors."""

    HEAD = f'{{"sateen":{FORMAT},"layout":"'
    """What the text begins with, before the eight hexadecimal digits of
    :attr:`~sateen.hw.spec.config.Config.layout_code`: a driver that reads no JSON compares these."""

    @property
    def board(self) -> str:
        """The board that the bitstream was built for; empty for a simulation or a design of others."""
        return self.build.rpartition("/")[0]

    def encode(self) -> bytes:
        """The memory's contents, :data:`IDENTITY_BYTES` long."""
        fields = {
            "sateen": self.FORMAT,
            "layout": f"{self.config.layout_code:08x}",
            "build": self.build,
            "config": self.config.to_dict(),
        }
        text = json.dumps(fields, separators=(",", ":")).encode()
        if len(text) > IDENTITY_BYTES:
            raise ValueError(f"the identity takes {len(text)} bytes; at most {IDENTITY_BYTES} fit")
        return text.ljust(IDENTITY_BYTES)

    @classmethod
    def decode(cls, data: bytes) -> Identity:
        """The identity in the memory's contents; ``ValueError`` if there is none, or one of another format."""
        try:
            fields = json.loads(data)
            version, build, config = fields["sateen"], fields["build"], fields["config"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("the device's identity is not Sateen's") from error
        if version != cls.FORMAT:
            raise ValueError(f"the device speaks format {version}, this driver format {cls.FORMAT}")
        if not isinstance(build, str):
            raise ValueError(f"the device's identity names its build {build!r}")
        return cls(Config.from_dict(config), build)
