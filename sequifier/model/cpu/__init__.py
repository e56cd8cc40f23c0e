"""Hand-written functions for a CPU, each in place of torch's operations where those are slow.

The rest of `sequifier.model` is a plain transformer and reads without this folder: it asks `is_on` before it calls one
of these functions. What each part gains: benchmarks/cpu_paths.py and docs/decisions/005-a-fast-step.md.
"""
