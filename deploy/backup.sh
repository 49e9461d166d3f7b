#!/bin/sh
# Writes the database into FILE while everything runs: deploy/backup.sh [FILE]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
file=${1:-polaris-$(date -u +%Y%m%dT%H%M%SZ).dump}
compose() { docker compose --project-directory "$root" "$@"; }

umask 077
trap 'rm -f "$file.part"' EXIT
compose exec -T postgres sh -c 'exec pg_dump --format=custom --username "$POSTGRES_USER" "$POSTGRES_DB"' >"$file.part"
compose exec -T postgres pg_restore --list <"$file.part" >/dev/null
mv "$file.part" "$file"
echo "Wrote $file ($(wc -c <"$file" | tr -d ' ') bytes)."
