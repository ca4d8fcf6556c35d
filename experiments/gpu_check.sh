#!/usr/bin/env bash
# What a GPU adds, in one command of at most 12.5 minutes beside the installation:
#
#   experiments/gpu_check.sh [FOLDER]           # by default runs/gpu_check
#   PYTHON=python3 experiments/gpu_check.sh     # with an interpreter that has all packages already
#
# It installs what the lock names, and jax for CUDA of the same version; runs the tests that need an
# accelerator, benchmarks, two minutes of brax/ant, and CartPole with 65,536 members; and leaves one
# folder with all logs, JSON, and table.md for docs/scaling.md. A step that fails does not stop the
# others; the status is 1 if any failed. Without a GPU everything is small, to try the script itself.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(realpath -m "${1:-runs/gpu_check}")
mkdir -p "$out"

if [ -z "${PYTHON:-}" ]; then
  make .venv/.installed
  PYTHON=$PWD/.venv/bin/python
  version=$("$PYTHON" -c 'import jax; print(jax.__version__)')
  "$PYTHON" -m pip install --quiet "jax[cuda12]==$version"
fi
backend=$("$PYTHON" -c 'import jax; print(jax.default_backend())' 2>/dev/null | tail -1)
echo "backend: $backend"
if [ "$backend" = cpu ]; then
  cases="cartpole_quick policy_bound_quick"
  ant="--population_size 8 --episode_length 20 --hidden_sizes 4,"
  cartpole="--population_size 64 --num_generations 2 --hidden_sizes 4,"
  seconds=${SECONDS_OF_ANT:-40}
else
  cases="policy_bound_gpu scaling_cartpole_14 scaling_ant_12 scaling_ant_14 scaling_hopper_14"
  ant="--population_size 4096 --episode_length 200"
  cartpole="--population_size 65536 --num_generations 30 --num_episodes 4"
  seconds=${SECONDS_OF_ANT:-120}
fi

failed=0
step() { # NAME STATUS LIMIT COMMAND...: run it, with its output in a file; other statuses failed
  local name=$1 expected=$2 limit=$3 status start=$SECONDS
  shift 3
  timeout --signal=TERM --kill-after=30 "$limit" "$@" >"$out/$name.txt" 2>&1
  status=$?
  echo "$name: status $status after $((SECONDS - start)) s" | tee -a "$out/steps.txt"
  [[ " $expected " == *" $status "* ]] || failed=1
}

: >"$out/steps.txt"
rm -rf "$out/runs"
step tests 0 180 "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider tests/machine/test_gpu.py
# shellcheck disable=SC2086
step bench 0 300 "$PYTHON" -m ternevo.bench --case $cases --repeats 3 --max_seconds 10 --out "$out/bench"
# A run that is told to end saves its state and exits with 143; `timeout` says 124.
# shellcheck disable=SC2086
step ant "124 143" "$seconds" "$PYTHON" -m ternevo.run --env brax/ant@spring --strategy ternary_nes $ant \
  --num_generations 1000000 --eval_every 1000000 --num_eval_episodes 8 --no_render --runs_dir "$out/runs" --name ant
# shellcheck disable=SC2086
step cartpole 0 150 "$PYTHON" -m ternevo.run --env gymnax/CartPole-v1 --strategy ternary_nes $cartpole \
  --no_render --num_final_episodes 64 --runs_dir "$out/runs" --name cartpole
"$PYTHON" experiments/gpu_check.py "$out" >"$out/table.md" || failed=1
cat "$out/table.md"
exit $failed
