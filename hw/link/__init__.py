"""The device's end of the link (:mod:`sateen.hw.spec.wire`).

In: bytes from the line. Out: requests to the memories and runs of programs (:mod:`sateen.hw.host`), and frames of
answers. Knows no engine. Read :mod:`~sateen.hw.link.endpoint` first.
"""
