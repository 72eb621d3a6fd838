#!/bin/sh
# Pictures, seeds and windows by the cores of several machines under SLURM:
#   sbatch runs/slurm/cut.sh
# from the repository, in a folder that all machines share, with `pip install 'exemplar[cluster]'` there. Killed or out of time, the
# same command goes on from the units that are whole. Adapt the lines of #SBATCH to the cluster.
# The script was not run under SLURM; the scheduler and the workers were, on one machine.
#SBATCH --job-name=exemplar-cut
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
set -eu
cd "$SLURM_SUBMIT_DIR"
PATH="$PWD/.venv/bin:$PATH"
export EXEMPLAR_SCHEDULER="tcp://$(hostname):8786"
dask scheduler --port 8786 --no-dashboard &
srun dask worker "$EXEMPLAR_SCHEDULER" --nworkers "$SLURM_CPUS_PER_TASK" --nthreads 1 --no-dashboard &
dvc repro surrogate
