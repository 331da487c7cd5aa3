package partitions

import "testing"

// A pool keeps the memory of one pack while nothing is sent, and the next pack takes it.
func TestPackPoolKeepsOnePack(t *testing.T) {
	t.Parallel()
	pp := newPackPool(&Partition{set: &Set{opt: Options{PackBuffers: 3, PackSize: 1 << 20}}})
	var used []*packMemory
	for range 3 {
		<-pp.slots
		p := pp.fresh()
		used = append(used, p.mem)
		p.mu.Unlock()
	}
	for _, mem := range used {
		pp.giveBack(mem)
	}
	if len(pp.slots) != 3 || pp.idle != used[2] {
		t.Errorf("%d may be opened, and the kept memory is not the last one", len(pp.slots))
	}
	<-pp.slots
	p := pp.fresh()
	defer p.mu.Unlock()
	if p.mem != used[2] || pp.idle != nil {
		t.Error("the next pack does not use the kept memory")
	}
}
