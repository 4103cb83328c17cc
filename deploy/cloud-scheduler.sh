#!/usr/bin/env bash
# Lets Cloud Scheduler call the health function: the sweep every 5 minutes, what is due every minute.
#
#   PROJECT=acme-prod REGION=asia-southeast1 deploy/cloud-scheduler.sh
#
# Each call proves itself twice: to Cloud Run by the identity of hangar-scheduler@, to Hangar by X-Hangar-Secret.
set -euo pipefail
: "${PROJECT:?the Google project}" "${REGION:?the region of the services}"

account="hangar-scheduler@$PROJECT.iam.gserviceaccount.com"
url=$(gcloud run services describe hangar-health --project "$PROJECT" --region "$REGION" --format 'value(status.url)')
secret=$(gcloud secrets versions access latest --project "$PROJECT" --secret hangar-static-secret)

gcloud run services add-iam-policy-binding hangar-health --project "$PROJECT" --region "$REGION" \
  --member "serviceAccount:$account" --role roles/run.invoker --quiet

# The next run is the retry, so Scheduler makes none of its own.
make_job() {
  gcloud scheduler jobs create http "$1" --project "$PROJECT" --location "$REGION" --schedule "$2" --time-zone Etc/UTC \
    --uri "$url/" --http-method POST --message-body "$3" --attempt-deadline 320s --max-retry-attempts 0 \
    --headers "Content-Type=application/json,X-Hangar-Secret=$secret" \
    --oidc-service-account-email "$account" --oidc-token-audience "$url"
}
make_job hangar-sweep '*/5 * * * *' '{}'
make_job hangar-drain '* * * * *' '{"drain_only": true}'
