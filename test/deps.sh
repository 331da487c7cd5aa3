#!/bin/sh
# Installs the Debian packages that the tests ("test"), the benchmarks ("bench"), the demo ("demo") or the linters ("lint")
# need and that are missing.
# No service is started: the tests run Cyrus themselves, in separate directories.
set -eu

case ${1:-} in
demo) want="zstd jq" ;;
lint) want="shellcheck flake8" ;;
bench) want="restic borgbackup" ;;
test) want="zstd jq rclone awscli python3 python3-yaml busybox iproute2 openssl ca-certificates gcc libc6-dev strace
	cyrus-common cyrus-imapd cyrus-replication cyrus-admin cyrus-clients
	sasl2-bin db5.3-util libsasl2-modules libsasl2-modules-db libseccomp2
	mandoc groff bash-completion zsh fish mblaze prometheus minisign" ;;
*) echo "usage: $0 demo|test|lint|bench" >&2; exit 64 ;;
esac

command -v go >/dev/null || { echo "Go is missing: install Go 1.26 or later (https://go.dev/dl)" >&2; exit 1; }

missing=
for p in $want; do
	if [ "$1" = demo ]; then
		command -v "$p" >/dev/null || missing="$missing $p"
	else
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
	fi
done
if [ -n "$missing" ]; then
	if [ "$(id -u)" -ne 0 ]; then
		echo "Missing:$missing. As root: apt-get install$missing" >&2
		exit 1
	fi

	# Debian starts a service as soon as it is installed, unless this file denies it.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		trap 'rm -f $policy' EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	# shellcheck disable=SC2086 # a list
	apt-get install -y -q --no-install-recommends $missing
fi

[ "$1" != test ] || "$(dirname "$0")/lab/unpack-dovecot"
