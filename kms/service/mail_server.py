"""The server's life: open, serve, reload, drain, close.

Order of a start: ports (while still root), then, as the user that twistd was told, data folder and its lock,
store, certificate, threads, queue. What cannot be opened ends the start with one clear line and status 69.
Order of a stop: ports close at once, sessions drain within `shutdown_grace`, running deliveries may end, then
everything is closed. A 250 that was earned is always sent.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.application import service
from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from kms.config.aliases_file import describe_troubles
from kms.config.loader import load_settings
from kms.config.problems import ConfigError
from kms.config.restart import find_waiting_keys
from kms.config.settings import Settings
from kms.policy.relay import RelayMode
from kms.service.accepting_port import raise_descriptor_limit
from kms.service.app import App
from kms.service.clock import SystemClock
from kms.service.control import Control
from kms.service.control_socket import ControlSocket
from kms.service.listening import CannotOpen, Ports
from kms.service.mail_log import MailLog
from kms.service.operations_log import OperationsLog
from kms.service.pop3_listener import Pop3Factory
from kms.service.security_log import SecurityLog
from kms.service.smtp_listener import SmtpFactory
from kms.service.start import load_store
from kms.service.submission_socket import SubmissionFactory
from kms.service.tls import TlsFilesError
from kms.store import maildrop
from kms.store.data_folder import DataFolder
from kms.store.schema import StoreError

EX_UNAVAILABLE = 69
_SWEEP_SECONDS = 600.0
_MAILDROP_SECONDS = 30.0
_FOR_ALL = 0o666
_GC_THRESHOLDS = (20_000, 20, 50)  # values go by reference counts; the collector is for the rare cycle
_QUIT_SECONDS = 0.5


class MailServer(service.Service):
    """The service that twistd runs.

    Args:
        settings: of the file.
        path: of the file, absolute, for a reload.
        reactor: of the process.
        is_foreground: nothing forks, so a failed start may end the process with its own status.
    """

    def __init__(self, settings: Settings, path: Path, reactor: Any, is_foreground: bool) -> None:
        self._path = path
        self._started_with = settings
        self._reactor = reactor
        self._is_foreground = is_foreground
        self._clock = SystemClock(reactor)
        self._ports = Ports(reactor)
        self._sweep = LoopingCall(self._forget_old)
        self._sweep.clock = reactor
        self._maildrop = LoopingCall(self._sweep_maildrop)
        self._maildrop.clock = reactor
        self._has_ports = False
        self.app = App(settings, reactor, self._clock)
        self._folder = DataFolder(settings.server.data_dir)
        self._control = ControlSocket(Control(self.app, self.reload), settings.control_socket, reactor)
        self._log = Logger(namespace="kms")
        if settings.tls.certificate is not None:
            self.app.certificate.load(settings.tls, self._clock.now())

    # Start

    def privilegedStartService(self) -> None:
        """Open the ports, which may need root."""
        self._guarded(self._open_ports)

    def startService(self) -> None:
        """Open everything else and begin to serve."""
        service.Service.startService(self)
        self._guarded(self._start)

    def _guarded(self, step: Any) -> None:
        try:
            step()
        except (CannotOpen, CannotListenError, StoreError, TlsFilesError, OSError) as error:
            text = str(error)
            print(text if text.startswith("kms") else f"kms: {text}", file=sys.__stderr__, flush=True)
            if self._is_foreground:
                raise SystemExit(EX_UNAVAILABLE) from None
            raise CannotOpen(text) from None

    def _open_ports(self) -> None:
        if self._has_ports:
            return
        self._has_ports = True
        raise_descriptor_limit()
        # Before anybody can see that the server is there: a SIGHUP would end a process that does not wait for it.
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload_logged))
        listen = self.app.settings.listen
        for name, entrance in self.app.entrances.by_service.items():
            for place in getattr(listen, name):
                if not place.startswith("unix:"):
                    self._ports.listen(name, place, entrance)

    def _open_sockets(self) -> None:
        """Open Unix sockets: once the folder is locked, so that nobody's but a dead server's is replaced."""
        settings = self.app.settings
        for place in settings.listen.lmtp:
            if place.startswith("unix:"):
                path = settings.server.data_dir / place.split(":")[1]
                self._ports.listen_unix("lmtp", path, self.app.entrances.by_service["lmtp"])

    def _open_submission(self) -> None:
        """Open what sendmail(1) needs; a folder that cannot be used hinders nothing else."""
        folder = self.app.settings.server.submit_dir
        factory = SubmissionFactory(self.app.submissions, self._reactor)
        try:
            maildrop.prepare(folder)
            self._ports.listen_unix("sendmail", folder / maildrop.SOCKET, factory, _FOR_ALL)
        except (OSError, CannotOpen) as error:
            self._log.error("sendmail(1) will not work: {error}", error=error)
            return
        self._maildrop.start(_MAILDROP_SECONDS, now=True)

    def _sweep_maildrop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.app.submissions.sweep()).addErrback(
            lambda failure: self._log.failure("The maildrop could not be read", failure)
        )

    def _start(self) -> None:
        os.umask(0o077)
        app = self.app
        settings = app.settings
        self._open_ports()
        self._folder.open()
        self._open_sockets()
        app.operations_log.start()
        for log in self._logs:
            log.lines.open()
        app.mail_log.open()
        load_store(app, self._log)
        if settings.tls.certificate is None:
            app.certificate.load(settings.tls, self._clock.now())
        self._control.start()
        self._start_threads()
        self._sweep.start(_SWEEP_SECONDS, now=False)
        self._tell_of_open_relay()
        self._tell_of_useless_dane()
        self._tell_of_unusable_aliases()
        app.ledger.start()
        app.runner.start()
        self._open_submission()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        self._log.info("kms serves {domains}", domains=", ".join(settings.domains.local))

    def _tell_of_open_relay(self) -> None:
        """Say that relay control is off, at every start and every reload with that setting."""
        if self.app.settings.relay.mode is RelayMode.OPEN:
            self.app.security_log.open_relay_started()
            self._log.warn("OPEN RELAY: [relay] mode = open, any client may send to any domain")

    def _tell_of_useless_dane(self) -> None:
        """Say that no resolver's word can be believed: the system's are only known now."""
        if self.app.settings.delivery.dane and not self.app.resolver.may_have_proof:
            self._log.warn(
                "[delivery] dane has no effect: no resolver of /etc/resolv.conf is on this machine"
            )

    def _tell_of_unusable_aliases(self) -> None:
        for trouble in describe_troubles(self.app.settings.file_aliases):
            self._log.warn("{trouble}", trouble=trouble)

    def _start_threads(self) -> None:
        """Last of what can fail: a start that fails leaves no thread that would keep the process."""
        app = self.app
        app.database.start()
        for pool in (app.hashing, app.bodies):
            pool.start()
        app.mailboxes.start()
        app.janitor.start()

    def _forget_old(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._sweep_store()).addErrback(
            lambda failure: self._log.failure(
                "Old windows, decisions, counts and trash could not be removed", failure
            )
        )

    async def _sweep_store(self) -> None:
        await self.app.windows.sweep()
        await self.app.decisions.sweep()
        await self.app.account_counts.sweep()
        self.app.guard.sweep()
        self.app.alarms.sweep()
        self.app.gateways.sweep()
        await self.app.ledger.sweep()
        await self.app.queue_control.sweep()
        await self.app.sts.sweep(self.app.settings.delivery.mta_sts)

    @property
    def _logs(self) -> tuple[MailLog | SecurityLog | OperationsLog, ...]:
        return self.app.mail_log, self.app.security_log, self.app.operations_log

    # Reload

    def reload(self) -> tuple[str, ...]:
        """Read the configuration anew; one that is wrong changes nothing.

        Returns:
            The problems; empty when the configuration is in force. Its warnings, logged too, tell what waits for a
            restart.
        """
        try:
            settings = load_settings(self._path)
            self.app.certificate.load(settings.tls, self._clock.now())
            for log in self._logs:
                log.lines.open()
        except ConfigError as error:
            return tuple(str(problem) for problem in error.problems)
        except (OSError, TlsFilesError) as error:
            return (str(error),)
        waiting = find_waiting_keys(self._started_with, settings)
        self.app.use(attrs.evolve(settings, warnings=(*settings.warnings, *waiting)))
        self._tell_of_open_relay()
        self._tell_of_useless_dane()
        for warning in self.app.settings.warnings:
            self._log.warn("reload: {warning}", warning=warning)
        loaded = Deferred.fromCoroutine(self.app.directory.load(settings))
        loaded.addErrback(lambda failure: self._log.failure("Accounts could not be read", failure))
        return ()

    def _reload_logged(self) -> None:
        problems = self.reload()
        for problem in problems:
            self._log.error("reload: {problem}", problem=problem)
        if not problems:
            self._log.info("reloaded {path}", path=self._path)

    # Stop

    def stopService(self) -> Deferred[None]:
        """Close the ports at once, let transactions end within the grace, then close all."""
        service.Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        app = self.app
        grace = app.settings.server.shutdown_grace.total_seconds()
        await self._ports.close()
        app.runner.stop()
        factories: tuple[SmtpFactory | Pop3Factory, ...] = (*app.smtp.values(), *app.pop3.values())
        drained = [factory.drain() for factory in factories]
        drained += [app.outbound.drain(), app.local.drain()]
        await self._within(grace, DeferredList(drained, consumeErrors=True))
        for factory in factories:
            factory.cut()
        for listener in app.smtp.values():
            listener.stop_watching()
        await self._control.stop()
        await self._within(_QUIT_SECONDS, app.remote.pool.close())
        app.remote.pool.abort()
        await self._within(1.0, app.runner.idle())
        await self._close_store()

    async def _within(self, seconds: float, waiting: Deferred[Any]) -> None:
        with contextlib.suppress(TimeoutError):
            await waiting.addTimeout(seconds, self._reactor)

    async def _close_store(self) -> None:
        app = self.app
        for sweep in (self._sweep, self._maildrop):
            if sweep.running:
                sweep.stop()
        app.ledger.stop()
        await app.database.stop()
        app.janitor.stop()
        app.mailboxes.stop()
        for pool in (app.hashing, app.bodies):
            pool.stop()
        app.operations_log.stop()
        app.mail_log.lines.close()
        app.security_log.lines.close()
        self._folder.close()
