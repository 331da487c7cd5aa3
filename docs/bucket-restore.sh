#!/bin/sh
# README.txt of older buckets refers to this name. It runs bucket-restore.py in the same directory.
exec python3 "$(dirname "$0")/bucket-restore.py" "$@"
