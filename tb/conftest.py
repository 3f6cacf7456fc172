"""Settings of all tests: seeds, allowed skips, the line that repeats a failure, and that no test changes the next."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import random
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import needs
import seeds

# Tests build many simulations and run each for a short time.
os.environ.setdefault("SATEEN_CXXFLAGS", "-O0")
# What tests see does not depend on the terminal they are started from.
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(name, None)

NO_SKIPS = "SATEEN_NO_SKIPS"
"""Where this is set, a test that is skipped has failed, unless its reason is allowed."""
ALLOWED_SKIPS = {
    "needs the reference models": "they are no part of a checkout; the tests against the interpreters do without",
    "needs VNNI": "onnxruntime's results are wrong on other x86 processors; the rest of the tests do without",
}
"""By how a reason begins: why such tests may be skipped all the same."""
MARKERS = ("fpga", "models", "prove")
"""What tests are marked with that run only where they are asked for."""


def _forbidden(longrepr: Any) -> str | None:
    """The reason of a skip, if it is not allowed."""
    reason = longrepr[2].removeprefix("Skipped: ") if isinstance(longrepr, tuple) else str(longrepr)
    return None if not os.environ.get(NO_SKIPS) or reason.startswith(tuple(ALLOWED_SKIPS)) else reason


def pytest_configure() -> None:
    """Where onnxruntime's sums of uint8 by int8 would saturate, it takes the slower kernels that do not, as far as it
    has any."""
    if not needs.vnni() and importlib.util.find_spec("onnxruntime"):
        runtime: Any = importlib.import_module("onnxruntime")
        runtime.InferenceSession = needs.exact_session(runtime)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    random.seed(seeds.begin(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Commands that run in this process set what is logged."""
    loggers = [(each, each.level) for each in (logging.getLogger("sateen"), *logging.getLogger().handlers)]
    try:
        return (yield)
    finally:
        for each, level in loggers:
            each.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """The console that all commands share must be as it was."""
    yield
    if (printing := sys.modules.get("sateen.cli.printing")) is None:
        return
    console = printing.console
    if (left := (console.quiet, console._width)) != (False, None):
        console.quiet, console._width = False, None
        pytest.fail(f"the test left the console's quiet and width at {left}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    """A shared fixture draws the same random numbers, whichever test uses it first."""
    if fixturedef.scope == "function":
        return (yield)
    state = random.getstate()
    random.seed(seeds.seed(fixturedef.baseid, fixturedef.argname, getattr(request, "param_index", 0)))
    try:
        return (yield)
    finally:
        random.setstate(state)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and (reason := _forbidden(report.longrepr)):
        report.outcome, report.longrepr = "failed", f"skipped, which {NO_SKIPS} forbids: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    report = yield
    if report.skipped and (reason := _forbidden(report.longrepr)):
        report.outcome, report.longrepr = "failed", f"skipped, which {NO_SKIPS} forbids: {reason}"
    return report


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, without a window."""
    chromium, driver_path = needs.programs("chromium", "chromedriver", packages="chromium chromium-driver")
    webdriver = needs.package("selenium.webdriver", extra="test")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "use-fake-device-for-media-stream",
        "use-fake-ui-for-media-stream",
    ):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After a run with failures, prints the line that repeats each of them."""
    for report in terminalreporter.getreports("failed") + terminalreporter.getreports("error"):
        markers = [f"-m {name}" for name in MARKERS if name in getattr(report, "keywords", ())]
        command = ["-m pytest", *markers, shlex.quote(report.nodeid)]
        terminalreporter.write_line(f"repeat with: {seeds.VARIABLE}={seeds.BASE} .venv/bin/python {' '.join(command)}")
