"""RecBole's atomic files, read by one set of rules."""
