"""What users' own tests can build on. Nothing here is loaded by a running node.

- `orbit_lite.testing.strategies`: Hypothesis strategies for domain values and messages
  (`pip install "orbit-lite[testing]"`).
- `orbit_lite.testing.log_store_contract`: what every LogStore promises, as checks to run against one of your own.
- `orbit_lite.testing.simulation`: whole clusters in virtual time, and a checker of linearizability.
- `orbit_lite.testing.processes`: whole clusters of processes, to be killed, stopped and continued.
"""
