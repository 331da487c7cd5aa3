// Package files restores into files: a Maildir, mboxes, or messages as they are in
// directories or in a tar. When Restore returns without an error, all of it is on disk.
//
// Running it again adds what is missing: a Maildir's and a directory's files carry the
// GUID in their names; mboxes and tars are written beside their place and take it only
// when they are complete and nothing else is there.
package files
