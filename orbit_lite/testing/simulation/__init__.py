"""Clusters in virtual time: one seed, one run."""
