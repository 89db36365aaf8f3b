"""``sparse-elsa`` itself: its help, and that each command is a module that is loaded only when it is called."""

import argparse
import importlib
import os
import re
import subprocess
import sys

import pytest

import recbole_sparse_elsa
from recbole_sparse_elsa.__main__ import COMMANDS, main

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def printed_by(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code, capsys.readouterr().out


def test_every_module_of_the_folder_is_a_command_in_the_list():
    modules = {
        file.removesuffix(".py")
        for file in os.listdir(os.path.join(TOP, "recbole_sparse_elsa", "commands"))
        if file.endswith(".py") and not file.startswith("_")
    }
    assert modules == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_the_same_of_itself_as_the_list(command):
    module = importlib.import_module(f"recbole_sparse_elsa.commands.{command}")
    subparsers = argparse.ArgumentParser().add_subparsers()
    module.add_subcommand(subparsers)
    (choice,) = subparsers._choices_actions
    assert (choice.dest, choice.help) == (command, COMMANDS[command])
    assert callable(module.run)


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_lists_every_command(arguments, capsys):
    status, printed = printed_by(capsys, *arguments)
    # Without a command the help is what a user needs next, and yet nothing was done.
    assert status == (
        0 if arguments else "OptionError: the following arguments are required: SUBCOMMAND; see sparse-elsa --help"
    )
    assert printed.startswith("usage: sparse-elsa")
    assert re.findall(r"^    ([a-z]+)\b", printed, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    status, printed = printed_by(capsys, command, "--help")
    assert status == 0 and printed.startswith(f"usage: sparse-elsa {command}")


def test_the_version_is_printed(capsys):
    assert printed_by(capsys, "--version") == (0, f"{recbole_sparse_elsa.__version__}\n")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["recommand"], "OptionError: argument SUBCOMMAND: invalid choice: 'recommand'"),
        (["--verbose"], "OptionError: "),
        (["recommend"], "OptionError: the following arguments are required: INDEX, ITEM; see sparse-elsa recommend"),
        (["recommend", "a", "b", "--fast"], "OptionError: unrecognized arguments: --fast; see sparse-elsa --help"),
    ],
)
def test_what_a_user_can_mend_is_said_in_one_line(arguments, said):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert str(ended.value).startswith(said) and "\n" not in str(ended.value)


def test_a_command_loads_no_other():
    code = (
        "import sys\nfrom recbole_sparse_elsa.__main__ import main\n"
        "try:\n    main(['recommend', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in sorted(sys.modules) if name.startswith('recbole_sparse_elsa.commands.')])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == str(
        ["recbole_sparse_elsa.commands._source", "recbole_sparse_elsa.commands.recommend"]
    )
