"""The environment as people set it: what is empty is unset, and what cannot be found is said."""

from pathlib import Path

import pytest

from nnunet_mcp.errors import Unavailable
from nnunet_mcp.settings import Settings, variable


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        monkeypatch.delenv(variable(name, field), raising=False)
    unset = Settings()

    for name, field in Settings.model_fields.items():
        monkeypatch.setenv(variable(name, field), "")

    assert Settings() == unset


def test_without_a_home_the_base_folder_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)

    with pytest.raises(Unavailable, match="Set NNUNET_MCP_DATA to an absolute path"):
        Settings().folder("raw")
