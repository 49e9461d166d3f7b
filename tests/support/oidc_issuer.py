"""A real OpenID Connect provider on a local port: discovery, keys, authorization, tokens with PKCE, userinfo.

A person "signs in" there by whatever claims the test has set; ``wrong`` makes it misbehave.
"""

import asyncio
import base64
import hashlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "polaris", "secret-of-the-client"


@dataclass
class Grant:
    """What a code stands for."""

    nonce: str
    challenge: str
    redirect_uri: str
    claims: dict[str, Any]


@dataclass
class Issuer:
    """The provider."""

    url: str
    claims: dict[str, Any] = field(default_factory=dict)
    """What it knows about whoever signs in now."""
    userinfo: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)
    """Claims of the ID token that are not as they should be."""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    signing_key: RSAKey | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    grants: dict[str, Grant] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def id_token(self, grant: Grant) -> str:
        """Signed, about whoever signed in."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": grant.nonce,
            **grant.claims,
            **self.wrong,
        }
        key = self.signing_key or self.key
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)


def create_issuer(issuer: Issuer) -> FastAPI:
    """The provider's application."""
    app = FastAPI()

    @app.get("/.well-known/openid-configuration")
    def discovery() -> dict[str, Any]:
        return {
            "issuer": issuer.url,
            "authorization_endpoint": f"{issuer.url}/authorize",
            "token_endpoint": f"{issuer.url}/token",
            "userinfo_endpoint": f"{issuer.url}/userinfo",
            "jwks_uri": f"{issuer.url}/jwks",
            "scopes_supported": ["openid", "profile", "email", "groups"],
            "id_token_signing_alg_values_supported": ["RS256", "none", "HS256"],
            "authorization_response_iss_parameter_supported": True,
        }

    @app.get("/jwks")
    def jwks() -> dict[str, Any]:
        return dict(KeySet([issuer.key]).as_dict(private=False))

    @app.get("/authorize")
    def authorize(request: Request) -> RedirectResponse:
        query = dict(request.query_params)
        issuer.asked.append(query)
        code = secrets.token_urlsafe(16)
        issuer.grants[code] = Grant(query["nonce"], query["code_challenge"], query["redirect_uri"], issuer.claims)
        back = urlencode({"code": code, "state": query["state"], "iss": issuer.url})
        return RedirectResponse(f"{query['redirect_uri']}?{back}", status_code=302)

    @app.post("/token")
    def token(
        request: Request,
        code: str = Form(),
        grant_type: str = Form(),
        redirect_uri: str = Form(),
        code_verifier: str = Form(),
    ) -> JSONResponse:
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
        grant = issuer.grants.get(code)
        if (
            grant is None
            or code in issuer.used
            or grant_type != "authorization_code"
            or request.headers.get("authorization") != f"Basic {expected}"
            or (grant.challenge, grant.redirect_uri) != (challenge, redirect_uri)
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        issuer.used.add(code)
        answer = {"access_token": code, "token_type": "Bearer", "id_token": issuer.id_token(grant)}
        return JSONResponse(answer)

    @app.get("/userinfo")
    def userinfo(request: Request) -> dict[str, Any]:
        grant = issuer.grants[request.headers["authorization"].removeprefix("Bearer ")]
        return {"sub": grant.claims.get("sub"), **issuer.userinfo}

    return app


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The test run keeps its signals."""
        yield


@asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    """A provider that listens until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    issuer = Issuer(f"http://127.0.0.1:{listening.getsockname()[1]}")
    server = _Server(uvicorn.Config(create_issuer(issuer), log_config=None))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield issuer
    finally:
        server.should_exit = True
        await task
        listening.close()
