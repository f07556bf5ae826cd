"""How one SMTP port behaves: made by app.py from the settings, obeyed by smtp_connection.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import attrs

from kms.domain.address_group import ClientAddress
from kms.protocol.smtp_settings import SmtpServerSettings


@attrs.frozen
class SmtpServiceRules:
    """How one SMTP port behaves.

    Attributes:
        session: what its sessions say.
        is_submission: only AUTH counts for relaying.
        is_tls_at_once: the port speaks TLS from the first octet.
        command_timeout: how long a client may take for one command, or for the next part of its message.
        session_timeout: how long a session may last in all.
        may_send_plain_passwords: from this address PLAIN and LOGIN are offered without TLS.
        minimum_data_rate: octets a second that must come of a message, over any minute; 0 = as slow as it likes.
        observes_data_rate: it is told, once in a session, and not cut.
    """

    session: SmtpServerSettings
    is_submission: bool
    is_tls_at_once: bool
    command_timeout: timedelta
    session_timeout: timedelta
    may_send_plain_passwords: Callable[[ClientAddress], bool]
    minimum_data_rate: int = 0
    observes_data_rate: bool = False
