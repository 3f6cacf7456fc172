"""The pipelined engine: a unit for each stream, all working at once.

In: the host's bytes and the number of a program (:class:`sateen.hw.host.EngineSignature`). Out: bytes of the memories,
which hold results and counters. Read :mod:`~sateen.hw.pipelined.engine` first, then the units in the order of the data:
:mod:`~sateen.hw.pipelined.sequencer`, :mod:`~sateen.hw.pipelined.activations` and :mod:`~sateen.hw.pipelined.weights`,
:mod:`~sateen.hw.pipelined.accumulate`, :mod:`~sateen.hw.pipelined.output`, :mod:`~sateen.hw.pipelined.postprocess`.
"""
