"""Train and evaluate a model, RecBole's own or one of this package's: RecBole's command line on today's Python stack.

Every option of RecBole is given as ``--option=value``; see the README for those of ELSA and SparseELSA.
"""

import argparse
import os
import sys

import recbole_sparse_elsa
import yaml
from recbole.quick_start import run
from recbole_sparse_elsa.checkpoint import read_checkpoint
from recbole_sparse_elsa.errors import OptionError, UserError


def main():
    """Parse the command line as RecBole's own script does, and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", "-m", help="name of a model (default: SparseELSA)")
    parser.add_argument("--dataset", "-d", help="name of a data set (default: ml-100k, which RecBole ships)")
    parser.add_argument("--config_files", help="YAML files with options, separated by spaces; later ones win")
    parser.add_argument("--resume", help="checkpoint of an interrupted run to go on from, with its options")
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine")
    parser.add_argument("--ip", default="localhost", help="address of the first machine")
    parser.add_argument("--port", default="5678", help="port of the first machine")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="first rank of this machine")
    parser.add_argument("--version", action="version", version=recbole_sparse_elsa.__version__)
    args, _ = parser.parse_known_args()
    config_files = args.config_files.split() if args.config_files else []
    chosen, options = {"model": "SparseELSA", "dataset": "ml-100k"}, {}
    for file in config_files:
        chosen.update(_model_and_dataset_of(file))
    if args.resume:
        config = read_checkpoint(args.resume, "cpu")["config"]
        options = dict(config.external_config_dict)
        for name in ("nproc", "world_size", "ip", "port", "offset", "local_rank"):
            options.pop(name, None)  # what this run is given counts
        chosen = {name: config[name] for name in chosen}
    run(
        args.model or chosen["model"],
        args.dataset or chosen["dataset"],
        config_file_list=config_files,
        config_dict=options,
        nproc=args.nproc,
        world_size=args.world_size,
        ip=args.ip,
        port=args.port,
        group_offset=args.group_offset,
    )


def _model_and_dataset_of(config_file):
    """The model and the data set that a config file names, either of which may be missing."""
    if not os.path.isfile(config_file):
        raise OptionError(f"config_files: {config_file} was not found; give YAML files, separated by spaces")
    with open(config_file, encoding="utf-8") as file:
        try:
            options = yaml.load(file, Loader=yaml.FullLoader) or {}
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise OptionError(f"config_files: {config_file} is not a YAML file: {reason}") from None
    return {name: options[name] for name in ("model", "dataset") if name in options}


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"{type(error).__name__}: {error}")
