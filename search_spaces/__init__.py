"""Search spaces that come with the project, as package data."""
