#!/usr/bin/env bash
# What goes wrong is said with what, where and why, under the exit code of docs/command.md.
. "$(dirname "$0")/lib.sh"

# refused CODE PATTERN COMMAND...: ends with that code and prints a line that matches.
refused() {
  local code=$1 pattern=$2 status=0
  shift 2
  timeout 60 "$stoker" "$@" >out.log 2>&1 || status=$?
  [[ $status = $code ]] || fail "stoker $*: exit $status, not $code: $(tail -n 1 out.log)"
  grep -qE "$pattern" out.log || fail "stoker $*: no '$pattern' in: $(tail -n 1 out.log)"
}

cat >job.yaml <<'JOB'
model: {class: mlp}
data: {kind: synthetic, num_samples: 100, num_val_samples: 10}
trainer: {max_steps: 2}
JOB
cat >unknown.yaml <<'JOB'
model: {class: mlp}
trainer:
  max_epoch: 3
JOB
cat >layers.yaml <<'JOB'
model:
  class: sequential
  layers:
    - flatten
    - linear: {in: 700, out: 10}
data: {kind: synthetic, num_samples: 100, num_val_samples: 10}
JOB

refused 2 'unknown\.yaml:3:3: trainer\.max_epoch: .*did you mean max_epochs' check unknown.yaml
refused 2 'unknown\.yaml:3:3: .*max_epochs' fit unknown.yaml
refused 2 'did you mean max_epochs' fit job.yaml --trainer.max_epoch 3
refused 2 "did you mean 'hidden'" fit job.yaml --model.hiden 3
refused 2 'mpl' fit job.yaml --model.class mpl
refused 2 'not built yet' fit job.yaml --trainer.precision bf16-mixed
refused 2 'layers\.yaml:5:7: .*model\.layers\.1: linear: in is not' check layers.yaml
refused 3 'nowhere\.yaml' fit nowhere.yaml
refused 3 'nowhere\.so is not there; compile it: cc .*-o \./nowhere\.so \./nowhere\.c' \
  fit job.yaml --model.class null --model.module ./nowhere.so
refused 3 'nowhere' fit job.yaml --data.kind idx --data.path nowhere
refused 3 'nowhere' validate job.yaml --ckpt_path nowhere
refused 2 'ckpt_path: the value is empty' fit job.yaml --ckpt_path ""
refused 3 'no run below' fit job.yaml --ckpt_path last
refused 3 'no checkpoint and no directory of a run' ckpt show .
refused 2 '\-\-steps' order job.yaml --steps 5
refused 2 '\-\-steps' order job.yaml --steps 3:x

# A monitor that nothing logs is said before the training.
# monitored CALLBACK [VAL_SAMPLES]
monitored() {
  sed "s/max_steps: 2/callbacks: [{$1}]/; s/num_val_samples: 10/num_val_samples: ${2:-10}/" \
    job.yaml >monitored.yaml
}
monitored 'model_checkpoint: {monitor: val_lss}'
refused 2 'model_checkpoint\.monitor: nothing logs "val_lss"; logged are: .*val_loss' \
  fit monitored.yaml
refused 2 'nothing logs "val_lss"' check monitored.yaml
[ ! -e lightning_logs ] || fail "a refused job left a log directory"
monitored 'early_stopping: {monitor: val_loss}' 0
refused 2 'early_stopping\.monitor: .*no validation: give data\.val_path or data\.val_fraction' \
  fit monitored.yaml
sed 's/^trainer:.*/lr_scheduler: {class: reduce_on_plateau, monitor: val_los}/' \
  job.yaml >plateau.yaml
refused 2 'lr_scheduler\.monitor: nothing logs "val_los"' fit plateau.yaml

# A shared object that is no module.
echo 'int answer(void) { return 42; }' | "${CC:-cc}" -x c -shared -fPIC -o plain.so -
sed 's/class: mlp/module: .\/plain.so/' job.yaml >plain.yaml
refused 2 'stoker_module_v1' fit plain.yaml

