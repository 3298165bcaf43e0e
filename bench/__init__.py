"""Measures; never asserts. Numbers are for people to compare on one machine, in one run."""
