"""Sign-in on the wire (contract §5.8, §5.9)."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import StringConstraints

from gateway.wire import Wire, WireTime
from polaris_common.identity.sessions import SignedIn
from polaris_common.models import User

Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=320, pattern=r"^[^\s@\x00]+@[^\s@\x00]+$")]


class SignInEmail(Wire):
    """What the sign-in form sends; unknown keys are ignored."""

    email: Email
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    remember_me: bool = True


class UserRead(Wire):
    """The signed-in person."""

    id: UUID
    name: str | None
    email: str | None
    role: str
    public_id: str

    @classmethod
    def of(cls, user: User) -> Self:
        """``user`` as their own browser may see them."""
        return cls(id=user.id, name=user.name, email=user.email, role=user.role, public_id=user.public_id)


class SignInRead(Wire):
    """Signed in; the token is in the cookie alone, where scripts cannot read it."""

    redirect: bool = False
    user: UserRead


class SessionRead(Wire):
    """A session, without its token."""

    id: UUID
    user_id: UUID
    expires_at: WireTime


class SessionAndUserRead(Wire):
    """Who is signed in."""

    session: SessionRead
    user: UserRead

    @classmethod
    def of(cls, signed_in: SignedIn) -> Self:
        """What a browser may know about its own session."""
        user = signed_in.user
        session = SessionRead(id=signed_in.session_id, user_id=user.id, expires_at=signed_in.expires_at)
        return cls(session=session, user=UserRead.of(user))


class SignOutRead(Wire):
    """Signed out."""

    success: bool = True
