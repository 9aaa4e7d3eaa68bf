"""Prints each failure when it happens, so that a run that is cut off has said it."""

import pytest


class ImmediateFailures:
    """A plugin of the process that reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"{report.nodeid} failed in its {report.when}")
            reporter.write_line(report.longreprtext)
