// Package restore chooses what of a backup is to come back, and reads it. Where it
// goes is the business of the packages below.
//
// A restore only adds: it overwrites nothing, deletes nothing, and does not bring
// what the destination holds already. So it can be cut at any point and run again.
package restore
