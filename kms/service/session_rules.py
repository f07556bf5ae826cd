"""The rules that a protocol session knows itself, as decisions: it refuses, and here the rule has its name."""

from __future__ import annotations

from kms.domain import reply
from kms.domain.decision import Decision, Rule, Stage
from kms.domain.reply import Reply

_RULES = {
    reply.TOO_MANY_ERRORS: (Stage.COMMAND, Rule.FAILED_COMMANDS),
    reply.DATA_TOO_SLOW: (Stage.CONTENT, Rule.DATA_RATE),
    reply.TOO_MANY_FAILED_LOGINS: (Stage.COMMAND, Rule.FAILED_LOGINS_OF_SESSION),
    reply.AUTHENTICATION_REQUIRED: (Stage.MAIL, Rule.AUTHENTICATION_REQUIRED),
    reply.BARE_NEWLINE: (Stage.CONTENT, Rule.BARE_NEWLINES),
    reply.CONTENT_TOO_LARGE: (Stage.CONTENT, Rule.CONTENT_SIZE),
}


def decide_for_session(refusal: Reply) -> tuple[Stage, Decision]:
    """Name stage and rule of a refusal by a session."""
    stage, rule = _RULES[refusal]
    return stage, Decision(rule, refusal)
