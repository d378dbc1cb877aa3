#!/usr/bin/env bash
# SIGKILL at every fault point that the programs list: once each, or all of the sweep where
# STOKER_SWEEP is set and empty (tests/run long).
exec "$(dirname "$0")/../fault/sweep" ${STOKER_SWEEP---short}
