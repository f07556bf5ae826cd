"""Who is behind an address in a local domain: accounts, aliases, forwarding, postmaster.

An address is looked up in one order, always: exact account, exact alias, account and alias without `+tag`,
postmaster and abuse, patterns in the order of their making, catch-all. Local parts compare without regard to
case. What is found is followed to the end: nobody gets the mail twice, and however the aliases are knotted,
the search ends. Nothing here knows the client: whether it may send is decided in relay.py.

A target that is unknown or disabled is passed over while another remains; only when none remains is the
whole address refused. A circle of aliases, or of forwarding without a copy kept, refuses the whole address,
whoever else would have got the mail, so that the administrator hears of it; a circle through an account that
keeps a copy ends there. Where an alias cannot be used now, the whole address waits until all can have the mail.

Flow: RCPT asks `classify_domain`, then for a local domain `resolve_recipient`; `kmsctl alias resolve` too.
"""

from __future__ import annotations

import enum
import itertools
import unicodedata
from collections.abc import Iterable, Iterator

import attrs

from kms.domain.account import Account, Alias, Directory
from kms.domain.address import AddressSyntaxError, Mailbox, normalise_domain, parse_mailbox
from kms.policy.alias_pattern import fits

_ROLES = frozenset(("postmaster", "abuse"))


class DomainKind(enum.Enum):
    """What kms is to a domain: its home, its relay, or nothing."""

    LOCAL = "local"
    RELAY = "relay"
    FOREIGN = "foreign"


@attrs.frozen
class Resolved:
    """Where the mail goes: accounts by `Account.mailbox`, and addresses elsewhere; each once, never empty."""

    targets: tuple[Mailbox, ...]


@attrs.frozen
class UnknownRecipient:
    """Nobody has the address, or nobody is left of those it stands for."""


@attrs.frozen
class DisabledMailbox:
    """The account is disabled, or all that an alias leads to are."""


@attrs.frozen
class AliasLoop:
    """Aliases or forwarding lead in a circle.

    Attributes:
        names: the circle, first and last the same, such as ("a@x.test", "b@x.test", "a@x.test").
    """

    names: tuple[str, ...]


@attrs.frozen
class NoPostmaster:
    """The mail would go to the postmaster, and there is no account yet to be it."""


@attrs.frozen
class UnusableAlias:
    """An alias on the way does not know all its targets now.

    Attributes:
        name: the first such alias, such as "staff@x.test".
        trouble: why; see `Alias`.
    """

    name: str
    trouble: str


Resolution = Resolved | UnknownRecipient | DisabledMailbox | AliasLoop | NoPostmaster | UnusableAlias


def classify_domain(directory: Directory, domain: str) -> DomainKind:
    """Say what kms is to a domain.

    Args:
        domain: A-label form, as in a `Mailbox`. Another name of a local domain is local; an address literal
            is foreign, unless the configuration lists it.
    """
    if domain in directory.local_domains or domain in directory.domain_aliases:
        return DomainKind.LOCAL
    return DomainKind.RELAY if domain in directory.relay_domains else DomainKind.FOREIGN


def hides_a_route(mailbox: Mailbox) -> bool:
    """Tell whether a local part names a further destination (`user%far`, `far!user`, `"user@far"`).

    Another server might obey it. In a relay domain such an address is a matter of relay control, for that server
    trusts us (RFC 2505 2.1).
    """
    return any(sign in mailbox.local_part for sign in "%!@")


def resolve_recipient(directory: Directory, mailbox: Mailbox) -> Resolution:
    """Follow an address in a local domain, or the bare postmaster, to everyone who gets the mail.

    Postmaster and abuse resolve whatever the directory holds (RFC 5321 4.5.1, RFC 2142): where their own
    account or alias leads nowhere, the server's postmaster gets the mail, else the first account that can.
    """
    resolution = _expand(directory, mailbox)
    if isinstance(resolution, Resolved) or _fold(mailbox.local_part) not in _ROLES:
        return resolution
    for substitute in _postmasters(directory):
        resolution = _expand(directory, substitute)
        if isinstance(resolution, Resolved):
            return resolution
    return NoPostmaster()


