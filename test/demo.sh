#!/bin/sh
# Demonstrates a backup without Cyrus: sample mail goes through the replication protocol into a
# repository in ./demo; then every message is read back with only zstd and tar. "make demo" builds
# ./bin and runs this.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/bin demo=$PWD/demo
repo=$demo/repository conf=$demo/imapd.conf

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# backupd refuses to run as root, so root becomes nobody here. The capability gives access to a
# checkout below a directory that nobody may not search, such as /root.
as_service() { "$@"; }
if [ "$(id -u)" -eq 0 ]; then
	as_service() {
		setpriv --reuid=65534 --regid=65534 --clear-groups \
			--inh-caps=+dac_override --ambient-caps=+dac_override -- "$@"
	}
fi

rm -rf "$demo"
mkdir -p "$demo/state" "$repo"
cat >"$conf" <<END
configdirectory: $demo/state
admins: demo
backuppartition-default: $repo
END
printf secret >"$demo/password"
[ "$(id -u)" -ne 0 ] || chown -R 65534:65534 "$demo"
as_service "$bin/ctl_backups" -C "$conf" passwd demo <"$demo/password"

# push FOLDER SOURCE: backupd is started for the connection, as inetd would
push() {
	as_service "$bin/backup_replay" --user anne --auth demo --password-file "$demo/password" \
		--json --exec ${1:+--folder "$1"} "$2" -- "$bin/backupd" -C "$conf" >"$demo/pushed.json"
	jq -r '.rounds[0] | "\(.records) messages (\(.messages) distinct), \(.bytes) bytes in \(.seconds * 100 | round / 100) s"' \
		"$demo/pushed.json"
	pushed=$((pushed + $(jq '.rounds[0].messages' "$demo/pushed.json")))
}

pushed=0
step "Pushing testdata/mail, and three messages with large attachments, to backupd"
push "" testdata/mail
push Large gen:3:2M

step "The repository as cyr_backup shows it"
as_service "$bin/cyr_backup" -C "$conf" anne list mailboxes
as_service "$bin/cyr_backup" -C "$conf" anne list chunks

step "Reading every message back with only zstd and tar"
back=$demo/read-back
mkdir -p "$back/messages" "$back/object"
find "$repo/packs" "$repo/backups" -name '*.tar.zst' | sort >"$back/objects"
while read -r object; do
	zstd -dcq "$object" | tar -x --no-same-owner -C "$back/object"
	[ ! -e "$back/object/commit.ndjson" ] || cat "$back/object/commit.ndjson" >>"$back/commits.ndjson"
	find "$back/object" \( -name '*.eml' -o -name '*.part' \) -exec mv -t "$back/messages" {} +
	rm -rf "$back/object" && mkdir "$back/object"
done <"$back/objects"
rmdir "$back/object"
# a large message is stored in parts; its commit has their order
jq -r 'select(.event == "messages") | .messages[] | select(.chunks | length > 1) | [.guid, .chunks[]] | join(" ")' \
	"$back/commits.ndjson" | while read -r guid parts; do
	for part in $parts; do cat "$back/messages/$part.part"; done >"$back/messages/$guid.eml"
done
find "$back/messages" -name '*.part' -delete

count=0
for f in "$back"/messages/*.eml; do
	guid=$(basename "$f" .eml)
	sum=$(sha1sum <"$f")
	if [ "${sum%% *}" != "$guid" ]; then
		echo "$f: SHA-1 is ${sum%% *}" >&2
		exit 1
	fi
	count=$((count + 1))
done
if [ "$count" -ne "$pushed" ]; then
	echo "$pushed distinct messages were pushed, $count read back" >&2
	exit 1
fi
echo "$count messages read back; each has the SHA-1 in its name; $pushed were pushed."

step "Where everything is"
cat <<END
$repo
    the repository, with the layout of a bucket; README.txt explains how to read it
$repo/packs
    message bodies: $(find "$repo/packs" -name '*.tar.zst' | wc -l) objects, $(du -sh "$repo" | cut -f1) in total for $(cat "$back"/messages/*.eml | wc -c) bytes of mail
$repo/backups/user/anne/log
    the changes, one object per commit
$demo/state
    the index (you can delete it at any time) and the credentials
$conf
    the configuration; try  bin/cyr_backup -C demo/imapd.conf anne show mailboxes user.anne
$back/messages
    the messages that were read back
END
