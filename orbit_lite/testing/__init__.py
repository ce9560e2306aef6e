"""What users' own tests can build on. Nothing here is loaded by a running node.

- `orbit_lite.testing.strategies`: Hypothesis strategies for domain values and messages
  (`pip install "orbit-lite[testing]"`).
- `orbit_lite.testing.log_store_contract`: what every LogStore promises, as checks to run against one of your own.
"""
