#!/usr/bin/env bash
# predict --generate: a text is a function of weights, prompt and seed, whatever the threads and
# kernels; it is on standard output alone, behind its prompt.
# quick
. "$(dirname "$0")/lib.sh"

for _ in $(seq 60); do echo "the quick brown fox jumps over the lazy dog"; done >text
cat >job.yaml <<'JOB'
model: {class: gpt, n_layer: 1, n_head: 2, n_embd: 32, block_size: 16, vocab_size: 128}
data: {kind: bytes, path: text, batch_size: 8, stride: 3}
optimizer: {class: adamw, lr: 0.01}
trainer: {max_steps: 60}
JOB
checkpoint=$(train job.yaml)
rm text # sampling reads no data

# text OPTION...: what is printed on standard output.
text() {
  "$stoker" predict job.yaml --ckpt_path "$checkpoint" --generate 40 "$@" 2>err.log || cat err.log
}

first=$(text --prompt "the qu")
echo "$first"
[ ${#first} = 46 ] || fail "${#first} bytes, not 46"
[ "${first:0:6}" = "the qu" ] || fail "the prompt does not come first"
for option in "--trainer.threads 1" "--trainer.threads 3" "--trainer.kernels ref"; do
  # shellcheck disable=SC2086
  [ "$(text --prompt "the qu" $option)" = "$first" ] || fail "$option: another text"
done
[ "$(text --prompt "the qu" --seed 5)" != "$first" ] || fail "another seed: the same text"
[ "$(text --prompt "the qu" --seed_everything 5)" = "$(text --prompt "the qu" --seed 5)" ] ||
  fail "seed_everything is not the seed"
[ "$(text --temperature 0)" = "$(text --temperature 0 --seed 9)" ] || fail "temperature 0 is random"
[ "$(text --top_k 1)" = "$(text --temperature 0)" ] || fail "the likeliest token by two ways"
text --model.n_embd 64 | grep -q "another model" || fail "weights of another model are taken"
finish
