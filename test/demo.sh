#!/bin/sh
# A backup from nothing, without Cyrus: sample mail goes through the replication protocol
# into a repository in ./demo; then every message is read back out of the repository with
# zstd and tar alone. Run by "make demo", which builds ./bin first.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/bin demo=$PWD/demo
repo=$demo/repository conf=$demo/imapd.conf

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# backupd refuses to run as root, so root becomes nobody here; the one capability is for
# a checkout below a directory that nobody may not search, as /root.
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
	jq -r '.rounds[0] | "\(.records) messages (\(.messages) different ones), \(.bytes) bytes in \(.seconds * 100 | round / 100) s"' \
		"$demo/pushed.json"
	pushed=$((pushed + $(jq '.rounds[0].messages' "$demo/pushed.json")))
}

pushed=0
say "Pushing testdata/mail, and three messages with large attachments, to backupd"
push "" testdata/mail
push Large gen:3:2M

say "What cyr_backup finds in the repository"
as_service "$bin/cyr_backup" -C "$conf" anne list mailboxes
as_service "$bin/cyr_backup" -C "$conf" anne list chunks

say "Reading every message back with zstd and tar alone"
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
# a large message lies there in parts; its commit says in which order
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
	echo "$pushed different messages were pushed, $count read back" >&2
	exit 1
fi
echo "$count messages read back; each has the SHA-1 that it is named by; $pushed were pushed."

say "Where everything lies"
cat <<END
$repo
    the repository, as it would lie in a bucket; README.txt says how to read it
$repo/packs
    message bodies: $(find "$repo/packs" -name '*.tar.zst' | wc -l) objects, $(du -sh "$repo" | cut -f1) in all for $(cat "$back"/messages/*.eml | wc -c) bytes of mail
$repo/backups/user/anne/log
    what changed, one object a commit
$demo/state
    the index (may be deleted at any time) and the credentials
$conf
    the configuration; try  bin/cyr_backup -C demo/imapd.conf anne show mailboxes user.anne
$back/messages
    the messages, as they were read back
END
