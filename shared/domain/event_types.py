"""The types and statuses of the audit log, as the table user_fly_app_events allows them; a test compares both."""

EVENT_TYPES = (
    "action", "adoption", "alert_handled", "alert_raised", "brake_tripped", "command_run",
    "deprovision_completed", "deprovision_failed", "deprovision_requested", "deprovision_started",
    "desired_changed", "drift_ended", "drift_found", "error_occurred", "health_check_failed",
    "health_check_passed", "orphan_approved", "orphan_found", "orphan_removed", "override_set", "pin_set", "plan_changed",
    "provision_completed", "provision_failed", "provision_requested", "provision_started", "recovery_attempted",
    "release_changed", "release_target", "settings_changed", "token_revoked", "user_erased", "user_secret_changed",
)  # fmt: skip
EVENT_STATUSES = ("intent", "succeeded", "failed", "unknown", "info")
