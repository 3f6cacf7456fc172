"""The sequential engine, for parts of a few thousand LUTs: the same programs and results, one step at a time.

In and out: the same ports as the pipelined engine's (:class:`sateen.hw.host.EngineSignature`). Read
:mod:`~sateen.hw.sequential.engine` first, then :mod:`~sateen.hw.sequential.control`, whose states are the order of all
events, and :mod:`~sateen.hw.sequential.layer`.
"""
