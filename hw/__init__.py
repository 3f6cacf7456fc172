"""The gateware.

A configuration of :mod:`sateen.hw.spec` comes in; an accelerator (:mod:`~sateen.hw.top`), or its engine behind AXI
(:mod:`~sateen.hw.axi`), goes out, as Amaranth components or as Verilog (:mod:`~sateen.hw.export`). ``stream`` has small
parts, ``pe`` the processing elements, ``link`` the host's end of the accelerator, ``pipelined`` and ``sequential`` the
two engines. This folder itself has what both engines share: :mod:`~sateen.hw.tile`, memories, multipliers, requantizer,
the host's port. Read :mod:`~sateen.hw.top` first, then :mod:`~sateen.hw.tile`.
"""
