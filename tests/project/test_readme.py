"""The README and the documents name what the code has."""

import re
from pathlib import Path

from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings, variable
from nnunet_mcp.tools import TOOLS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_tool_parameter_and_setting_is_named() -> None:
    names = [tool.name for tool in TOOLS] + list(TrainingRequest.model_fields)
    names += [variable(name, field) for name, field in Settings.model_fields.items()]
    documents = README + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert [name for name in names if f"`{name}`" not in documents] == []


def test_the_readme_is_read_in_five_minutes() -> None:
    prose = re.sub(r"<!-- begin.*?<!-- end|\| `.*? \|$", "", README, flags=re.DOTALL | re.MULTILINE)
    assert len(prose.split()) <= 1500  # 250 to 300 words a minute: Brysbaert, J. Mem. Lang. 109, 104047 (2019)


def test_every_example_file_is_in_the_readme_and_the_other_way_round() -> None:
    named = set(re.findall(r"examples/(\w+\.py)", README))
    assert named == {path.name for path in (ROOT / "examples").glob("*.py")} - {"common.py"}


def test_every_dependency_has_a_line() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = README.split("## Dependencies")[1].split("##")[0]
    extras = [needed for extra, needed in project["optional-dependencies"].items() if extra != "dev"]
    names = [re.split(r"[<>=\[]", text)[0] for text in sum(extras, project["dependencies"])]
    assert [name for name in names if name not in table] == []
