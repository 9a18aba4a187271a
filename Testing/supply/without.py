"""A plugin of pytest: ``-p supply.without --without torch`` skips what cannot run for want of it.

The gate does not load it: there a package that is absent is a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from doctest import UnexpectedException
from typing import TypeVar

import pytest
from _pytest.doctest import MultipleDoctestFailures

_Report = TypeVar("_Report", pytest.CollectReport, pytest.TestReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names a package."""
    parser.addoption("--without", action="append", default=[], metavar="PACKAGE")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a file that cannot be imported for want of it."""
    report = yield
    call = getattr(report, "call", None)
    if report.failed and call is not None:
        # pytest leaves a module whose import failed, and half of its names, to those that follow.
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) == str(collector.path):
                del sys.modules[name]
        return _skip_for_want(report, call.excinfo.value, collector)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skip a test that ends for want of it."""
    report = yield
    if report.failed and call.excinfo is not None:
        return _skip_for_want(report, call.excinfo.value, item)
    return report


def _skip_for_want(
    report: _Report, error: BaseException | None, node: pytest.Item | pytest.Collector
) -> _Report:
    while error is not None:
        name = str(getattr(error, "name", None)).partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and name in node.config.getoption("--without"):
            report.outcome = "skipped"
            report.longrepr = (str(node.path), 0, f"without {name}")
            break
        error = _cause(error)
    return report


def _cause(error: BaseException) -> BaseException | None:
    if isinstance(error, MultipleDoctestFailures):
        error = error.failures[0]
    if isinstance(error, UnexpectedException):
        return error.exc_info[1]
    return error.__cause__ or error.__context__
