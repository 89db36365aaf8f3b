"""How RecBole is changed: the registry, and how functions are replaced."""

import argparse
import dataclasses
import logging
import os
import sys
import types

import pandas as pd
import pytest
import recbole
import torch
from recbole.config import Config
from recbole.evaluator import Collector, Evaluator
from recbole.quick_start import quick_start
from recbole.trainer import Trainer
from recbole.utils import get_model

from recbole_sparse_elsa.commands.repairs import add_subcommand, repairs
from recbole_sparse_elsa.plugin import patching
from recbole_sparse_elsa.plugin.install import install

pytestmark = pytest.mark.usefixtures("root_logger")


def test_applying_again_changes_nothing():
    packages = ("recbole", "torch", "numpy", "pandas", "scipy")
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]
    owners = [*modules, Config, Trainer, Evaluator, Collector, pd.Series]
    before = [dict(vars(owner)) for owner in owners]
    patching.apply_all()
    after = [dict(vars(owner)) for owner in owners]
    for old, new in zip(before, after):
        assert old.keys() == new.keys()
        assert all(old[name] is new[name] for name in old)


def test_another_signature_is_refused(monkeypatch):
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, dataobject, phase: {})
    with pytest.raises(ImportError, match=r"Evaluator.evaluate does not have the parameters \(self, dataobject\)"):
        patching.apply_all()


def test_a_missing_function_is_refused(monkeypatch):
    monkeypatch.delattr(Collector, "get_data_struct")
    with pytest.raises(ImportError, match="Collector.get_data_struct"):
        patching.apply_all()


def test_names_imported_from_recbole_are_replaced_everywhere():
    assert recbole.utils.get_model is recbole.config.configurator.get_model is quick_start.get_model is get_model
    assert recbole.data.create_dataset is recbole.data.utils.create_dataset is quick_start.create_dataset
    assert recbole.quick_start.load_data_and_model is quick_start.load_data_and_model


# The registry

CHANGES = [pytest.param(change, id=change.name) for change in patching.changes()]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_says_what_it_changes_why_since_when_and_until_when(change):
    assert change.kind in patching.KINDS
    assert change.targets and all("." in target or target == "numpy" for target in change.targets)
    assert change.parameters is None or change.parameters
    for text in (change.what, change.why):
        assert text[0].isupper() or text.startswith("torch") or text.startswith("pandas") or text.startswith("numpy")
        assert text.endswith(".")
    assert change.since and change.until and callable(change.probe)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_needed_or_was_not_made_here(change):
    """Of RecBole's own functions; what only some stacks need is not even there on the others."""
    if not change.is_needed():
        assert change.only_where_needed
        for target in change.targets:
            assert change.name not in patching._changes_of(getattr(*patching._owner_and_name(target), None))


def test_what_this_version_of_recbole_does_wrong_is_found():
    own = [change for change in patching.changes() if change.since == "RecBole 1.2.1"]
    assert len(own) > 30 and not any(change.only_where_needed for change in own)
    assert [change.name for change in own if not change.is_needed()] == []


def test_probes_leave_everything_as_it_is():
    before = [(sys.modules["numpy"].__dict__.copy(), torch.load, Config.__init__, Trainer.evaluate, os.environ.copy())]
    handlers, files = logging.getLogger().handlers[:], sorted(os.listdir())
    for change in patching.changes():
        change.is_needed()
    after = [(sys.modules["numpy"].__dict__.copy(), torch.load, Config.__init__, Trainer.evaluate, os.environ.copy())]
    assert before == after
    assert logging.getLogger().handlers == handlers and sorted(os.listdir()) == files


def test_kinds_are_made_one_after_the_other():
    kinds = [change.kind for change in patching.changes()]
    assert list(dict.fromkeys(kinds)) == list(patching.KINDS)
    assert kinds == sorted(kinds, key=patching.KINDS.index)


def test_a_name_is_given_once(monkeypatch):
    monkeypatch.setattr(patching, "_registry", {})

    def register():
        @patching.adjusts("os.path", kind="repair", since="a", until="b", probe=lambda: True)
        def change_something():
            """Change something.

            It is wrong.
            """

    register()
    with pytest.raises(ValueError, match="two changes with the name change_something"):
        register()


def test_changes_of_one_function_are_stacked_in_their_order(monkeypatch):
    module = types.ModuleType("stacked")
    monkeypatch.setitem(sys.modules, "stacked", module)
    monkeypatch.setattr(patching, "_registry", {})

    class Greeter:
        def greet(self, name):
            return f"hello {name}"

    module.Greeter = Greeter
    original = Greeter.greet
    probed = []
    options = {"kind": "repair", "since": "a", "until": "b", "parameters": "self name"}

    @patching.replaces("stacked.Greeter.greet", **options, probe=lambda function: probed.append(function) or True)
    def shout(original):
        """Shout."""
        return lambda self, name: original(self, name).upper()

    @patching.replaces("stacked.Greeter.greet", **options, probe=lambda function: probed.append(function) or True)
    def ask(original):
        """Ask."""
        return lambda self, name: original(self, name) + ", really?"

    @patching.replaces("stacked.Greeter.greet", **options, probe=lambda function: False, only_where_needed=True)
    def never(original):
        """Never."""
        return None

    for _ in range(2):
        patching.apply_all()
        assert Greeter().greet("you") == "HELLO YOU, really?"
    assert Greeter.greet.__name__ == "greet"
    assert [change.is_needed() for change in patching.changes()] == [True, True, False]
    assert probed == [original, original]


def test_installing_again_registers_nothing_again():
    before = patching.changes()
    install()
    assert patching.changes() == before


def test_the_list_has_all_changes():
    rows = repairs()
    assert [row["name"] for row in rows] == [change.name for change in patching.changes()]
    assert all(row.keys() == rows[0].keys() for row in rows) and all(all(row.values()) for row in rows)
    assert {row["active"] for row in rows} <= {"yes", "not needed here"}


def test_a_probe_that_fails_does_not_hide_the_others(monkeypatch):
    def fail(original):
        raise KeyError("of another release")

    first, *others = patching.changes()
    odd = dataclasses.replace(first, name="odd", parameters=(), targets=("os.path.join",), probe=fail)
    monkeypatch.setattr(patching, "_registry", {change.name: change for change in (odd, first)})
    assert [row["active"] for row in repairs()] == ["not known (KeyError)", "yes"]


def test_the_command_prints_the_list(capsys):
    parser = argparse.ArgumentParser()
    add_subcommand(parser.add_subparsers())
    options = parser.parse_args(["repairs"])
    options.run(options)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(patching.changes())
    for change, line in zip(patching.changes(), lines[2:]):
        assert f" {change.name} " in line and change.since in line and change.until in line
