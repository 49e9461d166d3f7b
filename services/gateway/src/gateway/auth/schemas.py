"""Sign-in on the wire (contract §5.4, §5.8 to §5.10, contract-admin §16)."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from gateway.auth.mail_requests import MailRequest
from gateway.impersonation.schemas import ImpersonationRead
from gateway.wire import Wire, WireTime
from polaris_common.identity.sessions import SignedIn
from polaris_common.models import AuthSession, User

Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=320, pattern=r"^[^\s@\x00]+@[^\s@\x00]+$")]
CallbackUrl = Annotated[str | None, Field(alias="callbackURL", max_length=2000)]


class SignInEmail(Wire):
    """What the sign-in form sends; unknown keys are ignored."""

    email: Email
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    remember_me: bool = True
    callback_url: CallbackUrl = None


class MagicLinkRequest(MailRequest):
    """Who wants a link, and where it shall end."""

    callback_url: CallbackUrl = None


class MagicLinkRequested(Wire):
    """The same for everybody."""

    status: bool = True


class ResetPassword(Wire):
    """A new password, and the token that allows it."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    new_password: Annotated[str, StringConstraints(max_length=1024)]


class PasswordChanged(Wire):
    """Where to sign in with it."""

    redirect_to: str = "/login"


class UserRead(Wire):
    """The signed-in person."""

    id: UUID
    name: str | None
    email: str | None
    email_verified: bool
    image: None = None
    role: str
    public_id: str
    superadmin: bool
    created_at: WireTime
    updated_at: WireTime

    @classmethod
    def of(cls, user: User) -> Self:
        """``user`` as their own browser may see them."""
        return cls(
            id=user.id,
            name=user.name,
            email=user.email,
            email_verified=user.email_verified,
            role=user.role,
            public_id=user.public_id,
            superadmin=user.superadmin,
            created_at=user.created_at,
            updated_at=user.updated_at,
        )


class SignInRead(Wire):
    """Signed in; the token is in the cookie alone, where scripts cannot read it."""

    redirect: bool = False
    url: str | None = None
    user: UserRead


class SessionRead(Wire):
    """A session, without its token."""

    id: UUID
    user_id: UUID
    expires_at: WireTime
    ip_address: str | None
    user_agent: str | None
    created_at: WireTime
    updated_at: WireTime

    @classmethod
    def of(cls, session: AuthSession) -> Self:
        """What its person may know about it."""
        return cls(
            id=session.id,
            user_id=session.user_id,
            expires_at=session.expires_at,
            ip_address=session.ip_address,
            user_agent=session.user_agent,
            created_at=session.created_at,
            updated_at=session.last_seen_at,
        )


class SessionAndUserRead(Wire):
    """Who is signed in, and whose account an operator views."""

    session: SessionRead
    user: UserRead
    impersonation: ImpersonationRead | None

    @classmethod
    def of(cls, signed_in: SignedIn) -> Self:
        """What a browser may know about its own session."""
        return cls(
            session=SessionRead.of(signed_in.session),
            user=UserRead.of(signed_in.user),
            impersonation=ImpersonationRead.of(signed_in.impersonation),
        )


class OwnSessionRead(SessionRead):
    """One of a person's sessions."""

    current: bool


class BrowserSessionRead(SessionRead):
    """One of a browser's sessions. ``token`` is a name for it that works in this browser alone, not its secret."""

    token: UUID


class BrowserAccountRead(Wire):
    """Somebody who is signed in in this browser."""

    session: BrowserSessionRead
    user: UserRead
    active: bool

    @classmethod
    def of(cls, signed_in: SignedIn, *, active: bool) -> Self:
        """One entry of the account switcher."""
        session = SessionRead.of(signed_in.session).model_dump()
        return cls(
            session=BrowserSessionRead(**session, token=signed_in.session_id),
            user=UserRead.of(signed_in.user),
            active=active,
        )


class SessionChoice(Wire):
    """One of the browser's sessions, by the name that the list gave it."""

    session_token: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class SessionToRevoke(Wire):
    """One of a person's own sessions, by its id."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Done(Wire):
    """It is done."""

    status: bool = True


class SignOutRead(Wire):
    """Signed out."""

    success: bool = True


class LoginMethods(Wire):
    """How people may sign in here."""

    surface: str
    methods: list[str]
    """Of ``password``, ``magic_link``, ``scan`` and ``oidc``, the preferred one first."""
    message: str | None
    """What to tell people when there is none."""
    mode: str | None = None
    """Operators only: ``password``, ``oidc-only`` or ``oidc-with-fallback``."""
    forgot_password_enabled: bool = False
    customer_login_url: str | None = None