def find_account(directory: Directory, login: str) -> Account | None:
    """Find the account of a login name, enabled or not.

    Args:
        login: `user@domain`, or `user` in the first local domain; any text that a client may send.
    """
    spelled = spell_login(directory, login)
    return None if spelled is None else directory.accounts.get(spelled)


def spell_login(directory: Directory, login: str) -> str | None:
    """Bring a login name into the one spelling that its account has or would have, `name@domain`.

    Args:
        login: as for `find_account`.

    Returns:
        None where the part behind the @ is no domain.
    """
    name, at, domain = login.rpartition("@")
    if not at:
        name, domain = login, next(iter(directory.local_domains), "")
    try:
        domain = normalise_domain(domain)
    except AddressSyntaxError:
        return None
    return f"{_fold(name)}@{_real_domain(directory, domain)}"


def may_send_as(directory: Directory, account: Account, sender: Mailbox) -> bool:
    """Tell whether an account may use a sender address.

    It may use its own address, under every name of its domain and with any `+tag`; the aliases that lead to
    it, also by way of other aliases but not by another account's forwarding; and its extra senders.
    """
    return _is_extra_sender(directory, account, sender) or _leads_to(directory, sender, account)


def _leads_to(directory: Directory, sender: Mailbox, account: Account) -> bool:
    waiting = [sender]
    seen: set[str] = set()
    while waiting:
        found = _look_up(directory, waiting.pop())
        if isinstance(found, Account) and found.login == account.login:
            return True
        if isinstance(found, Alias) and (name := _name(found)) not in seen:
            seen.add(name)
            waiting.extend(found.targets)
    return False


def _is_extra_sender(directory: Directory, account: Account, sender: Mailbox) -> bool:
    sender = _canonical(directory, sender)
    for entry in account.extra_senders:
        try:
            if entry.startswith("@"):
                fits = _real_domain(directory, normalise_domain(entry[1:])) == sender.domain
            else:
                fits = _canonical(directory, parse_mailbox(entry)) == sender
        except AddressSyntaxError:
            continue
        if fits:
            return True
    return False


def _canonical(directory: Directory, mailbox: Mailbox) -> Mailbox:
    return Mailbox(_fold(mailbox.local_part), _real_domain(directory, mailbox.domain))


def _real_domain(directory: Directory, domain: str) -> str:
    return directory.domain_aliases.get(domain, domain)


def _fold(local_part: str) -> str:
    """Bring a local part into the form of names in the directory."""
    return local_part.lower() if local_part.isascii() else unicodedata.normalize("NFC", local_part.lower())


def _name(found: Account | Alias) -> str:
    return found.login if isinstance(found, Account) else f"{found.local_part}@{found.domain}"


def _postmasters(directory: Directory) -> Iterator[Mailbox]:
    """Give those who stand in for postmaster and abuse, best first."""
    if directory.postmaster is not None:
        yield directory.postmaster
    for account in directory.accounts.values():
        if account.is_enabled:
            yield account.mailbox


# Looking up one address


def _look_up(directory: Directory, mailbox: Mailbox) -> Account | Alias | Mailbox | None:
    """Find what an address names: itself where its domain is not local, None where nobody has it."""
    if not mailbox.domain:
        domain = next(iter(directory.local_domains), "")
    elif classify_domain(directory, mailbox.domain) is DomainKind.LOCAL:
        domain = mailbox.domain
    else:
        return mailbox
    domain = _real_domain(directory, domain)
    name = _fold(mailbox.local_part)
    return (
        _exact(directory, name, domain)
        or _without_tag(directory, name, domain)
        or _role(directory, name, domain)
        or _pattern(directory, name, domain)
    )


