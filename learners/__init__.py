"""River behind one door: learners are built from a JSON spec, and nothing here reads or writes.

Everything in this package is pure: no I/O, no clock, no random number without a seed, and
nothing from the service. It alone imports River.
"""
