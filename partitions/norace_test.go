//go:build !race

package partitions_test

const raceEnabled = false
