"""Sequifier: tuned, deployable sequence models from tables of events. Importing it loads nothing heavy."""

__version__ = "0.1.0"

ARITHMETIC = 3
"""Raised by each correction of how models are computed, trained or measured. Runs keep their identities; records say
the number.

1: 0.1.0 as first released. 2: Muon and its relatives orthogonalise query, key and value for themselves; embeddings of
real values do not decay; the residual stream is float32 in every model that trains with bfloat16 products. 3: accuracy,
top5 and mrr count a target of an unknown class as a miss; before, they left it out.
"""
