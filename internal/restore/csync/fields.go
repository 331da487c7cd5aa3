package csync

import (
	"slices"
	"strconv"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

func get(fields []dlist.Pair, key string) (dlist.Value, bool) { return dlist.KV(fields...).Get(key) }

func text(fields []dlist.Pair, key string) string {
	v, _ := get(fields, key)
	return v.Str
}

func num(fields []dlist.Pair, key string) uint64 {
	n, err := strconv.ParseUint(text(fields, key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// with returns fields with others replaced or appended.
func with(fields []dlist.Pair, others ...dlist.Pair) []dlist.Pair {
	out := slices.Clone(fields)
	for _, o := range others {
		i := slices.IndexFunc(out, func(p dlist.Pair) bool { return p.Key == o.Key })
		if i < 0 {
			out = append(out, o)
			continue
		}
		out[i] = o
	}
	return out
}

func without(fields []dlist.Pair, keys ...string) []dlist.Pair {
	return slices.DeleteFunc(slices.Clone(fields), func(p dlist.Pair) bool { return slices.Contains(keys, p.Key) })
}

// date formats a time for people, with its offset.
func date(sec int64) string { return time.Unix(sec, 0).Format("2006-01-02 15:04:05 -0700") }
