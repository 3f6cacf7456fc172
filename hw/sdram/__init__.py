"""SDR SDRAM outside the chip: a controller that keeps its data bus busy.

In: requests for runs of words, and the words. Out: the chip's pins, and the words that were read. The chips are in
:mod:`sateen.hw.spec.sdram`, a model of them in :mod:`sateen.sim.sdram`. Nothing here knows of layers or engines. Read
:mod:`~sateen.hw.sdram.controller` first.
"""
