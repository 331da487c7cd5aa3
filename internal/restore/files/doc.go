// Package files restores into files: a Maildir, mboxes, or messages as they are in
// directories or in a tar. When Restore returns without an error, all of it is on disk.
//
// Running it again adds what is missing: a Maildir's and a directory's files carry the
// GUID in their names; mboxes and tars are written beside their place and take it only
// when they are complete. What is there is left alone, except where a new mbox begins with
// all of the old one. A run that is killed leaves *.partial files, which the next removes.
//
// Below the destination no symbolic link is followed, and no file is overwritten that an
// earlier restore has not written.
package files
