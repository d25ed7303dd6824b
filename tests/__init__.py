"""The tests: one file per module, and the suites that make the service trustworthy."""
