"""The specification: every fact that gateware, simulator, compiler and driver share.

Configurations and presets, the layouts of descriptors and registers, the wire format, the PEs' and units' latencies.
Plain Python that imports nothing else of Sateen and no Amaranth, so that the host side runs without it. Read
:mod:`~sateen.hw.spec.config` first, then :mod:`~sateen.hw.spec.descriptor`.
"""
