"""Print pip's constraints for the lowest versions that pyproject.toml allows.

Only direct dependencies are held down; pip resolves what they need themselves.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
LOWEST = re.compile(r"(?P<name>[\w-]+)(\[\w+\])?>=(?P<version>[\w.]+)")


def constraints(project: str) -> list[str]:
    """Return a line ``name==version`` for each requirement. Each must name its lower bound."""
    document = tomllib.loads(project)
    optional = document["project"]["optional-dependencies"].values()
    groups = [
        document["project"]["dependencies"],
        *optional,
        *document["dependency-groups"].values(),
    ]
    lines = []
    for requirement in sorted({each for group in groups for each in group}):
        found = LOWEST.match(requirement)
        if found is None:
            raise SystemExit(f"{requirement}: no lower bound (name>=version)")
        lines.append("{name}=={version}".format_map(found.groupdict()))
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(constraints(PROJECT.read_text())) + "\n")
