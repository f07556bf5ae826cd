"""A made-up session as `kmsctl explain` asks for it, and what it would be answered: from JSON and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import attrs

from kms.domain.address_group import ClientAddress, parse_client_address
from kms.domain.decision import Decision, Stage
from kms.policy.relay import Authentication

_AUTHENTICATION = {
    "none": Authentication.NONE,
    "failed": Authentication.FAILED,
    "ok": Authentication.SUCCEEDED,
}
_SERVICES = ("smtp", "submission", "submissions", "lmtp")


class InquiryError(ValueError):
    """The made-up session makes no sense; the text says why."""


@attrs.frozen
class Inquiry:
    """A made-up session.

    Attributes:
        client: its IP address.
        service: "smtp", "submission", "submissions" or "lmtp".
        helo: the name that EHLO gives.
        is_encrypted: TLS is on.
        authentication: what AUTH has shown.
        login: who logged in, where that succeeded.
        sender: what stands in the angle brackets of MAIL; "" is the null reverse-path.
        recipients: the same of each RCPT, in order.
        declared_octets: SIZE of MAIL; None = not said.
        message: a content to judge, lines ended by CRLF; None = the session ends before DATA.
        ahead_seconds: how far ahead of now it happens.
    """

    client: ClientAddress
    service: str = "smtp"
    helo: str = "client.example"
    is_encrypted: bool = False
    authentication: Authentication = Authentication.NONE
    login: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    declared_octets: int | None = None
    message: bytes | None = None
    ahead_seconds: float = 0.0


@attrs.define
class Step:
    """What one command would be answered.

    Attributes:
        command: as the client says it; "" for the greeting.
        replies: the lines of the answer, without the id of a decision.
        stage: when the decision falls; None where syntax or sequence answered it.
        decision: why; None likewise.
        observed: what the session itself would have refused, but for limits that only observe.
    """

    command: str
    replies: list[str]
    stage: Stage | None = None
    decision: Decision | None = None
    observed: tuple[Decision, ...] = ()


def read_inquiry(asked: Mapping[str, Any]) -> Inquiry:
    """Read the JSON object of a request: the fields of `Inquiry`, but `auth`, `tls`, `size`, `message` (base64).

    Raises:
        InquiryError: a value is none for its field.
    """
    try:
        message = asked.get("message")
        size = asked.get("size")
        service = str(asked.get("service", "smtp"))
        if service not in _SERVICES:
            raise ValueError(f"there is no service {service!r}")
        return Inquiry(
            client=parse_client_address(str(asked["client"])),
            service=service,
            helo=str(asked.get("helo", "client.example")),
            is_encrypted=bool(asked.get("tls", False)),
            authentication=_AUTHENTICATION[asked.get("auth", "none")],
            login=str(asked.get("login", "")),
            sender=str(asked.get("sender", "")),
            recipients=tuple(map(str, asked.get("recipients", ()))),
            declared_octets=None if size is None else int(size),
            message=None if message is None else base64.b64decode(message, validate=True),
            ahead_seconds=float(asked.get("ahead_seconds", 0.0)),
        )
    except KeyError as error:
        raise InquiryError(f"{error} is missing, or not known") from None
    except (ValueError, TypeError, binascii.Error) as error:
        raise InquiryError(str(error)) from None


def describe_step(step: Step) -> dict[str, Any]:
    """Give a step as JSON: `command`, `replies`, `stage`, `rule`, `facts`, `observed` (each `rule`, `reply`)."""
    decision = step.decision
    by_limits = (*(decision.observed if decision else ()), *step.observed)
    observed = [{"rule": item.rule.value, "reply": str(item.reply)} for item in by_limits]
    if decision is None:
        return {**_spoken(step), "stage": None, "rule": None, "facts": {}, "observed": observed}
    return {
        **_spoken(step),
        "stage": step.stage.value if step.stage else None,
        "rule": decision.rule.value,
        "facts": dict(decision.facts),
        "observed": observed,
    }


def _spoken(step: Step) -> dict[str, Any]:
    return {"command": step.command, "replies": step.replies}
