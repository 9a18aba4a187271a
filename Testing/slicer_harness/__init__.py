"""A strict stand-in for the 3D Slicer application, to test scripted modules without it.

PySide6 is made to behave like PythonQt, the MRML is the real one of slicer-core, and the widgets
of CTK and Slicer are small imitations. Whatever Slicer would only print, or silently ignore, is
an exception here. Passing on the harness does not replace a run in Slicer.

Use ``from slicer_harness import harness`` in scripts, and the fixtures of ``fixtures.py`` in
tests.
"""
