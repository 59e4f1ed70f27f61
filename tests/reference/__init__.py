"""Plain, slow, obviously right versions of every numerical part: oracles of tests and benchmarks.

They share no code with ``harness`` but for the networks that they are given.
"""
