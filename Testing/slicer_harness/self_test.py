"""The module ``slicer.testing``."""

from __future__ import annotations

import sys
import unittest


def exitSuccess() -> None:
    """Nothing: a test goes on."""


def exitFailure(message: str = "") -> None:
    """Fail."""
    raise Exception(message)


def runUnitTest(path: str | list[str], testname: str) -> None:
    """Run the unit tests of a module by its name."""
    sys.path.extend([path] if isinstance(path, str) else path)
    suite = unittest.TestLoader().loadTestsFromName(testname)
    if not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful():
        exitFailure()
