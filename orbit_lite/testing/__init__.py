"""What users' own tests can build on. Nothing here is loaded by a running node.

- `orbit_lite.testing.strategies`: Hypothesis strategies for domain values and messages
  (`pip install "orbit-lite[testing]"`).
"""