# A module that crashes in setup, one that never returns from it, one of another ABI.
cat >bad.c <<'SOURCE'
#include <stdio.h>
#include <stoker/stoker.h>
typedef struct { long unused; } bad;
static stk_status setup(stk_module *m, void *self) {
  (void)m;
  (void)self;
  puts("a line of the module");
#if defined CRASH
  *(volatile int *)8 = 1;
#elif defined LOOP
  for (volatile int i = 0;;) i = 0;
#endif
  return 0;
}
static stk_t step(const void *self, const stk_batch *b) {
  (void)self;
  return stk_mean(b->x, STK_ALL, false);
}
#ifndef ABI
#define ABI STK_ABI
#endif
static const stk_module_def def = {.abi = ABI, .size = sizeof(stk_module_def), .name = "bad",
                                   .self_size = sizeof(bad), .setup = setup, .training_step = step};
STK_MODULE(def)
SOURCE
for how in CRASH LOOP ABI=999; do
  "${CC:-cc}" -D$how -I"$here/engine/include" -shared -fPIC -o ${how%=*}.so bad.c
  sed "s/class: mlp/module: .\/${how%=*}.so/" job.yaml >${how%=*}.yaml
done
refused 10 'SIGSEGV.*module of your own' fit CRASH.yaml
grep -q '^a line of the module$' out.log || fail "what a module prints before it crashes is lost"
STOKER_SETUP_SECONDS=1 refused 10 'setup did not return in time; STOKER_SETUP_SECONDS' fit LOOP.yaml
refused 2 'ABI 999' fit ABI.yaml

sed 's/class: mlp/class: autoencoder/' job.yaml >auto.yaml
# Headers of npy and safetensors files that lie about what follows.
npy() {
  printf '\x93NUMPY\x01\x00'
  printf "\\x$(printf %02x ${#1})\\x00"
  printf '%s' "$1"
  head -c 64 /dev/zero
}
npy "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 784), }" >lying.npy
refused 1 'lying\.npy' fit auto.yaml --data.kind npy --data.path lying.npy
npy "{'descr': '|O', 'fortran_order': False, 'shape': (4, 4), }" >objects.npy
refused '[12]' 'objects\.npy' fit auto.yaml --data.kind npy --data.path objects.npy
{ printf '\xff\xff\xff\x7f\0\0\0\0'; printf '{}'; } >lying.safetensors
refused 1 'lying\.safetensors' fit job.yaml --weights.path lying.safetensors
text='{"net.0.weight":{"dtype":"F32","shape":[64,64],"data_offsets":[0,16384]}}'
{
  printf "\\x$(printf %02x ${#text})\\0\\0\\0\\0\\0\\0\\0"
  printf '%s' "$text" short
} >short.safetensors
refused 1 'short\.safetensors' fit job.yaml --weights.path short.safetensors

# Ids beyond the model's vocabulary, with the sample and the value.
head -c 400 job.yaml job.yaml job.yaml >text
cat >gpt.yaml <<'JOB'
model: {class: gpt, n_layer: 1, n_head: 1, n_embd: 8, block_size: 8, vocab_size: 16}
data: {kind: bytes, path: text, batch_size: 2}
trainer: {max_steps: 2}
JOB
refused 10 'sample [0-9]+: x\[[0-9]+\] is [0-9]+; the model takes 0 to 15' fit gpt.yaml

# A gz file that was cut off, and one whose header lies.
mkdir cut lying
{ printf '\0\0\010\003\0\0\0\100\0\0\0\034\0\0\0\034'; head -c 50176 /dev/urandom; } >images
gzip -c images | head -c 20000 >cut/train-images-idx3-ubyte.gz
head -c 5000 images >lying/train-images-idx3-ubyte
refused 1 'truncated' fit auto.yaml --data.kind idx --data.path cut
refused 1 'train-images' fit auto.yaml --data.kind idx --data.path lying
finish
