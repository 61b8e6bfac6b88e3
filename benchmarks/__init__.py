"""Side by side with what a user would pick instead: each contestant in a process of its own, on one machine.

`python -m benchmarks` runs all cases, `python -m benchmarks NAME` one; see `__main__.py`.
"""
