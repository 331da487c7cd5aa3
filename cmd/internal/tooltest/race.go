//go:build race

package tooltest

const raceDetector = true
