"""A benchmarking harness for dataset distillation: distil, evaluate, search."""

__version__ = "0.1.0"
