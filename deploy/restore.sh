#!/bin/sh
# Replaces the database by FILE, which backup.sh wrote, and starts the services again: deploy/restore.sh FILE
# The old database is removed only after FILE was read completely; a failure leaves it as it was.
# Before the billing-bridge bills anything it asks Lago for what was sold since the backup: see "polaris billing status".
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
file=${1:?say which file: deploy/restore.sh FILE}
compose() { docker compose --project-directory "$root" "$@"; }
psql_in() { compose exec -T postgres sh -c 'exec psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -v db="$POSTGRES_DB" --username "$POSTGRES_USER" postgres'; }

test -r "$file" || { echo "$file cannot be read." >&2; exit 1; }
compose up --detach --wait postgres

echo 'DROP DATABASE IF EXISTS polaris_restored; CREATE DATABASE polaris_restored TEMPLATE template0;' | psql_in
compose exec -T postgres sh -c \
    'exec pg_restore --exit-on-error --no-owner --username "$POSTGRES_USER" --dbname polaris_restored' <"$file"

compose stop gateway notifier sync-worker billing-bridge
printf '%s\n' 'DROP DATABASE IF EXISTS :"db" WITH (FORCE);' 'ALTER DATABASE polaris_restored RENAME TO :"db";' | psql_in
compose up --detach --wait
echo "Restored $file."
