#!/usr/bin/env bash
# Run the test suites side by side, each in a worktree of its own: run_parallel_tests.sh [WORDS FOR testgrove test].
# Without a word: the suites of the branch main. The exit status is not 0 when one of them did not pass.
[ $# -gt 0 ] || set -- --ref main
exec python3 "$(dirname "${BASH_SOURCE[0]}")/testgrove_scripts.py" test "$@"
