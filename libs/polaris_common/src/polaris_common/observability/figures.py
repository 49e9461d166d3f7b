"""Which figures of the database which process shows: each is shown by the process whose work it is."""

from polaris_common.observability.metrics import Figure

MONEY = (
    Figure(
        "polaris_lago_events_unsent",
        "Events that Lago does not have yet.",
        "SELECT count(*) AS value FROM lago_events WHERE status = 'pending'",
    ),
    Figure(
        "polaris_lago_events_unsent_oldest_seconds",
        "The age of the oldest event that Lago does not have yet; 0 when there is none.",
        "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) AS value"
        " FROM lago_events WHERE status = 'pending'",
    ),
    Figure(
        "polaris_lago_events_unsent_wh",
        "Energy in Wh of events that Lago does not have yet; energy taken back counts as negative.",
        "SELECT coalesce(sum(CASE WHEN a.layer % 2 = 0 THEN a.to_wh - a.from_wh ELSE a.from_wh - a.to_wh END), 0)"
        " AS value FROM lago_events AS e JOIN energy_slices AS a ON a.id = e.slice_id WHERE e.status = 'pending'",
    ),
    Figure(
        "polaris_lago_events_quarantined",
        "Events that Lago refuses; a person must look.",
        "SELECT count(*) AS value FROM lago_events WHERE status = 'quarantined'",
    ),
    Figure(
        "polaris_sessions_held",
        "Sessions that cannot be billed yet, by reason.",
        "SELECT reason, count(*) AS value FROM session_billing WHERE status = 'held' GROUP BY reason",
        label="reason",
    ),
    Figure(
        "polaris_sessions_billing_due",
        "Sessions that changed since billing last looked.",
        "SELECT count(*) AS value FROM charging_sessions WHERE billed_revision < revision",
    ),
    Figure(
        "polaris_books_findings",
        "Differences between our books and Lago's that nobody has resolved, by kind.",
        "SELECT kind, count(*) AS value FROM reconciliation_findings WHERE resolved_at IS NULL GROUP BY kind",
        label="kind",
    ),
    Figure(
        "polaris_lago_webhooks_waiting",
        "Webhooks of Lago that are stored and not worked off, by status.",
        "SELECT status, count(*) AS value FROM lago_webhook_events WHERE status IN ('pending', 'dead') GROUP BY status",
        label="status",
    ),
)

CHARGING = (
    Figure(
        "polaris_sessions_open",
        "Sessions that charge, or may, now.",
        "SELECT count(*) AS value FROM charging_sessions WHERE state = 'open'",
    ),
    Figure(
        "polaris_sessions_quarantined",
        "Sessions that a person must look at, by reason.",
        "SELECT s.quarantine_reason AS reason, count(*) AS value"
        " FROM session_billing AS b JOIN charging_sessions AS s ON s.id = b.session_id"
        " WHERE b.status = 'held' AND s.state = 'quarantined' GROUP BY s.quarantine_reason",
        label="reason",
    ),
    Figure(
        "polaris_sync_last_success_seconds",
        "How long ago the last completed sync run ended; absent before the first.",
        "SELECT extract(epoch FROM now() - max(completed_at)) AS value FROM sync_runs"
        " WHERE status = 'completed' HAVING max(completed_at) IS NOT NULL",
    ),
)

TELLING = (
    Figure(
        "polaris_relay_waiting_events",
        "Domain events that the relay has not numbered yet.",
        "SELECT count(*) AS value FROM domain_events WHERE seq IS NULL",
    ),
    Figure(
        "polaris_relay_lag_seconds",
        "The age of the oldest domain event that is not numbered yet; 0 when there is none.",
        "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) AS value FROM domain_events WHERE seq IS NULL",
    ),
    Figure(
        "polaris_mails_waiting",
        "Mails that are not sent yet.",
        "SELECT count(*) AS value FROM outgoing_mails WHERE sent_at IS NULL AND dead_at IS NULL",
    ),
    Figure(
        "polaris_mails_waiting_oldest_seconds",
        "The age of the oldest mail that is not sent yet; 0 when there is none.",
        "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) AS value"
        " FROM outgoing_mails WHERE sent_at IS NULL AND dead_at IS NULL",
    ),
)
