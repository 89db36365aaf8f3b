"""Train and evaluate a model, RecBole's own or one of this package's: RecBole's command line on today's Python stack.

Every option of RecBole is given as ``--option=value``; see the README for those of ELSA and SparseELSA.
"""

from recbole_sparse_elsa.commands import train

if __name__ == "__main__":
    train.main(__doc__)
