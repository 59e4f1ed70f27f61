"""Ray Tune as the executor of a plan. All that imports Ray is here."""
