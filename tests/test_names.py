import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUESTION = re.compile(r"(What|Whether|How|Why|Which|Who)\b")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def nodes(*folders: str) -> Iterator[tuple[Path, ast.AST]]:
    """Yield each node of the Python files in these folders, with its file."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield path, node


def test_a_class_name_means_one_thing() -> None:
    """No two classes of the program have the same name."""
    names = Counter(node.name for _, node in nodes("worker") if isinstance(node, ast.ClassDef))
    assert [] == [name for name, times in names.items() if times > 1]


def test_no_docstring_begins_with_a_question_word() -> None:
    """A docstring states a fact; none begins with What, Whether, How, Why, Which or Who."""
    asking = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
        for path, node in nodes("worker", "tests", "migrations")
        if isinstance(node, DOCUMENTED) and QUESTION.match(ast.get_docstring(node) or "")
    ]
    assert [] == asking
