// Package maintenance is the upkeep of a backup: it merges old commits into segments, and
// removes what retention does not keep. Its functions hold the upkeep lease of the backup
// (repository.BeginUpkeep), never a lock: daemons continue to write.
//
// Three rules protect mail. What replaces an object is durable, and was read back from the
// store, before the object is removed. Objects of a log are removed in ascending order, none
// younger than backup_log_min_age, and never the newest commit. A backup that cannot be read
// is left unchanged.
package maintenance
