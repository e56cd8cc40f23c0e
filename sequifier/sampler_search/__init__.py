"""Searches over samplers: each trial generates continuations with a trained model and scores them."""
