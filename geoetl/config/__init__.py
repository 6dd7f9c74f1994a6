"""Typed settings, one module per concern."""

from geoetl.config.database import DatabaseSettings, DatabaseTarget
from geoetl.config.settings import Settings, SettingsInvalid, load_settings

__all__ = ["DatabaseSettings", "DatabaseTarget", "Settings", "SettingsInvalid", "load_settings"]
