package partitions

// lockKey is the key of a backup's lock object.
func lockKey(path string) string { return backupPrefix(path) + "lock.json" }
