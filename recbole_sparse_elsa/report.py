"""What a command leaves behind: tables to read, CSV files to compute with, and what it was run on."""

import csv
import io
import os
import platform
import textwrap

import numpy
import recbole
import torch
from tabulate import tabulate

import recbole_sparse_elsa
from recbole_sparse_elsa.errors import OptionError


def open_output(folder, option="output") -> None:
    """Make the folder that an option, by default ``output``, names.

    Raises
    ------
    OptionError
        It cannot be made or written to.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OptionError(f"{option}: {folder} cannot be made a folder: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise OptionError(f"{option}: {folder} cannot be written to")


def add_device_option(parser) -> None:
    """Add ``--device`` to an argparse parser."""
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: cuda if there is one"
    )


def start(options):
    """Choose the device, make the output folder, and say on what the command runs.

    Parameters
    ----------
    options : argparse.Namespace
        With ``device`` and ``output``.

    Returns
    -------
    device : torch.device
    ran_on : dict
        See `environment`.

    Raises
    ------
    OptionError
        The device is not there, or the folder cannot be made or written to.
    """
    device = choose_device(options.device)
    open_output(options.output)
    ran_on = environment(device)
    print(f"Running on {environment_line(ran_on)}")
    return device, ran_on


def choose_device(name) -> torch.device:
    """The device of ``--device``: cpu, cuda, or auto (cuda if there is one).

    Raises
    ------
    OptionError
        cuda, where torch finds none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("device is cuda, but torch finds no CUDA device: give cpu or auto")
    return torch.device(name)


def environment(device) -> dict:
    """Versions, number of CPU threads, and the device with its name: the columns that every CSV file ends with."""
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "recbole": recbole.__version__,
        "recbole_sparse_elsa": recbole_sparse_elsa.__version__,
    }


def environment_line(ran_on) -> str:
    """What `environment` returned, as a line to read."""
    versions = ", ".join(
        f"{name} {ran_on[name]}" for name in ("python", "torch", "numpy", "recbole", "recbole_sparse_elsa")
    )
    return f"{ran_on['device_name']} ({ran_on['device']}), {ran_on['threads']} CPU threads; {versions}"


def _cpu_name():
    # platform.processor() is empty on most Linux systems.
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def markdown_table(rows) -> str:
    """Rows (mappings from heading to a number or text, all with the same headings) as a Markdown table."""
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, stralign="right")


def paragraph(template, **values) -> str:
    """A text with its values filled in, broken into lines anew."""
    return textwrap.fill(" ".join(template.format(**values).split()), width=120, break_on_hyphens=False)


def write_csv(file, rows) -> None:
    """Write rows (mappings from column to value, all with the same columns)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def write_text(file, text) -> None:
    """Write a text file; see `write_file`."""
    write_file(file, lambda temporary: temporary.write(text.encode()))


def write_file(file, write) -> None:
    """Write a file whole or not at all: ``write`` gets a temporary binary file, which is then renamed to ``file``."""
    temporary = f"{file}.tmp"
    try:
        with open(temporary, "wb") as opened:
            write(opened)
        os.replace(temporary, file)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
