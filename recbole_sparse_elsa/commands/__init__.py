"""The commands of ``sparse-elsa``, each a thin shell over a documented call."""
