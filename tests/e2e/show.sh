#!/usr/bin/env bash
# The verbs that show: doctor, version, plan, ckpt, as text and as JSON that a parser takes.
# quick
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
model: {class: mlp, hidden: "8"}
data: {kind: synthetic, num_samples: 40, batch_size: 10}
trainer: {max_steps: 2}
JOB

# json EXPRESSION COMMAND...: true of the value x that the command prints.
json() {
  local expression=$1
  shift
  "$stoker" "$@" >out.json 2>err.log || fail "stoker $*: $(tail -n 1 err.log)"
  if command -v python3 >/dev/null; then
    python3 -c "import json, sys; x = json.load(open('out.json')); sys.exit(not ($expression))" ||
      fail "stoker $*: not $expression in: $(head -c 300 out.json)"
  fi
}

# says PATTERN COMMAND...
says() {
  local pattern=$1
  shift
  "$stoker" "$@" >out.log 2>&1 || fail "stoker $*: $(tail -n 1 out.log)"
  grep -qE "$pattern" out.log || fail "stoker $*: no '$pattern' in: $(head -n 5 out.log)"
}

says '^ok    kernels        ref' doctor
says '^ok    arithmetic' doctor
json '{"kernels", "threads"} <= {f["name"] for f in x["worker"]}' doctor -o json
says '^stoker-worker .*kernels ref' version
json '"ref" in x["kernels"] and x["numerics"] == 1' version -o json
says 'model\.hidden: 8 ' plan job.yaml
json 'x["n_parameters"] == 28 * 28 * 8 + 8 + 8 * 10 + 10' plan job.yaml -o json
json 'x["bytes"]["gradients"] == x["bytes"]["parameters"]' plan job.yaml -o json
json 'x["bytes"]["gradients"] == 3 * x["bytes"]["parameters"]' plan job.yaml -ojson \
  --trainer.lanes 4 --trainer.accumulate_grad_batches 1
path=$(train job.yaml)
json 'x["step"] == 2 and x["hparams"]["hidden"] == "8"' ckpt show "$path" -o json
json 'x["tensors"] and {"name", "dtype", "shape", "bytes"} == set(x["tensors"][0])' \
  ckpt show "$path" -o json
json 'x["valid"]' ckpt verify "$path" -o json
json 'len(x["sha256"]) == 64' ckpt hash "$path" -o json
json 'x["name"] == "step-2" and x["valid"]' ckpt ls "$(dirname "$path")" -o json
finish
