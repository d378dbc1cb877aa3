# Rows of tests/bench/run about several ranks on one host; sourced by it.
#
# reduce: gradients of two processes become one step, 25 MiB of f32, beside Open MPI and gloo; each
# with one thread, each fills its gradients anew before every turn, which is not counted.
# ranks: weak scaling. One rank of one lane, two such jobs at once on different CPUs (what the
# machine gives two processes), and one job of two ranks and two lanes, one thread each; and a step
# with next to no arithmetic alone and on two ranks, whose difference is what group page and
# barriers cost.

# line NAME SECONDS WORDS...: one figure in the chosen format.
line() {
  if [ "$format" = json ]; then
    printf '{"row":"%s","seconds":%s}\n' "$1" "$2"
  else
    awk -v n="$1" -v s="$2" -v t="${*:3}" 'BEGIN {printf "%-40s %10.3f ms  %s\n", n, s * 1e3, t}'
  fi
}

ratio() { pairs "$@" | awk '{printf "%.2f", $1}'; }

row_reduce() {
  local i name mib=25 peers=()
  start reduce "$root/build/release/tests/bench_reduce" $mib ||
    { cat "$work/reduce.log" >&2; return 1; }
  if command -v mpicc >/dev/null && command -v mpirun >/dev/null &&
    mpicc -O3 -march=native -o "$work/mpi_reduce" "$here/peers/mpi_reduce.c" -lm 2>"$work/mpicc.log"
  then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    ! start mpi mpirun --oversubscribe -n 2 "$work/mpi_reduce" $mib || peers+=(mpi)
  fi
  if [ -n "$have_torch" ]; then
    ! start gloo "$python" "$here/peers/torch_reduce.py" $mib "$work/rendezvous" || peers+=(gloo)
  fi
  for ((i = 0; i < rounds; i++)); do
    ask reduce "step $seconds" && ask reduce "clip $seconds" .clip
    ask reduce "sum $seconds" .sum && ask reduce "meet 0.2" .meet
    for name in "${peers[@]}"; do
      ask "$name" "reduce $seconds" && ask "$name" "step $seconds" .step
    done
  done
  line "mean alone, 2 ranks" "$(median reduce.sum)"
  line "mean and AdamW" "$(median reduce)"
  line "the same, clipping by norm" "$(median reduce.clip)"
  line "a barrier" "$(median reduce.meet)"
  for name in "${peers[@]}"; do
    line "$name all-reduce alone" "$(median "$name")" "x $(ratio "$name" reduce.sum)"
    line "$name all-reduce and AdamW" "$(median "$name.step")" "x $(ratio "$name.step" reduce)"
  done
  for name in reduce "${peers[@]}"; do
    stop "$name"
  done
}

# weak JOB: one rank, two jobs at once, two ranks.
weak() {
  local job=$1 path=$data i
  local file=$here/jobs/$job.yaml bench=$root/build/release/tests/bench_train
  case $job in gpt*) path=$data/tinyshakespeare.txt ;; esac
  local words=(--data.path "$path" --trainer.threads 1)
  rm -f "$work"/values.*
  start one taskset -c 0 "$bench" "$file" "${words[@]}" &&
    start other taskset -c $(($(nproc) > 1 ? 1 : 0)) "$bench" "$file" "${words[@]}" &&
    start two "$bench" -r 2 "$file" "${words[@]}" --trainer.lanes 2 || return 1
  for ((i = 0; i <= rounds; i++)); do
    ask one "step $seconds"
    echo "step $seconds" >&"${to[other]}"
    ask one "step $seconds" .pair
    local rest
    IFS= read -r -u "${from[other]}" rest
    echo "$rest" >>"$work/values.one.pair"
    ask two "step $seconds"
  done
  line "$job, 1 rank of 1 lane" "$(median one)"
  line "$job, two such jobs at once" "$(median one.pair)"
  line "$job, 2 ranks of 1 lane each" "$(median two)" \
    "$(ratio one two) of one rank's speed, $(ratio one.pair two) of two jobs'"
  for name in one other two; do
    stop "$name"
  done
}

row_ranks() {
  local job
  for job in mlp cnn gpt-small; do
    weak "$job"
  done
  weak host
}
