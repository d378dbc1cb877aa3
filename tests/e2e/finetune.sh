#!/usr/bin/env bash
# Fine-tuning: weights of another job by a name map, other hyper-parameters, some of them frozen.
# quick
. "$(dirname "$0")/lib.sh"

cat >first.yaml <<'JOB'
model: {class: mlp, hidden: "24", classes: 10}
data: {kind: synthetic, num_samples: 200, batch_size: 20}
trainer: {max_steps: 5}
JOB
cat >second.yaml <<'JOB'
model:
  class: sequential
  layers: [flatten, {linear: {out: 24}}, relu, {dropout: {p: 0.2}}, {linear: {out: 4}}]
data: {kind: synthetic, num_samples: 200, batch_size: 20, num_classes: 4}
weights:
  map: {"net.0.*": "layers.1.*", "net.2.": "unused."}
optimizer: {class: sgd, lr: 0.1, freeze: ["layers.1.*"]}
trainer: {max_steps: 5}
JOB
first=$(train first.yaml)

# tensor FILE NAME: SHA-256 of one tensor's bytes.
tensor() {
  local n offsets
  n=$(od -An -tu8 -N8 "$1")
  offsets=$(head -c $((8 + n)) "$1" | tail -c "$n" |
    grep -oE "\"$2\":\{[^}]*\}" |
    grep -oE 'data_offsets":\[[0-9]+,[0-9]+' | grep -oE '[0-9]+,[0-9]+')
  tail -c +$((9 + n + ${offsets%,*})) "$1" | head -c $((${offsets#*,} - ${offsets%,*})) |
    sha256sum | cut -d' ' -f1
}

second=$(train second.yaml --weights.path "$first" --weights.strict false) || fail "no fine-tuning"
for name in weight bias; do
  [ "$(tensor "$first/model.safetensors" "net.0.$name")" = \
    "$(tensor "$second/model.safetensors" "layers.1.$name")" ] ||
    fail "layers.1.$name is not net.0.$name, or it was trained in spite of freeze"
done
grep -q 'weights: 2 tensors .*(2 parameters not in it, 2 tensors not used)' run-*.log ||
  fail "what was loaded is not told"
moved=$(train second.yaml --weights.path "$first" --weights.strict false --optimizer.freeze '[]')
[ "$(tensor "$moved/model.safetensors" layers.1.bias)" != \
  "$(tensor "$first/model.safetensors" net.0.bias)" ] || fail "without freeze nothing was trained"
"$stoker" fit second.yaml --weights.path "$first" >log 2>&1 && fail "strict takes what is missing"
grep -q 'layers\.4\.' log || fail "strict does not name the missing parameter: $(tail -n 1 log)"
finish
