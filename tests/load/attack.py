"""The attackers' process: all at once, with as many descriptors as that takes."""

import asyncio
import logging
import multiprocessing
import os
import resource
from collections import Counter
from multiprocessing.synchronize import Event

from tests.load.attackers import KINDS, Attacker, Target

OPEN_FILES = 16_384


def attack(
    target: Target, is_enough: Event, answer: "multiprocessing.Queue[dict[str, Counter[str]]]"
) -> None:
    """Run all attackers; tell what each saw when all have done their worst; hold on until it is enough."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # attackers have machines of their own: here they must not take the server its processor
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(_attack(target, is_enough, answer))


async def _attack(
    target: Target, is_enough: Event, answer: "multiprocessing.Queue[dict[str, Counter[str]]]"
) -> None:
    attackers: list[Attacker] = [kind(target) for kind in KINDS if kind.__name__ in target.attackers]
    await asyncio.gather(*(attacker.run() for attacker in attackers))
    answer.put({type(attacker).__name__: attacker.seen for attacker in attackers})
    while not is_enough.is_set():
        await asyncio.sleep(0.2)
