"""The link over Ethernet: bytes of the link in UDP datagrams, over a PHY with GMII or RGMII.

:mod:`~sateen.hw.link.ethernet.frames` is at the PHY's clock, :mod:`~sateen.hw.link.ethernet.packets` at the
accelerator's, :mod:`~sateen.hw.link.ethernet.link` connects them.
"""
