"""Bodies of the commands that ``harness.cli`` names; each imports below the command line."""
