"""The supported boards, one small file each."""

from __future__ import annotations

from sateen.fpga.board import Board
from sateen.fpga.boards import (
    colorlight_5a_75b,
    ecpix5_85f,
    ice40_hx8k,
    icebreaker,
    icepi_zero,
    orangecrab_85f,
    tang_nano_9k,
    ulx3s_85f,
    versa_ecp5,
)

__all__ = ["BOARDS"]

BOARDS: dict[str, Board] = {
    "ulx3s-85f": ulx3s_85f.BOARD,
    "orangecrab-85f": orangecrab_85f.BOARD,
    "ecpix5-85f": ecpix5_85f.BOARD,
    "versa-ecp5": versa_ecp5.BOARD,
    "icepi-zero": icepi_zero.BOARD,
    "colorlight-5a-75b": colorlight_5a_75b.BOARD,
    "icebreaker": icebreaker.BOARD,
    "ice40-hx8k": ice40_hx8k.BOARD,
    "tang-nano-9k": tang_nano_9k.BOARD,
}
"""Every board, by the name that ``sateen build --board`` takes."""