def _account(directory: Directory, name: str, domain: str) -> Account | None:
    return directory.accounts.get(f"{_fold(name)}@{_real_domain(directory, domain)}")


def _exact(directory: Directory, name: str, domain: str) -> Account | Alias | None:
    return _account(directory, name, domain) or directory.exact_aliases.get((name, domain))


def _without_tag(directory: Directory, name: str, domain: str) -> Account | Alias | None:
    base, plus, _ = name.partition("+")
    return _exact(directory, base, domain) if plus and base else None


def _role(directory: Directory, name: str, domain: str) -> Alias | None:
    """Make the alias that postmaster and abuse are where the domain has none of that name."""
    if name not in _ROLES:
        return None
    postmaster = next(_postmasters(directory), None)
    return Alias(name, domain, () if postmaster is None else (postmaster,))


def _pattern(directory: Directory, name: str, domain: str) -> Alias | None:
    for alias in directory.alias_patterns.get(domain, ()):
        if fits(alias.local_part, name):
            return alias
    return None


# Following it to the end


class _Expansion:
    """All that an address leads to.

    The walk goes depth first with a stack of its own, so no chain is too long. An account that keeps a copy
    is an end; what it forwards to is a start of its own. So every circle that a walk closes is one in which
    the mail would come to rest nowhere. `_way` holds the aliases, and accounts without a copy, from the start
    to here, with those of their targets that are still to follow.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._starts: list[Mailbox] = []
        self._way: dict[str, Iterator[Mailbox]] = {}
        self._done: set[str] = set()
        self._targets: dict[Mailbox, None] = {}
        self._has_disabled = False
        self._lacks_postmaster = False
        self._loop: tuple[str, ...] = ()
        self._unusable: UnusableAlias | None = None

    def expand(self, mailbox: Mailbox) -> Resolution:
        """Follow `mailbox`; to be called once."""
        self._starts.append(mailbox)
        for start in self._starts:
            self._walk(start)
        if self._unusable is not None:
            return self._unusable
        if self._loop:
            return AliasLoop(self._loop)
        if self._targets:
            return Resolved(tuple(self._targets))
        if self._lacks_postmaster:
            return NoPostmaster()
        return DisabledMailbox() if self._has_disabled else UnknownRecipient()

    def _walk(self, start: Mailbox) -> None:
        self._visit(start)
        while self._way:
            name, targets = self._way.popitem()
            target = next(targets, None)
            if target is None:
                self._done.add(name)
            else:
                self._way[name] = targets
                self._visit(target)

    def _visit(self, mailbox: Mailbox) -> None:
        match _look_up(self._directory, mailbox):
            case Account() as account:
                self._visit_account(account)
            case Alias(trouble=trouble) as alias if trouble:
                self._unusable = self._unusable or UnusableAlias(_name(alias), trouble)
            case Alias() as alias:
                self._lacks_postmaster |= not alias.targets and alias.local_part in _ROLES
                self._follow(_name(alias), alias.targets)
            case Mailbox() as elsewhere:
                self._targets[elsewhere] = None
            case _:
                return

    def _visit_account(self, account: Account) -> None:
        if not account.is_enabled:
            self._has_disabled = True
        elif account.forward_to and not account.keeps_copy:
            self._follow(account.login, account.forward_to)
        elif account.mailbox not in self._targets:
            self._targets[account.mailbox] = None
            self._starts.extend(account.forward_to)

    def _follow(self, name: str, targets: Iterable[Mailbox]) -> None:
        if name in self._done:
            return
        if name in self._way:
            circle = itertools.dropwhile(name.__ne__, self._way)
            self._loop = self._loop or (*circle, name)
            return
        self._way[name] = iter(targets)


def _expand(directory: Directory, mailbox: Mailbox) -> Resolution:
    return _Expansion(directory).expand(mailbox)
