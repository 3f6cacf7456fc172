"""Configuration, layouts and wire formats: every fact that gateware, simulator, compiler and driver share.

Plain Python; imports no Amaranth, so that the host side runs without it.
"""
