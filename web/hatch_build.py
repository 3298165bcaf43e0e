"""The package's build hook: the web app is built before the package is put together, an editable one too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

from build_web import build


class WebHook(BuildHookInterface[Any]):
    """Builds the web app."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it unless it is there. version: of the target, `standard` or `editable`."""
        if build():
            self.app.display_info("The web app was built.")
