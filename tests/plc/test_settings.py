"""The settings on docs/plc.md are the station's, all of them, with the values that hold when they are left out."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML

from inspector.config import GoldenConfig, PlcConfig, SelfTestConfig, StationConfig
from tests.plc.examples import PAGE

OWN_PLACES = {"compact", "sparkplug"}
NO_DEFAULT = {"client_id", "username", "password_file", "ca_file", "cert_file", "key_file"}


def test_the_page_has_every_setting_and_its_default() -> None:
    block = re.search(r"<!-- settings -->\n```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    assert block
    page: dict[str, Any] = YAML(typ="safe", pure=True).load(block[1])
    assert set(page["plc"]) == set(PlcConfig.model_fields) - OWN_PLACES
    PlcConfig(**page["plc"])
    shown = PlcConfig(**{key: value for key, value in page["plc"].items() if key not in NO_DEFAULT})
    assert shown == PlcConfig()
    assert all(PlcConfig.model_fields[key].default is None for key in NO_DEFAULT)
    assert set(page["self_test"]) == set(SelfTestConfig.model_fields)
    assert set(page["golden"]) == set(GoldenConfig.model_fields)
    rest = StationConfig.model_fields
    assert (
        SelfTestConfig(**page["self_test"])
        == SelfTestConfig()
        == rest["self_test"].get_default(call_default_factory=True)
    )
    assert GoldenConfig(**page["golden"]) == rest["golden"].get_default(call_default_factory=True)
    assert tuple(page["preload"]) == rest["preload"].default and page["max_in_flight"] == rest["max_in_flight"].default
