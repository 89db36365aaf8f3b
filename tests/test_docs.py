"""The pages in docs/ say what is so: the code's citations lead to a section, and imports keep to the floors."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
PACKAGE = TOP / "recbole_sparse_elsa"
NAME = PACKAGE.name
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# By those who import them at the top of a module, a server would have to load them.
HEAVY = {"pandas", "sklearn", "jinja2", "tqdm", "matplotlib"}


def page(name):
    return (TOP / "docs" / name).read_text(encoding="utf-8")


def floors():
    """For each folder or module of the table in docs/architecture.md its floor, and the floors that it may import."""
    table = {}
    for floor, names, allowed in re.findall(r"^\| (\d+) \| (`[^|]+) \| ([^|]+) \|", page("architecture.md"), re.M):
        may_import = set()
        for first, _, last in (part.partition(" to ") for part in allowed.split(", ")):
            may_import |= set(range(int(first), int(last or first) + 1))
        for name in re.findall(r"`([^`]+)`", names):
            assert name not in table, f"{name} stands on two floors"
            table[name] = int(floor), may_import
    return table


FLOORS = floors()


def place_of(module):
    """The most special name in the table that a module (its name within the package) belongs to, or None."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in FLOORS), None)


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports_of(path, when_loaded=False):
    """Dotted names that a file imports, also inside functions and for types, unless only when it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.parents[node.level - 1].relative_to(TOP).parts if node.level else ()
            module = ".".join([*package, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            if isinstance(node.args[0], ast.Constant):
                yield node.args[0].value
        children = ast.iter_child_nodes(node)
        nodes += [
            child for child in children if not (when_loaded and (isinstance(child, inside) or is_for_types(child)))
        ]


def imported_of_the_package(path):
    """Modules of the package that a file imports, as names within it; not those from which it takes the version."""
    for name in imports_of(path):
        if name.startswith(f"{NAME}.") and name != f"{NAME}.__version__":
            inner = name.removeprefix(f"{NAME}.")
            yield inner if inner in MODULES else inner.rpartition(".")[0] or inner


@pytest.mark.parametrize("module", sorted(MODULES))
def test_citations_of_the_method_page_lead_to_a_section(module):
    sections = set(re.findall(r"^## (\d+)\. ", page("method.md"), re.M))
    text = " ".join(re.sub(r"^[\s#]+", "", line) for line in MODULES[module].read_text(encoding="utf-8").splitlines())
    # The name of the page stands before a comma or not; there may be several sections.
    for numbers in re.findall(r"[Mm]ethod page,? sections? ((?:\d+(?:, | and | to )?)+)", text):
        assert set(re.findall(r"\d+", numbers)) <= sections, numbers
    cited = len(re.findall(r"[Mm]ethod page", text))
    assert cited == len(re.findall(r"[Mm]ethod page,? sections? \d", text)), "a citation without a section"


def test_the_code_cites_every_section_of_the_method_page():
    text = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in MODULES.values())
    cited = re.findall(r"[Mm]ethod page,? sections? ((?:\d+(?:, | and )?)+)", text)
    sections = re.findall(r"^## (\d+)\. ", page("method.md"), re.M)
    assert sections == [str(number) for number in range(1, 9)]
    assert {number for numbers in cited for number in re.findall(r"\d+", numbers)} == set(sections)


@pytest.mark.parametrize("name", ["method.md", "architecture.md"])
def test_links_of_a_page_lead_somewhere(name):
    anchors = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page(name), re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", page(name)):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (TOP / "docs" / target).is_file()


def test_every_folder_has_a_floor():
    without = {module for module in MODULES if module != "__init__" and place_of(module) is None}
    assert not without
    assert not {name for name in FLOORS if name not in MODULES}


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__init__", "plugin.on_import"}))
def test_a_module_imports_only_the_floors_that_it_may(module):
    own = place_of(module)
    floor, may_import = FLOORS[own]
    wrong = []
    for imported in imported_of_the_package(MODULES[module]):
        place = place_of(imported)
        if place != own and (place is None or FLOORS[place][0] not in may_import):
            wrong.append(imported)
    assert not wrong, f"{module}, on floor {floor}, imports {', '.join(sorted(set(wrong)))}"


def test_the_package_itself_imports_only_what_waits_for_recbole():
    for_types = "if TYPE_CHECKING:"
    source = MODULES["__init__"].read_text(encoding="utf-8")
    before, _, after = source.partition(for_types)
    outside = before + "\n".join(line for line in after.splitlines() if not line.startswith("    from "))
    assert set(re.findall(rf"^\s*(?:from|import) ({NAME}\S*)", outside, re.M)) == {f"{NAME}.plugin"}
    # What it imports when RecBole is imported it names as text.
    assert set(imported_of_the_package(MODULES["plugin.on_import"])) <= {"plugin.install"}


def test_there_are_no_circles_between_folders():
    graph = {}
    for module, path in MODULES.items():
        if module not in ("__init__", "plugin.on_import"):
            folder = module.partition(".")[0]
            others = {imported.partition(".")[0] for imported in imported_of_the_package(path)} - {folder}
            graph.setdefault(folder, set()).update(others)
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", sorted(MODULES))
def test_torch_and_recbole_begin_where_the_page_says(module):
    floor = FLOORS[place_of(module)][0] if module not in ("__init__", "plugin.on_import") else 1
    roots = {name.partition(".")[0] for name in imports_of(MODULES[module])} - {NAME}
    if module == "plugin.on_import":
        roots -= {"recbole"}  # whose import it waits for
    if floor <= FLOORS["core"][0]:
        assert "recbole" not in roots
    if floor <= FLOORS["segments"][0]:
        assert "torch" not in roots
        at_top = {name.partition(".")[0] for name in imports_of(MODULES[module], when_loaded=True)}
        assert not at_top & HEAVY


def test_at_the_top_level_lie_at_most_four_modules_besides_the_entry_points():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert len(modules) <= 4
    assert modules == {name for name, (floor, _) in FLOORS.items() if floor == 1}
