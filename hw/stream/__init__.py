"""Small parts of streams and pipelines: registers, multiplexers, queues, register slices, reads of a memory.

In and out: Amaranth streams and plain values. Nothing here knows of layers, descriptors or engines; of Sateen only
``hw.spec`` is imported. Read :mod:`~sateen.hw.stream.delay` first, then :mod:`~sateen.hw.stream.slice`.
"""
