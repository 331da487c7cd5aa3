package maintenance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

func TestPolicyChooses(t *testing.T) {
	var moments []history.Kept
	// From Monday, 2026-03-02, three moments a day, but none from the 10th to the 19th.
	for day := 2; day <= 40; day++ {
		if day >= 10 && day < 20 {
			continue
		}
		for _, hour := range []int{1, 12, 23} {
			moments = append(moments, history.Kept{Number: uint64(day*100 + hour), Time: time.Date(2026, 3, day, hour, 59, 59, 0, time.UTC)})
		}
	}
	for _, tt := range []struct {
		policy Policy
		want   string
	}{
		{Policy{}, ""},
		{Policy{Daily: 3}, "3823 3923 4023"},
		{Policy{Daily: 13}, "2823 2923 3023 3123 3223 3323 3423 3523 3623 3723 3823 3923 4023"},
		{Policy{Daily: 23}, "823 923 2023 2123 2223 2323 2423 2523 2623 2723 2823 2923 3023 3123 3223 3323 3423 3523 3623 3723 3823 3923 4023"},
		// The weeks of the 9th and the 16th of March have a moment, too.
		{Policy{Weekly: 5}, "923 2223 2923 3623 4023"},
		{Policy{Monthly: 5}, "3123 4023"},
		{Policy{Yearly: 1}, "4023"},
		{Policy{Daily: 2, Monthly: 2}, "3123 3923 4023"},
	} {
		var got []string
		for _, k := range tt.policy.choose(moments) {
			got = append(got, fmt.Sprint(k.Number))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%+v: %s, want %s", tt.policy, s, tt.want)
		}
	}
}

// The choice does not depend on the order, and dropping the rest does not change it.
func TestPolicyIsStable(t *testing.T) {
	p := Policy{Daily: 5, Weekly: 3, Monthly: 12, Yearly: 3}
	var left []history.Kept
	at := time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)
	for n := range uint64(1500) {
		at = at.Add(time.Duration(7+n%40) * time.Hour)
		left = append(left, history.Kept{Number: n + 1, Time: at})
		slices.Reverse(left)
		var next []history.Kept
		for _, k := range p.choose(left) {
			next = append(next, k.Kept)
		}
		again := p.choose(next)
		if len(again) != len(next) || next[len(next)-1].Number != n+1 {
			t.Fatalf("moment %d: %d moments, then %d; the newest is %d", n+1, len(next), len(again), next[len(next)-1].Number)
		}
		left = next
	}
	if len(left) < 15 {
		t.Errorf("%d moments are left", len(left))
	}
}

func TestUnknownTimeIsKept(t *testing.T) {
	p := Policy{Daily: 1}
	got := p.choose([]history.Kept{{Number: 1}, {Number: 2, Time: time.Unix(1e9, 0)}, {Number: 3, Time: time.Unix(2e9, 0)}})
	if len(got) != 2 || got[0].Number != 1 || got[1].Number != 3 {
		t.Errorf("%v", got)
	}
}

func TestDeletionStamp(t *testing.T) {
	for name, want := range map[string]int64{
		"DELETED.user.anne.Old.65550A1B":       0x65550A1B,
		"DELETED.user.anne.65550a1b":           0x65550A1B,
		"example.org!DELETED.user.a.65550A1B":  0x65550A1B,
		"user.anne.65550A1B":                   0, // renamed back
		"user.anne.DELETED.65550A1B":           0,
		"DELETED.user.anne.Old":                0,
		"DELETED.user.anne.Old.6555":           0,
		"DELETED.user.anne.Old.+5550A1B":       0,
		"DELETED.user.anne.Old.165550A1B":      0,
		"DELETED.user.anne.Old.6555 A1B":       0,
		"DELETED.user.anne.Old.65550A1B.Child": 0,
	} {
		at, ok := deletionStamp(name, "DELETED")
		if ok != (want > 0) || ok && at.Unix() != want {
			t.Errorf("%s: %v, %v", name, at, ok)
		}
	}
	if _, ok := deletionStamp("DELETED.user.anne.65550A1B", ""); ok {
		t.Error("without a prefix")
	}
}
