#!/usr/bin/env bash
# Deploys the four functions to Cloud Run, or updates them.
#
#   PROJECT=acme-prod REGION=asia-southeast1 IMAGE=…/hangar@sha256:… deploy/cloud-run.sh
#
# Needs deploy/settings.env and, in Secret Manager, the secrets named below; docs/deploy.md makes them.
set -euo pipefail
cd "$(dirname "$0")"
: "${PROJECT:?the Google project}" "${REGION:?a Cloud Run region}" "${IMAGE:?the image, by digest}"

settings=$(grep -E '^[A-Z_]+=' settings.env | paste -sd '|')
secrets=SUPABASE_SECRET_KEY=hangar-supabase-secret-key:latest
secrets+=,FLY_API_TOKEN=hangar-fly-api-token:latest
secrets+=,HANGAR_WEBHOOK_SECRET=hangar-webhook-secret:latest
secrets+=,HANGAR_STATIC_SECRET=hangar-static-secret:latest
secrets+=,HANGAR_USER_TOKEN_KEY=hangar-user-token-key:latest
# HANGAR_ALERT_WEBHOOK_URL=name:latest,HANGAR_MACHINE_SECRETS=name:latest where you use them
secrets+=${MORE_SECRETS:+,$MORE_SECRETS}

# name, requests at a time (as many threads), most instances, memory
while read -r function threads instances memory; do
  gcloud run deploy "hangar-$function" --project "$PROJECT" --region "$REGION" --image "$IMAGE" \
    --service-account "hangar@$PROJECT.iam.gserviceaccount.com" \
    --set-env-vars "^|^FUNCTION_TARGET=$function|THREADS=$threads|$settings" --set-secrets "$secrets" \
    --timeout 300 --concurrency "$threads" --min-instances 0 --max-instances "$instances" --cpu 1 --memory "$memory" \
    --allow-unauthenticated --quiet </dev/null
done <<'SERVICES'
provision   8 5 512Mi
deprovision 8 5 512Mi
health      4 2 1Gi
admin       8 2 512Mi
SERVICES
