package collection

import (
	"fmt"
	"testing"
	"time"
)

// If more backups have old places in each night than a pass lists, other ones are listed in each night.
func TestOldPlacesInTurn(t *testing.T) {
	const most, backups, nights = 32, 96, 8
	served := map[string]bool{}
	for night := range nights {
		var list []string
		for i := range backups {
			list = inTurn(list, fmt.Sprintf("user/u%02d", i), time.Date(2026, 3, 1+night, 3, 0, 0, 0, time.UTC), most)
		}
		if len(list) != most {
			t.Fatalf("%d backups", len(list))
		}
		for _, path := range list {
			served[path] = true
		}
	}
	if len(served) < backups*9/10 {
		t.Errorf("%d of %d backups were listed in %d nights", len(served), backups, nights)
	}
}
