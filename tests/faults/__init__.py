"""Faults that tests inject beneath the service: in the driver, in the C library, in the file."""
