"""What training and retrieval on the non-zeros cost beside dense embeddings: a module, with a class, a benchmark."""
