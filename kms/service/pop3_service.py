"""What the connections of one POP3 port share: settings, the way to log in, the log, and who is told of them.

Flow: made by pop3_listener.py, used by pop3_connection.py. It holds no state of a session.
A reload replaces `settings`; sessions that exist go on with those they began with.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

from kms.domain.address_group import ClientAddress
from kms.protocol.pop3_events import Pop3ServerSettings
from kms.service.clock import Clock
from kms.service.pop3_log import Pop3Log
from kms.service.portal import LoginPortal

if TYPE_CHECKING:
    from kms.service.pop3_connection import Pop3Connection


@attrs.define(eq=False)
class Pop3Service:
    """What the connections of one port share.

    Attributes:
        settings: what new sessions say; a reload replaces it.
        portal: proves logins and opens mailboxes; its avatars are of `OpenMailbox`.
        tls: makes TLS connections for STLS; None does not offer it.
        is_tls_at_once: the port speaks TLS from the first octet.
        idle_timeout: RFC 1939 3 wants 10 minutes at least.
        may_send_plain_passwords: says of an address whether it may log in without TLS.
        log: gets the logins.
        clock: for the idle time-out.
        is_draining: no more commands are obeyed.
        connection_made: called with each new connection.
        connection_lost: called with each that is gone.
    """

    settings: Pop3ServerSettings
    portal: LoginPortal
    tls: IOpenSSLServerConnectionCreator | None
    is_tls_at_once: bool
    idle_timeout: timedelta
    may_send_plain_passwords: Callable[[ClientAddress], bool]
    log: Pop3Log
    clock: Clock
    connection_made: Callable[[Pop3Connection], None]
    connection_lost: Callable[[Pop3Connection], None]
    is_draining: bool = False
