"""RecBole, as repaired, held against independent references."""
