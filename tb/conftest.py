"""What holds for all tests."""

import os

# Tests build many simulations and run each for a short time.
os.environ.setdefault("SATEEN_CXXFLAGS", "-O0")
