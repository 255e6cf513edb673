#!/bin/busybox sh
# Gives OpenObserve the password of its root user. There is nothing in the image
# but this shell: no cat, no env.
set -eu
password=
read -r password </run/secrets/openobserve_password || true # no newline at the end: still read
if [ ${#password} -lt 8 ]; then
	echo "the secret openobserve_password must have 8 characters or more: make it with deploy/compose/secrets/create" >&2
	exit 1
fi
export ZO_ROOT_USER_PASSWORD="$password"
exec /openobserve
