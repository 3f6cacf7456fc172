"""Compiled models for embedded hosts, which have no Python.

In: a :class:`~sateen.compiler.Model`. Out: C files, the model and a driver for it. Read ``export.py`` first; the driver
is ``sateen.h`` and ``sateen.c``, to which ``constants.py`` adds what stands in ``hw/spec``.
"""

from sateen.embedded.export import export

__all__ = ["export"]
