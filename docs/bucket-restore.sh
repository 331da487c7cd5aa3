#!/bin/sh
# Reads a partition of backupd without backupd: with zstd, tar, jq, coreutils and one of cp, rclone, aws, mc. See bucket-restore.md.
usage() { echo 'usage: bucket-restore.sh STORE list | mailboxes BACKUP [TIME] | restore BACKUP NEWDIR [MAILBOX|"" [TIME]]
STORE: /directory | rclone:REMOTE:BUCKET/PREFIX | aws:s3://BUCKET/PREFIX | mc:ALIAS/BUCKET/PREFIX;  BACKUP: as listed, user/anne
TIME: RFC 3339 in UTC, 2026-11-20T14:05:00Z; without it the newest state' >&2; exit 64; }
set -eu; export LC_ALL=C; [ $# -ge 2 ] || usage
store=${1%/}; at=${store#*:}; verb=$2; b=backups/${3:-}; out=; mailbox=; time=; tab=$(printf '\t')
case $verb:$# in list:2) ;; mailboxes:[34]) time=${4:-} ;; restore:[456]) out=$4 mailbox=${5:-} time=${6:-} ;; *) usage ;; esac
case $time in ''|????-??-??T??:??:??.*Z) ;; ????-??-??T??:??:??Z) time=${time%Z}.999999999Z ;; *) usage ;; esac # all of that second
fail() { echo "bucket-restore: $*" >&2; exit 75; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; trap 'exit 130' INT TERM; mkdir "$tmp/b" "$tmp/m"
names() { st=0; case $store in # what lies right below a key
	rclone:*) rclone lsf "$at/$1/" ;; mc:*) mc ls --json "$at/$1/" ;; aws:*) aws s3 ls "$at/$1/" ;;
	*) [ ! -d "$store/$1" ] || ls "$store/$1" ;; esac >"$tmp/n" 2>"$tmp/err" || st=$?
	case $store:$st in *:0|rclone:*:3|aws:*:1|mc:*:1) ;; *) cat "$tmp/err" >&2; fail "cannot list $1" ;; esac # 3, 1: there is nothing
	case $store in mc:*) jq -r '.key // empty' "$tmp/n" ;; aws:*) while read -r _ g _ n; do echo "${n:-$g}"; done <"$tmp/n" ;;
	*) cat "$tmp/n" ;; esac | while read -r n; do echo "${n%/}"; done | sort >"$tmp/names"; }
get() { case $store in rclone:*) rclone copyto --retries 1 "$at/$1" "$tmp/o" ;; mc:*) mc cp -q "$at/$1" "$tmp/o" >/dev/null ;;
	aws:*) aws s3 cp --only-show-errors "$at/$1" "$tmp/o" ;; *) cp "$store/$1" "$tmp/o" ;; esac; }
