"""What scripts/bench runs: contenders (`*_side.py`), scenarios, and the pure parts (results, targets, report, plot).

The controller starts every contender's server and client as processes of their own (processes.py, side.py) and asks
them for one short measurement after the other, each contender in turn, so that a disturbance of the machine hits all.
"""
