"""Hold one command line, parsed, together with the settings that apply to it."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from worker.settings import Key, Settings
from worker.settings_sources import Loaded, SettingsError, read_key


@dataclass(frozen=True, slots=True)
class Invocation:
    """One command as it was typed: its flags, the settings and the environment variables."""

    args: argparse.Namespace
    loaded: Loaded
    environment: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        """Return the values of the settings."""
        return self.loaded.settings

    def key(self) -> Key:
        """Return the API key. Raises SettingsError if it or any setting is wrong."""
        if self.loaded.problems:
            raise SettingsError(list(self.loaded.problems))
        return read_key(self.environment)
