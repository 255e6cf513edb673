#!/bin/sh
# nats-server has no option for a file with a token, so the environment carries
# it: of this one process, not of the container (docker inspect shows that).
set -eu
token=$(cat /run/secrets/nats_token)
case $token in
'' | *[!A-Za-z0-9_-]*)
	echo "the secret nats_token must be letters, digits, _ and -: make it with deploy/compose/secrets/create" >&2
	exit 1
	;;
esac
# The value is read as configuration: without quotes 12e3 is a number.
NATS_TOKEN="\"$token\""
export NATS_TOKEN
exec nats-server --config /etc/flightlog/nats.conf
