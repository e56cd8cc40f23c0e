"""Sequifier: tuned, deployable sequence models from tables of events. Importing it loads nothing heavy."""

__version__ = "0.1.0"
