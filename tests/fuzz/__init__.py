"""Attacks at random, each with a stated number of tries: ``pytest -m slow tests/fuzz`` ends with a table of them."""
