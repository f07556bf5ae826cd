"""Which changed keys a running server does not take before it starts again.

Promises: says nothing of a key that a reload takes, or that stands again as at the start. It prints no value: some
are secret.

Flow: mail_server.py compares at every reload with the settings it started with; kmsctl and the log tell the lines.
"""

from __future__ import annotations

from kms.config.loader import section_classes, settings_of
from kms.config.settings import Settings


def find_waiting_keys(started_with: Settings, settings: Settings) -> tuple[str, ...]:
    """Give one line for each key marked * in the manual whose value is not the one of the start."""
    return tuple(
        f"[{section}] {key} has changed and needs a restart"
        for section, section_class in section_classes().items()
        for key, setting in settings_of(section_class).items()
        if setting.needs_restart
        and getattr(getattr(settings, section), key) != getattr(getattr(started_with, section), key)
    )
