#!/bin/sh
# One training on several machines under SLURM, which goes on by itself when its time is up:
#   sbatch runs/slurm/train.sh exemplar
# from the repository, in a folder that all machines share, once `dvc repro surrogate` is done. Afterwards `dvc commit train@exemplar`
# tells DVC of the encoder. Adapt the lines of #SBATCH to the cluster.
# The scripts were not run under SLURM; the torchrun below was, with two launchers on one machine.
#SBATCH --job-name=exemplar
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
set -eu
cd "$SLURM_SUBMIT_DIR"
PATH="$PWD/.venv/bin:$PATH"
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" --rdzv-backend c10d \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first:29500" -m stages.train "$@" &
training=$!
# Five minutes before the limit: every process ends, and the job waits for its turn again. The last state is two minutes old at
# most, or fifty times the time that it takes to write one, where that is more.
trap 'kill -TERM $training; wait $training || true; scontrol requeue "$SLURM_JOB_ID"' TERM
wait $training
