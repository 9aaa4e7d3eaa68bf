"""Prints the requirements of pyproject.toml: the core ones, then those of the extras named.

An image installs them before it copies the code, so that a change of code keeps that layer.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
requirements = list(project["dependencies"])
for extra in sys.argv[1:]:
    requirements += project["optional-dependencies"][extra]
sys.stdout.write("\n".join(requirements) + "\n")
