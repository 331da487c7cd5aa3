#!/bin/sh
# The name under which README.txt of older buckets knows bucket-restore.py, which lies beside it.
exec python3 "$(dirname "$0")/bucket-restore.py" "$@"
