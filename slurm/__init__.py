"""Launches: puts a search on a SLURM cluster and keeps it going until it is finished."""
