"""Searches: spaces, plans, folders. No Ray; no torch but in ``inline``, which runs trials."""
