"""Tables of settings, one noun a file; ``harness.config`` joins them to a trial's."""
