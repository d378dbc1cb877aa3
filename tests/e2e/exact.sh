#!/usr/bin/env bash
# One job, one result: the weights and the whole state (the manifest's state hash) are the same
# whatever the threads, kernels and passes; lanes are part of the job, so each number of lanes has
# its own. Another seed must differ.
# quick
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 1
model: {class: mlp, hidden: "32", dropout: 0.1}
data: {kind: synthetic, num_samples: 500, num_val_samples: 100, batch_size: 32}
trainer: {max_epochs: 2, accumulate_grad_batches: 3, gradient_clip_val: 0.5}
JOB

# both JOB [OPTION...]: the hashes of weights and state that a run ends with.
both() {
  local path
  path=$(train "$@") || return
  echo "$("$stoker" ckpt hash "$path") $("$stoker" ckpt show "$path" | sed -n 's/^state //p')"
}

# same WANT NAME OPTION...
same() {
  local want=$1 name=$2 got
  shift 2
  got=$(both job.yaml "$@") || got="no result"
  echo "$got $name"
  [ "$got" = "$want" ] || fail "$name: $got, not $want"
}

whole=$(both job.yaml)
echo "$whole as is"
same "$whole" "again"
for threads in 1 2 3; do
  same "$whole" "threads $threads" --trainer.threads "$threads"
done
for kernels in ref avx2 avx512; do
  if [ $kernels = ref ] || grep -qw "${kernels/avx512/avx512f}" /proc/cpuinfo; then
    same "$whole" "kernels $kernels" --trainer.kernels $kernels
  else
    echo "skipped kernels $kernels: this CPU has none"
  fi
done
for passes in '[-fuse]' '[-in_place]' '[-fuse,-in_place]'; do
  same "$whole" "passes $passes" --trainer.passes "$passes"
done
same "$whole" "profiler simple" --trainer.profiler simple

for lanes in 3 4; do
  laned=$(both job.yaml --trainer.lanes $lanes --trainer.threads 1)
  echo "$laned lanes $lanes"
  [ "$laned" != "$whole" ] || fail "lanes $lanes: the hash of one lane"
  same "$laned" "lanes $lanes threads 2" --trainer.lanes $lanes --trainer.threads 2
  same "$laned" "lanes $lanes threads 3 ref" --trainer.lanes $lanes --trainer.threads 3 \
    --trainer.kernels ref
done
same "$whole" "lanes 1" --trainer.lanes 1

other=$(both job.yaml --seed_everything 2)
echo "$other another seed"
for i in 1 2; do
  [ "$(cut -d' ' -f$i <<<"$other")" != "$(cut -d' ' -f$i <<<"$whole")" ] ||
    fail "another seed: the same hash $i"
done
finish
