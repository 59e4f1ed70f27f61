"""Faults over running searches; ``make test-faults`` runs them all."""
