"""Pages and tables of what was measured.

In: the record of a run, or a configuration. Out: one self-contained page (``page.py``, which needs the extra
``report``), and a comparison of processing elements (``compare.py``). Read ``page.py`` first; ``limits.py`` finds what
limits a layer.
"""
