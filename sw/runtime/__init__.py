"""Running models.

In: a :class:`~sateen.compiler.Model` and the name of a device, simulated or real. Out: results, and the device's
counters for them. Read ``device.py`` first, then ``loaded.py`` and ``inference.py``; ``link.py`` speaks the wire format
over any transport of ``transport.py``. ``pipeline.py``, ``calls.py``, ``submissions.py`` and ``window.py`` are for
inferences that overlap, ``shelf.py``, ``spill.py`` and ``lists.py`` for devices with SDRAM.
"""

from sateen.runtime.device import Device, LoadedModel, Profile, allowed_cycles, open
from sateen.runtime.record import LayerRecord, RunRecord
from sateen.runtime.serve import serve

__all__ = ["Device", "LayerRecord", "LoadedModel", "Profile", "RunRecord", "allowed_cycles", "open", "serve"]
