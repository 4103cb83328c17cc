"""Bugs planted in alerts: what is stored with them, how their messages are sent, and when they end."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_OUTBOX = "tests/postgres/test_alert_delivery.py"
_DELIVERY = "tests/simulation/test_alert_delivery.py"
_CAUSES = "tests/simulation/test_failure_alerts.py"
_REFUSALS = "tests/simulation/test_refusals.py"
_HOLD = "tests/simulation/test_alerts_hold.py"
_NOTIFIER = "tests/unit/test_alerts.py"

BUGS = (
    PlantedBug(
        "alert-end-not-told",
        Sql("trigger queue_resolved"),
        exactly("old.resolved_at is null and new.resolved_at is not null"),
        "false",
        "an alert that ends is told, whoever resolves it",
        (f"{_OUTBOX}::test_whoever_opens_an_alert_stores_its_message_with_it",),
    ),
    PlantedBug(
        "two-workers-send-to-one-destination",
        Sql("function public.fly_take_alerts"),
        exactly("and (d.lease_expires_at is null or d.lease_expires_at <= v_now)"),
        "",
        "one worker at a time sends to a destination, so that its messages keep their order",
        (f"{_OUTBOX}::test_one_worker_at_a_time_sends_to_a_destination",),
    ),
    PlantedBug(
        "resolved-overtakes-opened",
        Sql("function hangar.due_deliveries"),
        exactly("and e.seq < n.seq and e.next_attempt_at > hangar.now() and b.kind = a.kind"),
        "and false and b.kind = a.kind",
        "the end of an alert is never told before its opening",
        (f"{_OUTBOX}::test_what_follows_a_refused_message_waits_with_it",),
    ),
    PlantedBug(
        "late-failure-counts",
        Sql("function public.fly_record_deliveries"),
        exactly("elsif v_result.is_leased then"),
        "elsif true then",
        "a worker whose lease is over says nothing about the message that another one is sending",
        (f"{_OUTBOX}::test_a_late_report_of_a_success_counts_and_one_of_a_failure_does_not",),
    ),
    PlantedBug(
        "alerts-given-up-after-an-hour",
        Sql("function hangar.tidy_deliveries"),
        exactly("a.resolved_at <= v_now - interval '3 days' and n.delivered_at is null"),
        "a.resolved_at <= v_now - interval '1 hour' and n.delivered_at is null",
        "a receiver that was away for a day hears of every alert",
        (f"{_DELIVERY}::test_a_day_of_silence_loses_no_alert",),
    ),
    PlantedBug(
        "open-alerts-given-up",
        Sql("function hangar.tidy_deliveries"),
        exactly("a.id = n.alert_id and a.resolved_at <= v_now - interval '3 days' and n.delivered_at"),
        "a.id = n.alert_id and a.opened_at <= v_now - interval '3 days' and n.delivered_at",
        "an alert that is still open waits for its destination for as long as it takes",
        (f"{_OUTBOX}::test_a_message_is_given_up_when_its_alert_has_been_over_for_three_days",),
    ),
    PlantedBug(
        "refused-destination-asked-again-at-once",
        Sql("function hangar.end_delivery"),
        exactly("when 'failed' then hangar.now() + hangar.delivery_backoff(d.failures + 1, v_last.retry_after_s) end"),
        "when 'failed' then hangar.now() end",
        "a dead destination costs little time",
        (f"{_OUTBOX}::test_a_destination_that_is_out_is_tried_less_and_less_often",),
    ),
    PlantedBug(
        "failed-send-recorded-as-delivered",
        Python("shared.adapters.alert_webhook", "AlertWebhook._read_answer"),
        exactly("if response.is_success:"),
        "if True:",
        "an alert is delivered when its receiver has answered 2xx",
        (f"{_NOTIFIER}::test_a_destination_that_is_out_is_asked_once",),
    ),
    PlantedBug(
        "message-id-changes",
        Python("shared.adapters.notifications", "make_id"),
        exactly("UUID(message['id']).hex"),
        "message['attempts']",
        "a receiver can recognise a message that it has received before",
        (f"{_DELIVERY}::test_a_worker_that_dies_while_it_sends_causes_no_loss",),
    ),
    PlantedBug(
        "every-app-its-own-alert",
        Sql("function hangar.choose_failure_key"),
        exactly("if v_cause is not null then"),
        "if false then",
        "one cause is one alert, however many apps it concerns",
        (f"{_CAUSES}::test_twelve_upgrades_that_fail_for_one_cause_are_one_alert",),
    ),
    PlantedBug(
        "shared-alert-ends-with-the-first",
        Sql("function hangar.list_failure_keys"),
        exactly("cross join lateral (values (c.cause),"),
        "cross join lateral (values (null::text),",
        "an alert about a cause stays open while one app fails for it",
        (f"{_CAUSES}::test_the_alert_stays_while_one_app_is_left",),
    ),
    PlantedBug(
        "refused-listing-is-a-second-alert",
        Python("shared.fleet.sweep", "Sweep._await_inventory"),
        exactly("if self.worker.database.record_refusal(error.code, str(error)):"),
        "if False:",
        "a revoked token is one alert",
        (f"{_REFUSALS}::test_a_refused_listing_is_the_same_alert",),
    ),
    PlantedBug(
        "brake-alert-flaps",
        Sql("function hangar.resolve_brake_alerts"),
        exactly("cardinality(v_brake.destroyed) + v_waiting < v_brake.destroy_limit"),
        "cardinality(v_brake.destroyed) < v_brake.destroy_limit",
        "the brake's alert stays open while apps wait for it",
        (f"{_HOLD}::test_the_brake",),
    ),
    PlantedBug(
        "cap-alert-flaps",
        Sql("function hangar.resolve_after_pass"),
        exactly("when 'max_cost' then not hangar.is_cap_in_force(a.kind)"),
        "when 'max_cost' then true",
        "the alert about a cap stays open while the cap holds back an app",
        (f"{_HOLD}::test_a_cap",),
    ),
    PlantedBug(
        "installation-alert-flaps",
        Sql("function hangar.resolve_after_pass"),
        exactly("not a.metadata ? 'app' or a.seen_at <= hangar.now() - interval '1 hour'"),
        "true",
        "a sweep of one function says nothing about the installation id of another",
        (f"{_HOLD}::test_one_function_with_a_wrong_installation_id",),
    ),
    PlantedBug(
        "orphan-look-alert-flaps",
        Sql("function hangar.resolve_after_pass"),
        exactly("when 'orphan_look' then not exists (select 1 from public.fly_orphans o where o.app = a.key)"),
        "when 'orphan_look' then true",
        "an orphan that a sweep had no time for may still be unreadable",
        (f"{_HOLD}::test_an_orphan_that_cannot_be_read",),
    ),
    PlantedBug(
        "stalled-alert-flaps",
        Sql("function hangar.find_stalled"),
        exactly("not p_known and"),
        "",
        "a change of the settings does not end the alert about apps that are stalled already",
        (f"{_HOLD}::test_apps_that_are_stalled_while_settings_change",),
    ),
    PlantedBug(
        "incident-ends-unseen",
        Python("shared.fleet.sweep", "Sweep._alert_incident"),
        exactly("if self.report.complete and is_certain:"),
        "if self.report.complete:",
        "apps that Fly could not read may be as broken as before",
        (f"{_HOLD}::test_an_incident_in_a_region_that_cannot_be_read_meanwhile",),
    ),
    PlantedBug(
        "orphans-alert-flaps",
        Sql("function hangar.resolve_after_pass"),
        exactly("and a.seen_at <= hangar.now() - interval '8 minutes'"),
        "",
        "one list of Fly that lacks an orphan ends no alert about it",
        (f"{_HOLD}::test_orphans_that_one_list_lacks",),
    ),
    PlantedBug(
        "drain-does-not-send",
        Python("shared.fleet.sweep", "Sweep.run"),
        exactly("self._send_alerts()"),
        "pass",
        "an alert that could not be sent is sent by the next drain",
        (f"{_DELIVERY}::test_one_refusal_costs_a_minute",),
    ),
)
