"""The leaderboard: many models, data sets, seeds and sizes under one protocol."""
