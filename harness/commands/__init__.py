"""Bodies of larger commands; ``harness.cli`` registers them. All heavy imports are inside."""
