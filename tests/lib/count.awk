# Reads what ctest printed, then its LastTest.log. Prints a line per failure and per skip, and last
# the three numbers passed, failed, skipped.
#
# A cmocka program counts as its cases, another program as one. A case is skipped with cmocka's
# skip() after printing `skip: why`; a program by exit status 77 after the same line.
# A program that failed counts as one failure beside the cases that passed.

/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: .*\*\*\*Skipped/ {
  sub(/^[^:]*: /, "")
  left_early[$1] = 1
}
/^[0-9]+\/[0-9]+ Test: / {
  name = $3
  ok = n_skips = in_summary = 0
  reason = ""
}
/^\[ RUN      \] /                    { reason = "" }
/^\[==========\] .*run\.$/            { in_summary = 1 }
/^skip: /                             { reason = substr($0, 7) }
/^\[       OK \] /                    { ok++ }
/^\[  SKIPPED \] / && !in_summary     { skips[n_skips++] = " " $4 (reason ? ": " reason : "") }

function report_skips(i) {
  for (i = 0; i < n_skips; i++) {
    print "skipped " prefix name skips[i]
  }
  skipped += n_skips
  passed += ok
}

/^Test Passed\.$/ {
  if (name in left_early) {
    skips[n_skips++] = (reason ? ": " reason : "")
  }
  report_skips()
  passed += ok + n_skips == 0
}
/^(Test Failed\.|Test Timeout.*|Test Not Run\.)$/ {
  report_skips()
  print "FAILED " prefix name
  failed++
}
END { print passed + 0, failed + 0, skipped + 0 }
