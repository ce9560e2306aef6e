"""Raft (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", extended version; thesis 2014)."""
