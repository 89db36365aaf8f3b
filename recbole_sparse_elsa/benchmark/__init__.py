"""``sparse-elsa benchmark``: what training and retrieval on the non-zeros cost beside dense embeddings."""

from recbole_sparse_elsa.benchmark import evaluation, retrieval, scale, segments, step, training


def add_subcommand(subparsers) -> None:
    """Add ``benchmark`` with a subcommand for each benchmark."""
    parser = subparsers.add_parser("benchmark", help=__doc__.split("``: ")[1], description=__doc__, allow_abbrev=False)
    benchmarks = parser.add_subparsers(required=True, metavar="BENCHMARK")
    for module in (step, training, scale, evaluation, retrieval, segments):
        module.add_subcommand(benchmarks)
