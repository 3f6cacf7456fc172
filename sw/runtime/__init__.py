"""Running models.

In: a :class:`~sateen.compiler.Model` and the name of a device, simulated or real. Out: results, and what the device's
counters say of them. Read ``device.py`` first, then ``inference.py``; ``link.py`` speaks the wire format over any
``transport.py``.
"""

from sateen.runtime.device import Device, LoadedModel, Profile, open
from sateen.runtime.record import LayerRecord, RunRecord
from sateen.runtime.serve import serve

__all__ = ["Device", "LayerRecord", "LoadedModel", "Profile", "RunRecord", "open", "serve"]
