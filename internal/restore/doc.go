// Package restore chooses what to restore from a backup and reads it. The packages below it
// write to the destinations.
//
// A restore only adds: it overwrites and deletes nothing, and skips what the destination
// already has. It can be stopped at any point and run again.
package restore
