"""Which events belong to which stream."""

from notifier.stream.frames import METER
from polaris_common.events.app_devices import DeviceLogsAppended
from polaris_common.events.catalogue import (
    BillingResumed,
    BillingStopped,
    BooksDiffer,
    CardReportedLost,
    CardsSwitched,
    ComponentDown,
    ComponentRecovered,
    CustomerAccountBlocked,
    CustomerAccountProvisioned,
    DeviceFeatureFlagsChanged,
    DeviceRegistered,
    DeviceScanCompleted,
    EventsRequeued,
    FeatureFlagsChanged,
    InvoiceUpdated,
    LateEnergy,
    NotificationCreated,
    NotificationRead,
    OperationCompleted,
    OperatorNotice,
    QrSignInSuspicious,
    ReservationCancelled,
    ReservationChanged,
    SessionBilled,
    SessionQuarantined,
    SessionReleased,
    SessionStarted,
    SessionStopped,
    SessionStopWanted,
    SignedInByCard,
    UsageLimitReached,
)
from polaris_common.events.live import ChargerStateChanged, SyncCompleted, SyncProgress, SyncStarted, TagSeen

CUSTOMER_TYPES = frozenset(
    {
        METER,
        SessionBilled.type,
        SessionStarted.type,
        SessionStopped.type,
        ChargerStateChanged.type,
        NotificationCreated.type,
        NotificationRead.type,
        ReservationChanged.type,
        ReservationCancelled.type,
        InvoiceUpdated.type,
    }
)
"""What drivers' apps show live; of it each driver gets their own and what is public."""

TOPICS: dict[str, frozenset[str]] = {
    "chargers": frozenset(
        {
            METER,
            SessionBilled.type,
            SessionStarted.type,
            SessionStopped.type,
            ChargerStateChanged.type,
            TagSeen.type,
            SyncCompleted.type,
        }
    ),
    "sessions": frozenset({SessionQuarantined.type, SessionReleased.type, SessionStopWanted.type}),
    "notifications": frozenset({NotificationCreated.type, NotificationRead.type}),
    "invoices": frozenset({InvoiceUpdated.type}),
    "sync": frozenset({SyncStarted.type, SyncProgress.type, SyncCompleted.type}),
    "operations": frozenset({OperationCompleted.type}),
    "reservations": frozenset({ReservationChanged.type, ReservationCancelled.type}),
    "billing": frozenset(
        {
            EventsRequeued.type,
            BooksDiffer.type,
            LateEnergy.type,
            BillingStopped.type,
            BillingResumed.type,
            UsageLimitReached.type,
        }
    ),
    "notices": frozenset({OperatorNotice.type, QrSignInSuspicious.type, ComponentDown.type, ComponentRecovered.type}),
    "accounts": frozenset({CustomerAccountProvisioned.type, CustomerAccountBlocked.type, SignedInByCard.type}),
    "cards": frozenset({CardsSwitched.type, CardReportedLost.type, TagSeen.type}),
    "devices": frozenset({DeviceRegistered.type, DeviceScanCompleted.type}),
    "flags": frozenset({FeatureFlagsChanged.type, DeviceFeatureFlagsChanged.type}),
}
"""What operators may ask for; a device's log has a stream of its own."""

LOG_TYPES = frozenset({DeviceLogsAppended.type})
