// Package files restores into files: a Maildir, mboxes, or unchanged messages in directories
// or in a tar. When Restore returns without an error, everything is on disk.
//
// Another run adds the missing messages. The files of a Maildir or a directory carry the GUID in
// their names. mboxes and tars are written under another name and renamed when they are
// complete. Existing files stay unchanged, except that a new mbox replaces an old one if it begins
// with all of the old one. A run that is killed leaves *.partial files, which the next one removes.
//
// Below the destination no symbolic link is followed, and no file is overwritten unless an
// earlier restore wrote it.
package files
