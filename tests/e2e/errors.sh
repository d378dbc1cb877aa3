#!/usr/bin/env bash
# What goes wrong is said with what, where and why, under the exit code of docs/command.md.
. "$(dirname "$0")/lib.sh"

# refused CODE PATTERN COMMAND...: ends with that code and prints a line that matches.
refused() {
  local code=$1 pattern=$2 status=0
  shift 2
  timeout 60 "$stoker" "$@" >out.log 2>&1 || status=$?
  [ $status = "$code" ] || fail "stoker $*: exit $status, not $code: $(tail -n 1 out.log)"
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
refused 2 'not built yet' fit job.yaml --trainer.recompute auto
refused 2 'layers\.yaml:5:7: .*model\.layers\.1: linear: in is not' check layers.yaml
refused 3 'nowhere\.yaml' fit nowhere.yaml
refused 3 'nowhere' fit job.yaml --data.kind idx --data.path nowhere
refused 3 'nowhere\.so' fit job.yaml --model.class null --model.module ./nowhere.so
refused 3 'nowhere' validate job.yaml --ckpt_path nowhere
refused 2 'ckpt_path: the value is empty' fit job.yaml --ckpt_path ""
refused 3 'no run below' fit job.yaml --ckpt_path last
refused 3 'no checkpoint and no directory of a run' ckpt show .
refused 2 '\-\-steps' order job.yaml --steps 5
refused 2 '\-\-steps' order job.yaml --steps 3:x

# A monitor that nothing logs is said before the training.
monitored() { sed "s/max_steps: 2/callbacks: [{$1}]/; s/num_val_samples: 10/num_val_samples: ${2:-10}/" job.yaml >monitored.yaml; }
monitored 'model_checkpoint: {monitor: val_lss}'
refused 2 'model_checkpoint\.monitor: nothing logs "val_lss"; logged are: .*val_loss' fit monitored.yaml
refused 2 'nothing logs "val_lss"' check monitored.yaml
[ ! -e lightning_logs ] || fail "a refused job left a log directory"
monitored 'early_stopping: {monitor: val_loss}' 0
refused 2 'early_stopping\.monitor: .*there is no validation: give data\.val_path or data\.val_fraction' fit monitored.yaml
sed 's/^trainer:.*/lr_scheduler: {class: reduce_on_plateau, monitor: val_los}/' job.yaml >plateau.yaml
refused 2 'lr_scheduler\.monitor: nothing logs "val_los"' fit plateau.yaml

# A shared object that is no module.
echo 'int answer(void) { return 42; }' | "${CC:-cc}" -x c -shared -fPIC -o plain.so -
sed 's/class: mlp/module: .\/plain.so/' job.yaml >plain.yaml
refused 2 'stoker_module_v1' fit plain.yaml

# A gz file that was cut off, and one whose header lies.
mkdir cut lying
{ printf '\0\0\010\003\0\0\0\100\0\0\0\034\0\0\0\034'; head -c 50176 /dev/urandom; } >images
gzip -c images | head -c 20000 >cut/train-images-idx3-ubyte.gz
head -c 5000 images >lying/train-images-idx3-ubyte
sed 's/class: mlp/class: autoencoder/' job.yaml >auto.yaml
refused 1 'truncated' fit auto.yaml --data.kind idx --data.path cut
refused 1 'train-images' fit auto.yaml --data.kind idx --data.path lying
finish
