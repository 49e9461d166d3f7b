"""Faults that a simulated upstream injects into its answers.

A ``FaultPlan`` is a list of rules. Each request meets the first rule that matches its method and path and still has
``times`` left (``None``: for ever) and whose dice, thrown from the plan's seed, fall within ``probability``.
"""

import asyncio
import random
import re
from dataclasses import dataclass, field
from enum import StrEnum

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Fault(StrEnum):
    """What goes wrong with one request."""

    ERROR_BEFORE = "error_before"
    """Answer ``status`` and do nothing."""
    ERROR_AFTER = "error_after"
    """Do the work, then answer ``status``."""
    TIMEOUT_BEFORE = "timeout_before"
    """Wait ``seconds``, then drop the connection without doing anything."""
    TIMEOUT_AFTER = "timeout_after"
    """Do the work, wait ``seconds``, then drop the connection: the reply is lost."""
    RATE_LIMITED = "rate_limited"
    """Answer 429 with ``X-RateLimit-Reset: <seconds>`` and do nothing."""
    HTML_502 = "html_502"
    """Answer a proxy's HTML page and do nothing."""
    RESET = "reset"
    """Drop the connection at once and do nothing."""
    RESET_AFTER = "reset_after"
    """Do the work, then drop the connection."""
    TRUNCATED = "truncated"
    """Do the work, send half of the body, then drop the connection."""
    SLOW = "slow"
    """Wait ``seconds``, then answer as always."""


@dataclass
class FaultRule:
    """One line of a fault plan."""

    fault: Fault
    method: str = "*"
    path: str = ".*"
    probability: float = 1.0
    times: int | None = None
    status: int = 500
    seconds: float = 1.0

    def matches(self, method: str, path: str) -> bool:
        """Whether the rule applies to this request and is not used up."""
        return self.times != 0 and self.method in ("*", method) and re.search(self.path, path) is not None


@dataclass
class FaultPlan:
    """The rules in force; deterministic for one ``seed`` and one order of requests."""

    rules: list[FaultRule] = field(default_factory=list)
    seed: int = 0
    injected: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def replace(self, rules: list[FaultRule], *, seed: int = 0) -> None:
        """Put new rules in force and start the dice again from ``seed``."""
        self.rules, self.seed, self._dice = rules, seed, random.Random(seed)

    def draw(self, method: str, path: str) -> FaultRule | None:
        """The rule that this request meets, or None."""
        for rule in self.rules:
            if rule.matches(method, path) and self._dice.random() < rule.probability:
                if rule.times is not None:
                    rule.times -= 1
                self.injected[rule.fault] = self.injected.get(rule.fault, 0) + 1
                return rule
        return None


class FaultInjector:
    """The outermost ASGI layer of a simulator; paths under ``/_sim`` are never disturbed."""

    def __init__(self, app: ASGIApp, plan: FaultPlan) -> None:
        self._app, self._plan = app, plan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, disturbed as the plan says."""
        if scope["type"] != "http" or scope["path"].startswith("/_sim"):
            await self._app(scope, receive, send)
            return
        rule = self._plan.draw(scope["method"], scope["path"])
        if rule is None:
            await self._app(scope, receive, send)
            return
        await self._disturb(rule, scope, receive, send)

    async def _disturb(self, rule: FaultRule, scope: Scope, receive: Receive, send: Send) -> None:
        match rule.fault:
            case Fault.ERROR_BEFORE:
                await _answer(send, rule.status, b"application/json", b'{"status":%d}' % rule.status)
            case Fault.ERROR_AFTER:
                await self._run_silently(scope, receive)
                await _answer(send, rule.status, b"application/json", b'{"status":%d}' % rule.status)
            case Fault.TIMEOUT_BEFORE:
                await asyncio.sleep(rule.seconds)
                _drop(send)
            case Fault.TIMEOUT_AFTER:
                await self._run_silently(scope, receive)
                await asyncio.sleep(rule.seconds)
                _drop(send)
            case Fault.RATE_LIMITED:
                reset = str(int(rule.seconds)).encode()
                await _answer(send, 429, b"application/json", b'{"status":429}', [(b"x-ratelimit-reset", reset)])
            case Fault.HTML_502:
                await _answer(send, 502, b"text/html", b"<html><body><h1>502 Bad Gateway</h1></body></html>")
            case Fault.RESET:
                _drop(send)
            case Fault.RESET_AFTER:
                await self._run_silently(scope, receive)
                _drop(send)
            case Fault.TRUNCATED:
                await self._truncate(scope, receive, send)
            case Fault.SLOW:
                await asyncio.sleep(rule.seconds)
                await self._app(scope, receive, send)

    async def _run_silently(self, scope: Scope, receive: Receive) -> None:
        async def swallow(message: Message) -> None:
            """Nobody hears this answer."""

        await self._app(scope, receive, swallow)

    async def _truncate(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def cut(message: Message) -> None:
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
                _drop(send)
            else:
                await send(message)

        await self._app(scope, receive, cut)


async def _answer(
    send: Send, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    length = str(len(body)).encode()
    start = [(b"content-type", content_type), (b"content-length", length), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def _drop(send: Send) -> None:
    """Drop the TCP connection under uvicorn; in process, raise what httpx raises for a lost connection."""
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise httpx.ReadError("the simulator dropped the connection")
    transport.abort()
