"""The engine for parts of a few thousand LUTs: the same programs, one thing at a time."""
