// Package collection removes packs that no backup of a partition names any more
// (docs/design.md 5, "Collection"). It takes no lock on writers.
//
// A pass counts: it lists the partition and finds the packs that each backup names
// (backup.go), from a small object beside the backup (uses.go) and a cache on this host
// (cache.go). An old pack that nobody names is condemned (condemn.go): no writer refers to
// it from then on. The first later pass that begins a day after that and finds it unused
// again removes it (remove.go). A pass that cannot find out what a backup names condemns
// and removes nothing.
package collection
