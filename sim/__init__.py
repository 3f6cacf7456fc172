"""Simulation: the golden model, models of address streams and cycles, and the simulated device.

In: descriptors, configurations, tensors. Out: exact results (:mod:`~sateen.sim.golden`), predicted cycle counters
(:mod:`~sateen.sim.cycles`), and a device of compiled Verilog that answers a driver's bytes
(:mod:`~sateen.sim.verilated`). Read :mod:`~sateen.sim.golden` first.
"""
