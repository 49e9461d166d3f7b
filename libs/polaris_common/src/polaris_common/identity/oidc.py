"""Signing in with an OpenID Connect provider: authorization code flow with PKCE (OpenID Connect Core §3.1, RFC 7636).

What the provider says about a person counts only out of an ID token whose signature, issuer, audience, time and nonce
are right; its userinfo endpoint may add claims about the same person.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from polaris_common.http.transport import create_client, get_with_retries

METADATA_SECONDS = 600.0
"""How long the provider's description and keys are believed."""
TIMEOUT_SECONDS = 10.0
CLOCK_LEEWAY_SECONDS = 60
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures with a key pair. Never ``none``, never the client's secret as a key."""

_NAMES = ("name", "preferred_username")


class OidcError(Exception):
    """Signing in does not go on; ``code`` says why (contract §5.7)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ProviderUnreachable(OidcError):
    """The provider does not answer, or not as it should."""

    def __init__(self) -> None:
        super().__init__("provider_unreachable")


@dataclass(frozen=True)
class Identity:
    """Who the provider says it is."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    name: str | None
    claims: Mapping[str, Any]

    def groups(self, claim: str) -> frozenset[str]:
        """The groups in ``claim``: a list of texts, or one text."""
        value = self.claims.get(claim)
        texts = value if isinstance(value, list) else [value]
        return frozenset(text for text in texts if isinstance(text, str))


@dataclass(frozen=True)
class _Described:
    metadata: Mapping[str, Any]
    keys: KeySet
    until: float


class OidcProvider:
    """One provider, as one client sees it."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.issuer, self._client_id, self._client_secret = issuer.rstrip("/"), client_id, client_secret
        self._http = create_client("", read_seconds=TIMEOUT_SECONDS, transport=transport)
        self._described: _Described | None = None

    async def authorization_url(
        self, *, redirect_uri: str, state: str, nonce: str, code_verifier: str, groups: bool
    ) -> str:
        """Where the browser goes; ``groups`` asks for the person's groups where the provider has such a scope.

        Raises:
            ProviderUnreachable: the provider is not there.
        """
        metadata = (await self._description()).metadata
        scopes = ["openid", "profile", "email"]
        if groups and "groups" in metadata.get("scopes_supported", ()):
            scopes.append("groups")
        url: str = prepare_grant_uri(
            metadata["authorization_endpoint"],
            client_id=self._client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=" ".join(scopes),
            state=state,
            nonce=nonce,
            prompt="login",
            code_challenge=create_s256_code_challenge(code_verifier),
            code_challenge_method="S256",
        )
        return url

    async def check_issuer(self, iss: str | None) -> None:
        """Compare the issuer that came with the code (RFC 9207).

        Raises:
            OidcError: it is another one, or it is missing although the provider always sends it.
            ProviderUnreachable: the provider is not there.
        """
        required = (await self._description()).metadata.get("authorization_response_iss_parameter_supported")
        if (iss is None and required) or (iss is not None and iss.rstrip("/") != self.issuer):
            raise OidcError("issuer_mismatch")

    async def identity(self, *, code: str, redirect_uri: str, code_verifier: str, nonce: str) -> Identity:
        """Who has signed in with ``code``.

        Raises:
            OidcError: the provider refuses the code, or what it says is not to be believed.
            ProviderUnreachable: the provider is not there.
        """
        tokens = await self._exchange(code, redirect_uri, code_verifier)
        claims = await self._verified(tokens.get("id_token"), nonce)
        claims = {**await self._userinfo(tokens.get("access_token"), claims["sub"]), **claims}
        email = claims.get("email")
        return Identity(
            issuer=self.issuer,
            subject=claims["sub"],
            email=email if isinstance(email, str) and email else None,
            email_verified=claims.get("email_verified") is True,
            name=next(
                (claims[key] for key in ("name", "preferred_username") if isinstance(claims.get(key), str)), None
            ),
            claims=claims,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _exchange(self, code: str, redirect_uri: str, code_verifier: str) -> Mapping[str, Any]:
        metadata = (await self._description()).metadata
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "none"
        if self._client_secret is not None:
            method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=code_verifier
        )
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        auth = ClientAuth(self._client_id, self._client_secret or "", method)
        url, headers, body = auth.prepare("POST", metadata["token_endpoint"], headers, body)
        try:
            response = await self._http.post(url, headers=headers, content=body)
        except httpx.TransportError:
            raise ProviderUnreachable from None
        if response.status_code in (400, 401, 403):
            raise OidcError("oauth_code_verification_failed")
        return _object(response)

    async def _verified(self, id_token: object, nonce: str) -> dict[str, Any]:
        if not isinstance(id_token, str):
            raise OidcError("oauth_code_verification_failed")
        description = await self._description()
        offered = description.metadata.get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = [name for name in ALGORITHMS if name in offered]
        try:
            token = await self._decoded(id_token, algorithms)
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": description.metadata["issuer"]},
                    "aud": {"essential": True, "value": self._client_id},
                    "nonce": {"essential": True, "value": nonce},
                },
                params={"nonce": nonce, "client_id": self._client_id},
            )
            claims.validate(leeway=CLOCK_LEEWAY_SECONDS)
        except (JoseError, ValueError):
            raise OidcError("oauth_code_verification_failed") from None
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise OidcError("user_info_is_missing")
        return dict(claims)

    async def _decoded(self, id_token: str, algorithms: list[str]) -> jwt.Token:
        try:
            return jwt.decode(id_token, (await self._description()).keys, algorithms=algorithms)
        except (InvalidKeyIdError, ValueError):
            self._described = None  # the provider may have new keys
            return jwt.decode(id_token, (await self._description()).keys, algorithms=algorithms)

    async def _userinfo(self, access_token: object, subject: str) -> Mapping[str, Any]:
        url = (await self._description()).metadata.get("userinfo_endpoint")
        if not url or not isinstance(access_token, str):
            return {}
        response = await self._get(url, {"authorization": f"Bearer {access_token}"})
        claims = _object(response)
        if claims.get("sub") != subject:
            raise OidcError("user_info_is_missing")
        return claims

    async def _description(self) -> _Described:
        known = self._described
        if known is None or known.until < time.monotonic():
            metadata = _object(await self._get(f"{self.issuer}/.well-known/openid-configuration"))
            wanted = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
            if any(not isinstance(metadata.get(name), str) for name in wanted):
                raise ProviderUnreachable
            if metadata["issuer"].rstrip("/") != self.issuer:
                raise OidcError("issuer_mismatch")
            keys = _object(await self._get(metadata["jwks_uri"]))
            try:
                known = _Described(metadata, KeySet.import_key_set(keys), time.monotonic() + METADATA_SECONDS)  # type: ignore[arg-type]
            except (JoseError, KeyError, ValueError, TypeError):
                raise ProviderUnreachable from None
            self._described = known
        return known

    async def _get(self, url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        try:
            return await get_with_retries(lambda: self._http.get(url, headers=headers))
        except (httpx.TransportError, httpx.InvalidURL):
            raise ProviderUnreachable from None


def _object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        ProviderUnreachable: it is none.
    """
    if not response.is_success:
        raise ProviderUnreachable
    try:
        value = response.json()
    except ValueError:
        raise ProviderUnreachable from None
    if not isinstance(value, dict):
        raise ProviderUnreachable
    return value
