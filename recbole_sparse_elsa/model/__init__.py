"""The models, each one file in RecBole's shape."""