unpack() { get "$1" && zstd -dcq "$tmp/o" | tar -xf - -C "$2" || fail "cannot read $1"; }
fresh() { rm -rf "$tmp/x"; mkdir "$tmp/x"; unpack "$1" "$tmp/x"; }
late() { [ -n "$time" ] && [ "$(head -n 1 "$1" | jq --arg t "${time%Z}" '(.time|rtrimstr("Z")) > $t')" = true ]; }
number() { n=${1%%.*}; n=${n#"${n%%[!0]*}"}; }; next=1; : >"$tmp/events"; : >"$tmp/places"
if [ "$verb" = list ]; then for k in user shared server; do names backups/$k; while read -r n; do echo "$k/$n"; done <"$tmp/names"; done; exit 0; fi
names "$b/checkpoints"; for c in $(sort -r "$tmp/names"); do # the newest that is not past the moment, as events
	fresh "$b/checkpoints/$c"; late "$tmp/x/state.ndjson" && continue
	number "$c"; next=$((n + 1)); p=$tmp/x/places.ndjson; [ -e "$p" ] || : >"$p"
	jq -nc --slurpfile p "$p" '(reduce $p[] as $i ({}; .[$i.block // ""] = $i.object)) as $at |
		foreach inputs as $l (null; if $l.mailbox then $l.mailbox.uniqueid else . end; . as $u | $l |
		if .mailbox then select(.mailbox.deleted|not) | {event:"mailbox",uniqueid:$u,name:.mailbox.name}
		else (.records,.messages) | objects | {event:"recordblocks",uniqueid:$u,blocks:[.+{object:$at[.sha256]}]} end)' "$tmp/x/state.ndjson" >"$tmp/events"
	jq -r 'select(.places).object' "$p" | sort -u >"$tmp/list"; while read -r o; do unpack "$o" "$tmp/b"; done <"$tmp/list"
	jq -r '.places // empty' "$p" | while read -r s; do cat "$tmp/b/$s.places"; done >"$tmp/places"; break
done
names "$b/log"; [ -s "$tmp/names" ] || fail "$3: no such backup"; while read -r f; do # the commits after it; of all segments the places, for a commit can have been merged
	number "$f"; from=${n%%-*}; number "${f#*-}"; to=$n; case $f in *-*) ;; *) [ "$to" -ge "$next" ] || continue ;; esac
	[ "$from" -le "$next" ] || fail "commit $next is gone: the moment lies before what is kept, or objects are missing"
	fresh "$b/log/$f"; for p in "$tmp"/x/places.ndjson "$tmp"/x/*/places.ndjson; do
		[ ! -e "$p" ] || { echo "{\"in\":\"$b/log/$f\"}"; cat "$p"; } >>"$tmp/places"; done
	while [ "$next" -le "$to" ]; do d=$tmp/x; case $f in *-*) d=$tmp/x/$(printf %016d "$next") ;; esac
		late "$d/commit.ndjson" && break 2; tee "$tmp/last" <"$d/commit.ndjson" >>"$tmp/events"; next=$((next + 1)); done
done <"$tmp/names"; [ "$next" -gt 1 ] || fail "$3: there was nothing yet at that time"; to=$(jq -r 'select(.event=="sealed").to // empty' "$tmp/last" 2>/dev/null || :)
[ -z "$to" ] || { get repository.json; [ "$(jq -r .id "$tmp/o")" = "$to" ] || echo "bucket-restore: warning: $3 was moved to repository $to; what came since is there" >&2; }
defs='def s: if type=="object" then .b64|@base64d else . end; def has($f): map(s|ascii_downcase)|index($f);
def dir: if test("^([^!]*!)?user[.]") then sub("^([^!]*!)?user[.][^.]*"; "") else "."+. end | gsub("/";"_") | if test("^[.]+$") then "_" else . end;
def each: foreach inputs as $e ({n:0}; if $e.number then .n=$e.number else . end; $e+{n:.n});'
jq -nc --arg want "$mailbox" "$defs"'reduce inputs as $e ({n:0,b:{}}; ($e.uniqueid|s) as $u | (($e.new // $e.name)|s) as $m | $e.event as $v |
	if $e.number then .n=$e.number elif $v=="mailbox" or $v=="rename" then
		(if .b[$u].name==$m then . else .b|=map_values(if .name==$m then .name=null else . end) end) | if $v=="mailbox" or .b[$u].name then .b[$u].name=$m else . end
	elif $v=="unmailbox" or $v=="moved-away" then .b[$u].name=null elif $v=="unuser" then .b|=map_values(.name=null)
	elif $v=="complete" then .b[$u].c=.n else . end) | .b | with_entries(select(.value.name and ($want=="" or .value.name==$want)))' "$tmp/events" >"$tmp/boxes"
if [ "$verb" = mailboxes ]; then jq -r 'to_entries[]|"\(.value.name)\t\(.key)"' "$tmp/boxes" | sort; exit 0; fi
[ "$(jq length "$tmp/boxes")" -gt 0 ] || fail "${mailbox:-$3}: no mailbox at that time"
mkdir "$out" || fail "$out must be a new directory"
jq -nr "$defs"'each | .n as $n | .uniqueid as $u | select(.event=="recordblocks").blocks[] | "\(.object) \($n) \(.sha256) \($u|s)"' "$tmp/events" >"$tmp/list"
sort -o "$tmp/list" "$tmp/list"
last=; while read -r o n s u; do [ "$o" = "$last" ] || unpack "$o" "$tmp/b"; last=$o; echo "{\"number\":$n}" # blocks as events
	if [ -e "$tmp/b/$s.messages" ]; then jq -sc '{event:"messages",messages:.}' "$tmp/b/$s.messages"; else jq -sc --arg u "$u" '{event:"records",uniqueid:$u,
		records:map(.expunged as $x | .record | if $x then .flags+=["\\Expunged"] else . end)}' "$tmp/b/$s.records"; fi; done <"$tmp/list" >>"$tmp/events"
# Of each record and of each place the last word counts.
jq -nr --slurpfile x "$tmp/boxes" "$defs"'each | .n as $n | (.uniqueid|s) as $u | select(.event=="records" and $x[0][$u]).records[] | .flags as $f | [$u,.uid,$n,input_line_number,
	($f|has("\\expunged")==null),.guid,.internaldate,(["D\\draft","F\\flagged","R\\answered","S\\seen","T\\deleted"]|map(.[1:] as $y | select($f|has($y))|.[:1])|join(""))] |
	map(tostring)|join("\t")' "$tmp/events" >"$tmp/list"; sort -t "$tab" -k1,1 -k2,2n -k3,3nr -k4,4nr "$tmp/list" | jq -Rnc --slurpfile x "$tmp/boxes" 'foreach (inputs|split("\t")) as $r ({};
	{k:$r[0:2],new:(.k!=$r[0:2])}; select(.new)|$r | select(.[4]=="true" and (.[2]|tonumber) >= ($x[0][.[0]].c // 0)))' >"$tmp/mail"
jq -nc --slurpfile m "$tmp/mail" '(reduce $m[] as $r ({}; .[$r[5]]=1)) as $w | reduce (inputs|select(.event=="messages").messages[] |
	select($w[.guid] and (.missing|not))) as $e ({}; .[$e.guid]=$e.chunks)' "$tmp/events" >"$tmp/chunks"
jq -nc --slurpfile c "$tmp/chunks" '(reduce $c[0][][] as $k ({}; .[$k]=1)) as $w | reduce inputs as $p ({}; if $p.in then .["in"]=$p.in
	elif $w[$p.chunk] then .[$p.chunk]=[if $p.object=="." then .["in"] else $p.object end, $p.entry] else . end) | del(.["in"])' "$tmp/places" >"$tmp/where"
extract() { cut -d' ' -f1 "$1" | uniq | while read -r f; do # the entries in a sorted list of objects and entries
	echo "$f" | join - "$1" | cut -d' ' -f2 >"$1.e"; p=${f%.tar.zst}.json
	if get "$f" 2>"$tmp/err"; then zstd -dcq "$tmp/o" | tar -xf - -C "$tmp/m" -T "$1.e" || fail "cannot read $f"
	elif get "moved/${p#packs/}"; then jq -rR --slurpfile j "$tmp/o" '"\($j[0].entries[.]) \(.)"' "$1.e" | sort >"$1.m"; extract "$1.m"
	else cat "$tmp/err" >&2; fail "cannot read $f"; fi; done; }
jq -r '.[]|join(" ")' "$tmp/where" >"$tmp/list"; sort -u "$tmp/list" >"$tmp/want"; extract "$tmp/want"
jq -r "$defs"'.[].name|dir' "$tmp/boxes" | while IFS= read -r d; do mkdir -p "$out/$d/cur" "$out/$d/new" "$out/$d/tmp"; done
jq -r --slurpfile x "$tmp/boxes" --slurpfile c "$tmp/chunks" --slurpfile w "$tmp/where" "$defs"'["./"+($x[0][.[0]].name|dir),"\(.[6]).\(.[1])_\(.[5]):2,\(.[7])",
	(.[6]|tonumber|todate),.[5],($c[0][.[5]]|if . then map($w[0][.][1] // "?")|join(" ") else "?" end)]|join("\t")' "$tmp/mail" >"$tmp/list"
while IFS=$tab read -r d f t g p; do f=$out/$d/cur/$f; (cd "$tmp/m"; exec cat /dev/null $p 2>&1) >"$f" && touch -d "$t" "$f" && echo "$g  $f" >>"$tmp/sums" ||
	{ rm -f "$f"; echo "$f: not restored: the backup has no body of it, or there is no space" | tee -a "$tmp/lost" >&2; }; done <"$tmp/list"
[ ! -e "$tmp/sums" ] || sha1sum -c --quiet "$tmp/sums" || fail "messages above are damaged"; [ ! -e "$tmp/lost" ] || exit 75
