//go:build !race

package maintenance_test

const raceEnabled = false
